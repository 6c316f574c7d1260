"""Testing rules: both sides of random instances, exactly and by the interpreter."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from maquette.compiler.rewrite.building import build
from maquette.compiler.rewrite.facts import Facts, Names, Untyped, Useless, infer
from maquette.compiler.rewrite.field import Field, Whole, evaluate_in
from maquette.compiler.rewrite.match import bound
from maquette.compiler.rewrite.mend import right_side
from maquette.compiler.rewrite.terms import Expr, Node, Num, Rule, Term, Var, operators
from maquette.compiler.rewrite.values import Part, tensor
from maquette.compiler.rewrite.values import build as value_of
from maquette.ir.axes import Axis, axis
from maquette.ir.dtypes import dtype
from maquette.ir.graph import Graph
from maquette.ir.interpret import evaluate
from maquette.ir.patterns import Input, Value, make
from maquette.ir.sizes import size

Choose: TypeAlias = Callable[[Sequence[Any]], Any]
Env: TypeAlias = dict[str, Any]
UNARY = ("exp", "neg", "tanh", "recip")
BINARY = ("add", "sub", "div", "max")
POOL = ("p", "q", "r", "t")


@dataclass(frozen=True)
class Flaw:
    """Why a rule is wrong, with values of both sides that show it."""

    kind: Literal["untyped", "field", "interpreter"]
    left: Value | None = None
    right: Value | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.left} is not {self.right}" if self.left else self.kind


class _Held:
    """A term: its facts at once, its value when somebody asks."""

    __slots__ = ("facts", "made", "node")

    def __init__(self, facts: Facts, node: Any) -> None:
        self.facts, self.node = facts, node
        self.made: Part | None = None

    @property
    def nodes(self) -> Sequence[Any]:
        """As an e-class has them."""
        return () if isinstance(self.node, str) else (self.node,)


class Expressions:
    """Terms built one after another; what the e-graph is to a search."""

    def __init__(self) -> None:
        self._all: list[_Held] = []

    def __getitem__(self, id: int) -> _Held:
        return self._all[id]

    def find(self, id: int) -> int:
        """Nothing is ever joined."""
        return id

    def add(self, op: str, params: tuple[Any, ...] = (), kids: tuple[int, ...] = ()) -> int:
        """The number of an operator's term; raises Untyped if it makes no sense."""
        facts = infer(op, params, [self._all[k].facts for k in kids])
        return self._hold(facts, (op, params, kids))

    def input(self, name: str, facts: Facts) -> int:
        """The number of an input."""
        return self._hold(facts, name)

    def _hold(self, facts: Facts, node: Any) -> int:
        facts.names.held = len(self._all)
        self._all.append(_Held(facts, node))
        return len(self._all) - 1

    def value(self, id: int) -> Value:
        """A term as a value of its own."""
        return tensor(self._part(id), self._all[id].facts)

    def _part(self, id: int) -> Part:
        held = self._all[id]
        if held.made is None and isinstance(held.node, str):
            role = "weight" if held.facts.constant else "activation"
            parts = {"axes": held.facts.axes, "dtype": held.facts.dtype, "section": ""}
            held.made = make(Input, name=held.node, role=role, **parts)
        elif held.made is None:
            op, params, kids = held.node
            known = [self._all[k].facts for k in kids]
            held.made = value_of(op, params, [self._part(k) for k in kids], known, held.facts)
        return held.made


@dataclass(frozen=True)
class Instance:
    """Both sides of a rule on operands of definite axes: pairs of values, one for each root."""

    sides: tuple[tuple[Value, Value], ...]


