"""Graphs as e-graphs: every scalar operation of a map is an e-node of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from maquette.compiler.rewrite.egraph import EGraph, ENode
from maquette.compiler.rewrite.facts import Facts, Untyped
from maquette.compiler.rewrite.values import REDUCES, Template, template
from maquette.ir.axes import Axis
from maquette.ir.facts import generated
from maquette.ir.graph import walk
from maquette.ir.monoids import ADD
from maquette.ir.patterns import Input, Map, Reduce, Value, View, make
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar, kind
from maquette.ir.sizes import size

_MONOID_OPS = {monoid: op for op, monoid in REDUCES.items()}


class Encoder:
    """Puts values into an e-graph; remembers where each one went."""

    def __init__(self, graph: EGraph, constants: Collection[str]) -> None:
        self.graph = graph
        self.constants = constants
        self.place: dict[Value, int] = {}
        self.forms: dict[Value, tuple[tuple[int, ENode], ...]] = {}  # the e-nodes of each value
        self._trace: list[tuple[int, ENode]] = []

    def _add(self, op: str, params: tuple[Any, ...], kids: tuple[int, ...] = ()) -> int:
        id = self.graph.add(op, params, kids)
        self._trace.append((id, (op, params, kids)))
        return id

    def encode(self, roots: Iterable[Value]) -> None:
        """Add everything that `roots` need."""
        for value in list(_needed(roots)):
            self._put(value)
        self.graph.section = ""

    def _put(self, value: Value) -> None:
        self.graph.section = value.section
        self._trace = []
        self.place[value] = self._value(value)
        self.forms[value] = tuple(self._trace)

    def _value(self, value: Value) -> int:
        try:
            match value:
                case Map():
                    return self._map(value)
                case Reduce() if value.monoid in _MONOID_OPS:
                    return self._reduce(value)
                case View():
                    return self._view(value)
        except Untyped:
            self._trace = []  # what the rules' typing does not cover stays one piece
        return self._opaque(value)

    def _opaque(self, value: Value) -> int:
        for o in value.operands:
            if o not in self.place:  # a product that was to be part of a contraction
                self._put(o)
        self.graph.section, self._trace = value.section, []
        pattern = _leaf(value) if isinstance(value, Input) else template(value)
        kids = tuple(self.at(o) for o in value.operands)
        held = [self.graph[k].facts for k in kids]
        own = isinstance(value, Input) and value.name in self.constants
        constant = own or (not isinstance(value, Input) and all(f.constant for f in held))
        facts = Facts(value.axes, value.dtype, constant, generated(value))
        id = self.graph.add("opaque", (pattern,), kids, facts)
        self._trace.append((id, ("opaque", (pattern,), kids)))
        return id

    def at(self, value: Value) -> int:
        """The class of a value that went in before."""
        return self.graph.find(self.place[value])

    def _reduce(self, value: Reduce) -> int:
        (arg,) = value.args
        over = frozenset(value.over)
        pair = factors(value)
        if pair is not None and isinstance(arg, Map):
            left, right = (self._scalar(s, arg) for s in pair)
            return self._checked(self._add("dot", (over,), (left, right)), value)
        kid = self.at(arg)
        return self._checked(self._add(_MONOID_OPS[value.monoid], (over,), (kid,)), value)

    def _map(self, value: Map) -> int:
        id = self._scalar(value.body, value)
        facts = self.graph[id].facts
        missing = tuple(a for a in value.axes if a.name not in facts.names)
        if missing:
            id = self._add("spread", (missing,), (id,))
        return self._checked(id, value)

    def _checked(self, id: int, value: Value) -> int:
        facts = self.graph[id].facts
        if set(facts.axes) != set(value.axes) or facts.dtype != value.dtype:
            raise Untyped("declared otherwise")
        return id

    def _scalar(self, body: Scalar, within: Map) -> int:
        match body:
            case Lit(number):
                return self._add("lit", (number,))
            case Extent(amount):
                return self._add("extent", (amount,))
            case Index(name):
                return self._add("index", (within.axis(name),))
            case Arg(number, ()):
                return self.at(within.args[number])
            case Arg():
                return self._read(body, within)
            case Apply("mul", args):
                left, right = (self._scalar(a, within) for a in args)
                return self._add("dot", (frozenset(),), (left, right))
            case Apply(op, args):
                return self._add(op, (), tuple(self._scalar(a, within) for a in args))

    def _read(self, body: Arg, within: Map) -> int:
        """A read at computed coordinates: a shift, or a piece that no rule looks into."""
        shift = _shift(body, within)
        if shift is not None:
            return self._add("shift", shift, (self.at(within.args[body.number]),))
        gathered = make(
            Map,
            axes=tuple(_domain(body, within)),
            dtype=within.args[body.number].dtype,
            args=within.args,
            body=body,
            section=within.section,
        )
        return self._opaque(gathered)

    def _view(self, value: View) -> int:
        kids = [self.at(v) for v in value.args]
        names = value.names
        known = {a.name: a for v in value.args for a in v.axes}
        match value.kind:
            case "slice":
                assert value.start is not None
                params = (names[0], value.start, value.shape[names[0]])
                return self._add("slice", params, (kids[0],))
            case "split":
                parts = tuple(value.axis(n) for n in names[1:])
                return self._add("split", (names[0], parts), (kids[0],))
            case "merge":
                parts = tuple(known[n] for n in names[:-1])
                return self._add("merge", (parts, names[-1]), (kids[0],))
            case "concat":
                whole = kids[0]
                for kid in kids[1:]:
                    whole = self._add("concat", (names[0],), (whole, kid))
                return whole
            case "rename":
                return self._rename(kids[0], names)
        return self._opaque(value)

    def _rename(self, id: int, pairs: Iterable[str]) -> int:
        todo = {o: n for o, _, n in (p.partition(":") for p in pairs) if o != n}
        while todo:  # a name is free once what bore it has its new one
            free = [o for o, n in todo.items() if n not in self.graph[id].facts.names]
            if not free:
                raise Untyped("names go in a circle")
            id = self._add("rename", (free[0], todo.pop(free[0])), (id,))
        return id


def factors(value: Reduce) -> tuple[Scalar, Scalar] | None:
    """The two factors that a sum of products multiplies, if the product spans what is summed."""
    arg = value.args[0]
    if value.monoid != ADD or not isinstance(arg, Map):
        return None
    if not (isinstance(arg.body, Apply) and arg.body.op == "mul"):
        return None
    left, right = arg.body.args
    spanned = {a.name for s in (left, right) for a in _domain(s, arg)}
    if spanned != {a.name for a in arg.axes} or arg.dtype != value.dtype:
        return None
    kinds = [v.dtype.kind for v in arg.args]
    return None if kind(arg.body, kinds) != arg.dtype.kind else (left, right)


def operands(value: Value) -> tuple[Value, ...]:
    """What a value reads; a contraction reads the factors of its product."""
    if isinstance(value, Reduce) and factors(value) is not None:
        return value.operands[0].operands
    return value.operands


def _needed(roots: Iterable[Value]) -> Iterator[Value]:
    """Values below `roots`; products that only a contraction reads are part of it."""
    values = list(walk(roots))
    read = set(roots)
    for v in values:
        read.update(operands(v))
    return (v for v in values if v in read)


def _leaf(value: Input) -> Template:
    return Template(
        Input,
        (("name", value.name), ("role", value.role), ("axes", value.axes), ("dtype", value.dtype)),
    )


def _domain(body: Scalar, within: Map) -> Iterator[Axis]:
    """The axes of a map that a part of its body varies along, in the map's order."""
    found: set[str] = set()
    for b in _inner(body):
        if isinstance(b, Index):
            found.add(b.axis)
        elif isinstance(b, Arg):
            placed = {n for n, _ in b.at}
            found |= {a.name for a in within.args[b.number].axes} - placed
    return (a for a in within.axes if a.name in found)


def _inner(body: Scalar) -> Iterator[Scalar]:
    yield body
    if isinstance(body, Apply):
        for a in body.args:
            yield from _inner(a)
    elif isinstance(body, Arg):
        for _, index in body.at:
            yield from _inner(index)


def _shift(body: Arg, within: Map) -> tuple[str, object] | None:
    """The axis and the offset of ``x[i = i + n]``, where the map has all of the axis."""
    match body.at:
        case ((along, Apply("add", (Index(name), Lit(int() as by)))),):
            pass
        case ((along, Apply("sub", (Index(name), Lit(int() as back)))),):
            by = -back
        case _:
            return None
    operand = within.args[body.number]
    if name != along or name not in within.shape or within.axis(name) != operand.axis(along):
        return None
    return (along, size(by))
