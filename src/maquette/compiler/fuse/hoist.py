"""Hoisting: parts of a body that vary along fewer axes than the body become Maps of their own.

``y * rsqrt(s / d + e)`` with ``s`` over rows alone is a root per element as it stands, and a root
per row once hoisted.
"""

from __future__ import annotations

from math import prod

from maquette.compiler.fuse.cost import cost
from maquette.ir.graph import Graph
from maquette.ir.patterns import Map, Value, make, remade
from maquette.ir.scalar import Apply, Arg, Index, Scalar, kind
from maquette.ir.semantics import Numbers


def hoisted(graph: Graph, numbers: Numbers, cheap: int) -> Graph:
    """The graph with every part that costs more than `cheap` computed no more often than needed."""
    known: dict[Value, Value] = {}
    for value in graph.values:
        made = known[value] = remade(value, known)
        if isinstance(made, Map) and made.args and cost(made.body) > cheap:
            known[value] = _Hoisting(made, numbers, cheap).run()
    return Graph(graph.name, {name: known[v] for name, v in graph.outputs.items()})


class _Hoisting:
    def __init__(self, value: Map, numbers: Numbers, cheap: int) -> None:
        self._value = value
        self._cheap = cheap
        self._extents = {a.name: numbers.extent(a) for a in value.axes}
        self._args: list[Value] = list(value.args)

    def run(self) -> Map:
        value = self._value
        body = self._body(value.body)
        if len(self._args) == len(value.args):
            return value
        parts = {"args": tuple(self._args), "body": body, "section": value.section}
        return make(Map, axes=value.axes, dtype=value.dtype, **parts)

    def _body(self, body: Scalar) -> Scalar:
        if not isinstance(body, Apply):
            return body
        axes = self._axes(body)
        points = prod(self._extents[a] for a in axes)
        fewer = points * 2 <= prod(self._extents.values())
        if fewer and cost(body) > self._cheap and self._number(body):
            return self._hoist(body, axes)
        args = tuple(map(self._body, body.args))
        return body if args == body.args else Apply(body.op, args)

    def _number(self, body: Scalar) -> bool:
        kinds = [a.dtype.kind for a in self._args]
        return self._value.dtype.kind == "float" == kind(body, kinds)

    def _hoist(self, body: Scalar, axes: set[str]) -> Scalar:
        kept = tuple(a for a in self._value.axes if a.name in axes)
        used = sorted(_numbers(body))
        places = {old: Arg(new) for new, old in enumerate(used)}
        parts = {"args": tuple(self._args[i] for i in used), "body": _numbered(body, places)}
        section, dtype = self._value.section, self._value.dtype
        self._args.append(make(Map, axes=kept, dtype=dtype, section=section, **parts))
        return Arg(len(self._args) - 1)

    def _axes(self, body: Scalar) -> set[str]:
        match body:
            case Index(axis):
                return {axis}
            case Arg(number, at):
                placed = {n for n, _ in at}
                held = {a.name for a in self._args[number].axes} - placed
                return held.union(*(self._axes(c) for _, c in at))
            case Apply(_, args):
                return set().union(*map(self._axes, args))
        return set()


def _numbers(body: Scalar) -> set[int]:
    match body:
        case Arg(number, at):
            return {number}.union(*(_numbers(c) for _, c in at))
        case Apply(_, args):
            return set().union(*map(_numbers, args))
    return set()


def _numbered(body: Scalar, places: dict[int, Arg]) -> Scalar:
    match body:
        case Arg(number, at):
            return Arg(places[number].number, tuple((n, _numbered(c, places)) for n, c in at))
        case Apply(op, args):
            return Apply(op, tuple(_numbered(a, places) for a in args))
    return body