class Instances:
    """Makes instances of one rule; `choose` picks one of several ways to go on."""

    def __init__(self, rule: Rule, pool: Sequence[str], extents: Sequence[int]) -> None:
        self.rule, self.pool, self.extents = rule, pool, extents
        self.fixed: Mapping[str, int] = {}
        self.asks = " ".join(rule.when)

    def make(self, choose: Choose) -> Instance | None:
        """An instance; None if the conditions do not hold.  Raises Untyped if only the right
        side makes no sense."""
        self.choose, self.held = choose, Expressions()
        self.env: Env = {"fresh": self._fresh}
        self.sizes = {n: size(self.fixed.get(n) or choose(self.extents)) for n in self.pool}
        try:
            lefts = [self._left(t) for t in self.rule.left]
            found = next(bound(self.rule, self.env), None)
        except Untyped:
            return None
        if found is None:
            return None
        env = dict(found)
        for name, shared in self.rule.shared:
            made = shared(env) if isinstance(shared, Expr) else self._built(shared, env)
            env[name] = made
        try:
            rights = [right_side(self.rule, n, env, self.held) for n in range(len(lefts))]
        except Useless:
            return None
        pairs = list(zip(lefts, rights, strict=True))
        for left, right in pairs:
            one, two = self.held[left].facts, self.held[right].facts
            if set(one.axes) != set(two.axes) or one.dtype.kind != two.dtype.kind:
                raise Untyped(f"{one.axes} is not {two.axes}")
        return Instance(tuple((self.held.value(a), self.held.value(b)) for a, b in pairs))

    def _fresh(self, name: str, taken: Collection[str]) -> str:
        """The worst that a fresh name may be: one in use wherever the rule did not think of."""
        held = {n for v in self.env.values() if isinstance(v, Names) for n in v}
        free = [n for n in self.pool if n not in taken]
        return str(self.choose([n for n in free if n in held] or free or [f"{name}.1"]))

    def _built(self, term: Term, env: Env) -> Names:
        return self.held[build(term, env, self.held)].facts.names

    def _left(self, term: Term) -> int:
        match term:
            case Num(value):
                return self.held.add("lit", (value,))
            case Var(name):
                if name not in self.env:
                    self.env[name] = self._operand(name)
                return int(self.env[name].held)
        if term.op == "concat":
            return self._concat(term)
        kids = tuple(self._left(a) for a in term.args)
        op: str = term.op
        if op in ("f", "g"):
            op = str(self.env.setdefault(op, self.choose(UNARY if op == "f" else BINARY)))
        params = self._params(op, term.params, [self.held[k].facts for k in kids])
        return self.held.add(op, params, kids)

    def _operand(self, name: str, axes: Sequence[Axis] | None = None) -> Names:
        constant = f"constant({name})" in self.asks and f"not constant({name})" not in self.asks
        if f"positive({name})" in self.asks and self.choose((True, False)):
            return self.held[self.held.add("lit", (self.choose((3, -2, 0)),))].facts.names
        if f"mask({name})" in self.asks:
            return self.held[self._mask()].facts.names
        if axes is None:
            axes = [Axis(n, self.sizes[n]) for n in self.pool if self.choose((True, False))]
        facts = Facts(tuple(axes), dtype("f32"), constant, False)
        return self.held[self.held.input(name, facts)].facts.names

    def _mask(self) -> int:
        """A test of one coordinate against another, so far away."""
        one, two = (self.choose(self.pool[:3]) for _ in range(2))
        first, second = (self.held.add("index", (Axis(n, self.sizes[n]),)) for n in (one, two))
        away = self.held.add("lit", (self.choose((-2, 0, 1)),))
        further = self.held.add("add", (), (second, away))
        return self.held.add(self.choose(("lt", "le", "gt", "ge")), (), (first, further))

    def _concat(self, term: Node) -> int:
        """Two parts with the same axes but for the size of one."""
        first, second = term.args
        left = self._left(first)
        known = self.held[left].facts
        (along,) = self._params("concat", term.params, [known])
        if isinstance(second, Var) and second.name not in self.env:
            more = size(self.choose(self.extents))
            axes = [Axis(along, more) if a.name == along else a for a in known.axes]
            self.env[second.name] = self._operand(second.name, axes)
        elif isinstance(second, Node):
            self._echo(second, known, along)
        whole = self.held.add("concat", (along,), (left, self._left(second)))
        self.sizes[along] = (
            self.held[whole].facts.axis(along).size
        )  # as others that meet it have it
        return whole

    def _echo(self, term: Node, known: Facts, along: str) -> None:
        """Operands under the second part, with the axes that they have under the first."""
        for arg in term.args:
            if isinstance(arg, Var) and arg.name not in self.env:
                like = self.env["a"].facts.axes if "a" in self.env else known.axes
                more = size(self.choose(self.extents))
                axes = [Axis(along, more) if a.name == along else a for a in like]
                self.env[arg.name] = self._operand(arg.name, axes)

    def _params(self, op: str, wanted: Sequence[Expr], kids: Sequence[Facts]) -> tuple[Any, ...]:
        found: list[Any] = []
        for place, expr in enumerate(wanted):
            if expr.name is None or expr.name == "NONE" or expr.name in self.env:
                value = expr(self.env)
                found.append(size(value) if isinstance(value, int) else value)
                continue
            made = self._param(op, place, kids, found)
            self.env[expr.name] = made
            found.append(made)
        return tuple(found)

    def _param(self, op: str, place: int, kids: Sequence[Facts], before: list[Any]) -> Any:
        names = list(dict.fromkeys(a.name for k in kids for a in k.axes))
        choose = self.choose
        match op, place:
            case (("dot" | "sum" | "amax" | "amin"), _):
                return frozenset(n for n in names if choose((True, False)))
            case ("rename", 1) | ("merge", 1):
                return choose([*(n for n in self.pool if n not in names), "z"])
            case ("split", 1) | ("spread", 0):
                whole = int(kids[0].axis(before[0]).size.constant or 0) if before else 6
                one = choose([d for d in range(1, whole + 1) if whole % d == 0] or [1])
                return (axis("v", one), axis("w", whole // one))
            case "merge", 0:
                return tuple(kids[0].axis(n) for n in names if choose((True, False)))
            case "slice", 1:
                whole = int(kids[0].axis(before[0]).size.constant or 0)
                return size(choose(range(max(whole, 1))))
            case "slice", 2:
                spare = kids[0].axis(before[0]).size - before[1]
                return size(choose(range(1, int(spare.constant or 0) + 1) or [0]))
            case "shift", 1:
                return size(choose((-2, -1, 1, 2)))
        if not names:
            raise Untyped("no axis to take")
        return choose(names)


def flaw(
    rule: Rule, instance: Instance, rng: np.random.Generator, *, by: str = "field"
) -> Flaw | None:
    """Whether the sides of an instance differ, by exact arithmetic or by the interpreter."""
    whole = any(op in ("amax", "amin") for t in (*rule.left, *rule.right) for op in operators(t))
    numbers: Field | Whole = Whole() if whole else Field()
    for left, right in instance.sides:
        leaves = {**Graph("", {"y": left}).inputs, **Graph("", {"y": right}).inputs}
        shapes = {n: tuple(int(a.size.constant or 0) for a in v.axes) for n, v in leaves.items()}
        if by == "field":
            try:
                given = {n: numbers.random(rng, s) for n, s in shapes.items()}
                one, two = (_laid(evaluate_in(numbers, v, given), v, left) for v in (left, right))
            except ArithmeticError:
                continue
            same = np.array_equal(one, two)
        else:
            given = {n: rng.uniform(0.5, 2, s) for n, s in shapes.items()}
            one, two = (_laid(_interpreted(v, given), v, left) for v in (left, right))
            same = np.allclose(one, two, rtol=1e-9, atol=1e-9, equal_nan=True)
        if not same:
            return Flaw("field" if by == "field" else "interpreter", left, right)
    return None


def _interpreted(value: Value, given: Mapping[str, Any]) -> Any:
    graph = Graph("side", {"y": value})
    return evaluate(graph, {n: given[n] for n in graph.inputs}, precise=True)["y"]


def _laid(array: Any, value: Value, like: Value) -> Any:
    """An array of `value` with axes in the order of `like`."""
    names = [a.name for a in value.axes]
    return np.transpose(array, [names.index(a.name) for a in like.axes])


def random_instances(rule: Rule, seed: int, tries: int) -> Iterator[Instance | None]:
    """Instances on up to four axes of different extents; None where conditions do not hold."""
    rng = np.random.default_rng(seed)
    extents = (1, 2, 3, 4, 6, *_bounds(rule))
    makes = [Instances(rule, POOL[:n], extents) for n in (3, 4)]  # few axes meet more often

    def choose(options: Sequence[Any]) -> Any:
        return options[int(rng.integers(len(options)))]

    for count in range(tries):
        yield makes[count % 2].make(choose)


def _bounds(rule: Rule) -> list[int]:
    """Extents just past the numbers that a rule's conditions compare extents with."""
    numbers = {int(n) for text in rule.when for n in re.findall(r"> (\d+)", text)}
    return [n + 2 for n in sorted(numbers)] * 4


def tried(
    rule: Rule, *, wanted: int = 40, seed: int = 0, by: str = "field", tries: int = 0
) -> Flaw | int:
    """The first flaw of a rule in `wanted` random instances, or how many instances there were.

    >>> from maquette.compiler.rewrite.rules import RULES
    >>> wrong = Rule("wrong", "sub(a, b)", "sub(b, a)", "no")
    >>> str(tried(RULES[0])), type(tried(wrong)).__name__
    ('40', 'Flaw')
    """
    rng = np.random.default_rng(seed + 1)
    count = 0
    try:
        for instance in random_instances(rule, seed, tries or 100 * wanted):
            if instance is None:
                continue
            found = flaw(rule, instance, rng, by=by)
            if found is not None:
                return found
            count += 1
            if count == wanted:
                break
    except Untyped:
        return Flaw("untyped")
    return count


def exhaustive_instances(rule: Rule, axes: int = 3, most: int = 20000) -> Iterator[Instance | None]:
    """Every instance over a few axes of 2, 3 and 1 points, by going through all choices in turn."""
    makes = Instances(rule, POOL[:axes], (1, 2, *_bounds(rule)[:1]))
    makes.fixed = dict(zip(POOL[:axes], (2, 3, 1), strict=False))
    path: list[tuple[int, int]] = []
    for _ in range(most):
        place = 0

        def choose(options: Sequence[Any]) -> Any:
            nonlocal place
            if place == len(path):
                path.append((0, len(options)))
            taken = options[path[place][0]]
            place += 1
            return taken

        yield makes.make(choose)
        del path[place:]
        while path and path[-1][0] + 1 == path[-1][1]:
            path.pop()
        if not path:
            return
        path[-1] = (path[-1][0] + 1, path[-1][1])
