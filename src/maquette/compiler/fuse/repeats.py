"""Work that repeats: layers of one form are made into pieces once, then told which tensors to read.

The form of a kept value is its expression down to the kept values and inputs that it reads, which
are told apart by place alone.  Two values of one form have pieces that differ in their sources.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import Any

from maquette.compiler.fuse.pieces import Piece, Scope, pieces
from maquette.ir.graph import Graph
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, Value, View

Sources = tuple[Value, ...]  # in the order in which an expression names them, with repeats


def all_pieces(graph: Graph, scope: Scope) -> dict[Value, tuple[Piece, ...]]:
    """The pieces of every kept value of a graph, in order."""
    return _Repeats(scope).run(graph)


class _Repeats:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._numbers: dict[Hashable, int] = {}
        self._forms: dict[Value, tuple[int, Sources]] = {}  # as an operand
        self._made: dict[Hashable, tuple[tuple[Piece, ...], Sources]] = {}

    def run(self, graph: Graph) -> dict[Value, tuple[Piece, ...]]:
        found: dict[Value, tuple[Piece, ...]] = {}
        for value in graph.values:
            kept = value in self._scope.kept
            if kept or isinstance(value, Input):
                self._forms[value] = self._number(value.axes), (value,)
            elif isinstance(value, View) and value.kind == "item":
                self._forms[value] = self._number((value.start, value.axes)), value.args
            else:
                self._forms[value] = self._whole(value)
            if kept:
                found[value] = self._pieces(value)
        return found

    def _number(self, form: Hashable) -> int:
        return self._numbers.setdefault(form, len(self._numbers))

    def _whole(self, value: Value) -> tuple[int, Sources]:
        """The form of the expression that makes a value, and what it reads."""
        held = [self._forms[o] for o in value.operands]
        form = (type(value), value.axes, value.dtype.name, _own(value), *(n for n, _ in held))
        return self._number(form), tuple(s for _, sources in held for s in sources)

    def _pieces(self, value: Value) -> tuple[Piece, ...]:
        number, sources = self._whole(value)
        first: dict[Value, int] = {}
        places = tuple(first.setdefault(s, len(first)) for s in sources)
        weights = tuple(s in self._scope.weights for s in first)
        key = number, places, weights
        if key not in self._made:
            self._made[key] = pieces(value, self._scope), sources
        made, before = self._made[key]
        if made[0].value is value:
            return made
        moved = dict(zip(before, sources, strict=True))
        return tuple(_told(piece, value, moved) for piece in made)


def _own(value: Value) -> Any:
    """What makes a pattern besides its operands."""
    match value:
        case Map():
            return value.body
        case Reduce():
            return value.monoid, value.over
        case Scan():
            return value.monoid, value.along
        case View():
            return value.kind, value.names, value.start
        case FlatMap():
            return value.rule, value.along, value.out
        case GroupBy():
            return value.group, value.member
    raise TypeError(f"no form of {type(value).__name__}")


def _told(piece: Piece, value: Value, moved: Mapping[Value, Value]) -> Piece:
    reads = tuple(replace(r, source=moved[r.source]) for r in piece.reads)
    return replace(piece, value=value, reads=reads)
