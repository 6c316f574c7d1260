"""Rules as data: terms over the operators of the language, written as text.

    dot(S, dot(T, a, b), c)  =>  dot((S | T) & a, a, dot((S | T) - a, b, c))   if not T & c

``dot(S, a, b)`` is the sum over the axes S of the products of a and b; ``mul`` is dot over no
axes.  Names of operands stand, in an expression, for the set of their axes.  Expressions are
Python's, over sets of axes, axis names and sizes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import CodeType
from typing import Any, TypeAlias

from maquette.compiler.rewrite.facts import FUNCTIONS
from maquette.errors import Fault, ProgramError

# The operators that take more than operands, and what each takes before them.
PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "dot": ("set",), "sum": ("set",), "amax": ("set",), "amin": ("set",),
    "rename": ("axis", "axis"), "slice": ("axis", "size", "size"), "concat": ("axis",),
    "split": ("axis", "axes"), "merge": ("axes", "axis"), "spread": ("axes",),
    "shift": ("axis", "size"), "inside": ("axis", "size"), "extent": ("size",),
}  # fmt: skip
OPERATORS = frozenset({"f", "g"})  # stand for any pointwise operation of one, of two operands


@dataclass(frozen=True)
class Expr:
    """An expression over sets of axes, axis names and sizes."""

    text: str

    @property
    def name(self) -> str | None:
        """The variable that this is, if it is nothing but one."""
        return self.text if self.text.isidentifier() and self.text not in FUNCTIONS else None

    def __call__(self, env: Mapping[str, Any]) -> Any:
        return eval(_code(self.text), FUNCTIONS, env)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Var:
    """Any value; the same one wherever the name occurs."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Num:
    """A constant number."""

    value: float | int

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Node:
    """An operator applied: parameters first, then operands."""

    op: str
    params: tuple[Expr, ...]
    args: tuple[Term, ...]

    def __str__(self) -> str:
        if self.op == "dot" and self.params[0].text == "NONE":
            return f"mul({', '.join(map(str, self.args))})"
        return f"{self.op}({', '.join(map(str, (*self.params, *self.args)))})"


Term: TypeAlias = Var | Num | Node


@dataclass(frozen=True)
class Rule:
    """An equality used from left to right.

    A rule of several roots (`lhs` and `rhs` then name as many terms, divided by ``;``) rewrites
    values that share operands together.  `each` binds an axis to every element of a set, `let`
    names what several right sides share, and `when` must hold.  A rule that is `once` is for what
    the user wrote, not for what rules made of it: it makes things larger, and again so.

    A `partial` rule is right only where the index functions of both sides are the same; elsewhere
    it is corrected, see `mend`.  With `cuts` the right side is computed box by box, each as simply
    as it can be there: axes, and into how many parts they are cut.
    """

    name: str
    lhs: str
    rhs: str
    why: str
    when: tuple[str, ...] = ()
    each: tuple[tuple[str, str], ...] = ()
    let: tuple[tuple[str, str], ...] = field(default=())
    once: bool = False
    partial: bool = False
    cuts: tuple[tuple[str, str], ...] = ()

    @cached_property
    def left(self) -> tuple[Term, ...]:
        return tuple(parse_term(t) for t in self.lhs.split(";"))

    @cached_property
    def right(self) -> tuple[Term, ...]:
        return tuple(parse_term(t) for t in self.rhs.split(";"))

    @cached_property
    def shared(self) -> tuple[tuple[str, Term | Expr], ...]:
        """What `let` names: terms, or expressions where the name is that of no operand."""
        return tuple((n, _let(t)) for n, t in self.let)

    @cached_property
    def conditions(self) -> tuple[Expr, ...]:
        return tuple(Expr(t) for t in self.when)

    @cached_property
    def binders(self) -> tuple[tuple[str, Expr], ...]:
        return tuple((n, Expr(t)) for n, t in self.each)

    @cached_property
    def cutting(self) -> tuple[tuple[Expr, Expr], ...]:
        return tuple((Expr(n), Expr(t)) for n, t in self.cuts)

    def __str__(self) -> str:
        sides = f"{self.lhs}  =>  {self.rhs}"
        bound = [f"{n} in {t}" for n, t in self.each]
        clauses = [*bound, *self.when]
        named = f"  where {', '.join(f'{n} = {t}' for n, t in self.let)}" if self.let else ""
        return f"{self.name}: {sides}{named}" + (f"  if {', '.join(clauses)}" if clauses else "")


def parse_term(text: str) -> Term:
    """The term that a text says.

    >>> str(parse_term("dot(S | T, a, mul(b, 2))"))
    'dot(S | T, a, mul(b, 2))'
    """
    return _term(ast.parse(text.strip(), mode="eval").body, text)


def variables(term: Term) -> Iterator[str]:
    """The operands that a term names, in order, repeated as they are."""
    match term:
        case Var(name):
            yield name
        case Node(_, _, args):
            for a in args:
                yield from variables(a)


def operators(term: Term) -> Iterator[str]:
    """The operators of a term."""
    if isinstance(term, Node):
        yield term.op
        for a in term.args:
            yield from operators(a)


def _let(text: str) -> Term | Expr:
    tree = ast.parse(text.strip(), mode="eval").body
    call = isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)
    return _term(tree, text) if call and tree.func.id not in FUNCTIONS else Expr(text)  # type: ignore[attr-defined]


def _term(tree: ast.expr, text: str) -> Term:
    match tree:
        case ast.Name(id):
            return Var(id)
        case ast.Constant(int() | float() as value):
            return Num(value)
        case ast.UnaryOp(ast.USub(), ast.Constant(int() | float() as value)):
            return Num(-value)
        case ast.Call(ast.Name("mul"), [left, right]):
            return Node("dot", (Expr("NONE"),), (_term(left, text), _term(right, text)))
        case ast.Call(ast.Name(op), args):
            count = len(PARAMETERS.get(op, ()))
            params = tuple(Expr(ast.unparse(a)) for a in args[:count])
            return Node(op, params, tuple(_term(a, text) for a in args[count:]))
    raise ProgramError(Fault(f"rule {text!r}", f"{ast.unparse(tree)!r} is no term"))


@cache
def _code(text: str) -> CodeType:
    return compile(text, "<rule>", "eval")
