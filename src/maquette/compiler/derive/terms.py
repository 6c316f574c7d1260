"""Terms: what a value is at a point, written out through Maps and Views down to what is read.

Terms are hash-consed in a table, so equal expressions are one object however the program that
makes them was spelled; the few identities that need no thought are applied as they are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from maquette.ir.patterns import Reduce, Value
from maquette.ir.scalar import Lit
from maquette.ir.sizes import Size


class Term:
    """An operation on terms, or a leaf: ``lit``, ``extent``, ``index``, ``read``, ``part``.

    `payload` is the constant, the size, the axis, the Value that is read, or the number of a
    component.  The arguments of a read are the coordinates of the value's axes, in order.
    """

    __slots__ = ("args", "chooses", "floats", "free", "op", "payload", "results", "serial")

    def __init__(self, op: str, args: tuple[Term, ...], payload: Any, serial: int) -> None:
        self.op = op
        self.args = args
        self.payload = payload
        self.serial = serial  # order of making, so that sets of terms can be put in order
        self.floats = _floats(op, args, payload)
        self.chooses: bool = op == "where" or any(a.chooses for a in args)
        own = frozenset((payload,)) if op == "index" else frozenset()
        self.free: frozenset[str] = own.union(*(a.free for a in args))
        found: frozenset[Term] = frozenset()
        if op == "read" and isinstance(payload, Reduce):
            found = frozenset((self,))
        self.results: frozenset[Term] = found.union(*(a.results for a in args))

    def __repr__(self) -> str:
        """For people."""
        if self.op in ("lit", "extent", "index", "part"):
            return str(self.payload)
        inner = ", ".join(map(repr, self.args))
        return f"{self.payload!r}[{inner}]" if self.op == "read" else f"{self.op}({inner})"


class Terms:
    """The table in which terms are made."""

    def __init__(self) -> None:
        self._made: dict[Any, Term] = {}
        self.zero, self.one = self.lit(0.0), self.lit(1.0)

    def _make(self, op: str, args: tuple[Term, ...], payload: Any, key: Any) -> Term:
        whole = (op, key, *map(id, args))
        found = self._made.get(whole)
        if found is None:
            found = self._made[whole] = Term(op, args, payload, len(self._made))
        return found

    def lit(self, value: float | int | bool) -> Term:
        return self._make("lit", (), value, Lit(value))

    def number(self, value: float) -> Term:
        """A constant of a sum or product, where 1 and 1.0 are the same."""
        return self.lit(float(value))

    def extent(self, size: Size) -> Term:
        if size.constant is not None and isinstance(size.constant, int):
            return self.lit(size.constant)
        return self._make("extent", (), size, size)

    def index(self, axis: str) -> Term:
        return self._make("index", (), axis, axis)

    def read(self, value: Value, at: Sequence[Term]) -> Term:
        return self._make("read", tuple(at), value, id(value))

    def natural(self, value: Value) -> Term:
        """The value, read at the point's own coordinates."""
        return self.read(value, [self.index(a.name) for a in value.axes])

    def part(self, number: int, side: str = "") -> Term:
        """A component of the monoid under construction: its total, or ``before`` and ``after``."""
        return self._make("part", (), (number, side), (number, side))

    def apply(self, op: str, *args: Term) -> Term:
        """An operation, simplified where the result is plain to see."""
        simple = _SIMPLE.get(op)
        found = simple(self, *args) if simple is not None else None
        return found if found is not None else self._make(op, args, None, None)

    def replace(self, term: Term, by: Callable[[Term], Term | None]) -> Term:
        """`term` with every part for which `by` gives another replaced by it."""
        known: dict[Term, Term] = {}

        def walk(t: Term) -> Term:
            found = known.get(t)
            if found is None:
                found = by(t)
                if found is None:
                    found = self._again(t, tuple(walk(a) for a in t.args)) if t.args else t
                known[t] = found
            return found

        return walk(term)

    def _again(self, term: Term, args: tuple[Term, ...]) -> Term:
        if args == term.args:
            return term
        if term.op == "read":
            return self.read(term.payload, args)
        return self.apply(term.op, *args)

    def at(self, term: Term, coordinates: dict[str, Term]) -> Term:
        """`term` at a point whose coordinates along some axes are others."""
        moved = {n: c for n, c in coordinates.items() if not (c.op == "index" and c.payload == n)}
        names = moved.keys()
        if not names & term.free:
            return term

        def by(t: Term) -> Term | None:
            if not names & t.free:
                return t
            return moved[t.payload] if t.op == "index" else None

        return self.replace(term, by)


def _floats(op: str, args: tuple[Term, ...], payload: Any) -> bool:
    """Whether a term is a float."""
    if op == "read":
        return bool(payload.dtype.kind == "float")
    if op in ("lit", "part"):
        return op == "part" or isinstance(payload, float)
    if op in ("add", "sub", "mul", "max", "min", "neg", "abs"):
        return any(a.floats for a in args)
    return op in _FLOATS or (op == "where" and any(a.floats for a in args[1:]))


def within(term: Term) -> Iterator[Term]:
    """Every term inside a term, itself included, each once."""
    stack, seen = [term], set[Term]()
    while stack:
        t = stack.pop()
        if t not in seen:
            seen.add(t)
            yield t
            stack.extend(t.args)


def literal(term: Term) -> float | None:
    """The number that a term is, if it is one."""
    if term.op == "lit" and not isinstance(term.payload, bool):
        return float(term.payload)
    return None


def _add(t: Terms, a: Term, b: Term) -> Term | None:
    x, y = literal(a), literal(b)
    if x is not None and y is not None:
        return _folded(t, a, b, a.payload + b.payload)
    if x == 0:
        return b
    if y == 0:
        return a
    if a.op == b.op == "where" and a.args[0] is b.args[0]:  # one of two cases: both in one
        branches = zip(a.args[1:], b.args[1:], strict=True)
        return t.apply("where", a.args[0], *(t.apply("add", *pair) for pair in branches))
    return None


def _sub(t: Terms, a: Term, b: Term) -> Term | None:
    x, y = literal(a), literal(b)
    if x is not None and y is not None:
        return _folded(t, a, b, a.payload - b.payload)
    if y == 0:
        return a
    return t.apply("neg", b) if x == 0 else None  # a − a is no nought where a is infinite


def _mul(t: Terms, a: Term, b: Term) -> Term | None:
    x, y = literal(a), literal(b)
    if x is not None and y is not None:
        return _folded(t, a, b, a.payload * b.payload)
    if x == 1:
        return b
    if y == 1:
        return a
    return None


def _div(t: Terms, a: Term, b: Term) -> Term | None:
    x, y = literal(a), literal(b)
    if x is not None and y:
        return t.number(x / y)
    if y == 1:
        return a
    return None


def _folded(t: Terms, a: Term, b: Term, value: Any) -> Term:
    whole = isinstance(a.payload, int) and isinstance(b.payload, int)
    return t.lit(value if whole else float(value))


def _neg(t: Terms, a: Term) -> Term | None:
    x = literal(a)
    if x is not None:
        return t.lit(-a.payload)
    return a.args[0] if a.op == "neg" else None


def _exp(t: Terms, a: Term) -> Term | None:
    return t.one if literal(a) == 0 else None


def _where(t: Terms, test: Term, yes: Term, no: Term) -> Term | None:
    if test.op == "lit":
        return yes if test.payload else no
    if yes is no:
        return yes
    if not (yes.chooses or no.chooses):
        return None
    settled = (_settle(t, test, yes, True), _settle(t, test, no, False))
    return t.apply("where", test, *settled) if settled != (yes, no) else None


def _settle(t: Terms, test: Term, branch: Term, holds: bool) -> Term:
    """A branch of a choice, where choices by the same test are settled."""

    def by(x: Term) -> Term | None:
        if x.op == "where" and x.args[0] is test:
            return _settle(t, test, x.args[1 if holds else 2], holds)
        return None if x.chooses else x

    return t.replace(branch, by)


def _cast(t: Terms, a: Term) -> Term | None:
    """The language does not round: a change between formats of floats changes nothing."""
    return a if a.floats else None


def _fold_index(op: Callable[[int, int], int]) -> Callable[[Terms, Term, Term], Term | None]:
    def simple(t: Terms, a: Term, b: Term) -> Term | None:
        if a.op == b.op == "lit" and b.payload:
            return t.lit(op(a.payload, b.payload))
        if a.op == "lit" and a.payload == 0:
            return a
        if b.op == "lit" and b.payload == 1:
            return a if op(7, 1) == 7 else t.lit(0)
        return None

    return simple


def _less(t: Terms, a: Term, b: Term) -> Term | None:
    return t.lit(a.payload < b.payload) if a.op == b.op == "lit" else None


def _square(t: Terms, a: Term, b: Term) -> Term | None:
    return t.apply("mul", a, a) if literal(b) == 2 else a if literal(b) == 1 else None


def _not(t: Terms, a: Term) -> Term | None:
    return a.args[0] if a.op == "not" else None


# Operations whose result is a float whatever they are given.
_FLOATS = frozenset({
    "div", "pow", "sqrt", "rsqrt", "recip", "exp", "log", "sin", "cos", "tanh", "erf", "sigmoid",
    "softplus",
})  # fmt: skip

_SIMPLE: dict[str, Callable[..., Term | None]] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "neg": _neg, "exp": _exp,
    "where": _where, "to_f32": _cast, "to_bf16": _cast, "to_f16": _cast, "pow": _square,
    "floordiv": _fold_index(lambda a, b: a // b), "mod": _fold_index(lambda a, b: a % b),
    "not": _not, "lt": _less,
}  # fmt: skip
