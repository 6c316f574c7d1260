"""Reductions over axes that were joined, as the reductions of their parts.

An extra logit that takes part in a denominator is often joined to the scores and cut off again.
The sum over all of them is then over another axis than what it is used for; the sum over the
scores, and the extra one added to it, is over the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from maquette.compiler.derive.emit import valued
from maquette.compiler.derive.replace import replaced
from maquette.compiler.derive.spell import Spelling
from maquette.compiler.derive.terms import Term, within
from maquette.ir.axes import Axis
from maquette.ir.graph import Graph
from maquette.ir.monoids import ADD, MAX, MIN, MUL
from maquette.ir.patterns import Map, Reduce, Value, View, make
from maquette.ir.sizes import size


def apart(graph: Graph, spelling: Spelling) -> Graph:
    """The graph with joined axes reduced part by part, where a later reduction is over a part."""
    if not any(isinstance(v, View) and v.kind == "concat" for v in graph.values):
        return graph
    by: dict[Value, Value] = {
        v: _parted(v, cut, spelling) for v, cut in _wanted(graph, spelling).items()
    }
    return replaced(graph, by)[0] if by else graph


def _wanted(graph: Graph, spelling: Spelling) -> dict[Reduce, int]:
    """Reductions and where to part them."""
    found: dict[Reduce, int] = {}
    for later in graph.values:
        if not isinstance(later, Reduce) or len(later.over) != 1 or later.monoid.width != 1:
            continue
        leaf = spelling.leaf(later)
        (over,) = (a for a in later.domain if a.name == later.over[0])
        for result in leaf.results:
            earlier: Reduce = result.payload
            if later.over[0] in result.free or len(earlier.over) != 1:
                continue
            if earlier.monoid not in (ADD, MUL, MAX, MIN):
                continue
            (own,) = (a for a in earlier.domain if a.name == earlier.over[0])
            if own.size == over.size:
                continue
            if over.size.constant in set(_cuts(spelling.leaf(earlier), own)):
                found[earlier] = int(over.size.constant)
    return found


def _cuts(leaf: Term, along: Axis) -> Iterator[int]:
    """Where an axis that a leaf varies along was joined."""
    for t in within(leaf):
        if t.op == "lt" and t.args[0].payload == along.name and t.args[1].op == "lit":
            yield t.args[1].payload


def _parted(value: Reduce, cut: int, spelling: Spelling) -> Value:
    terms = spelling.terms
    (along,) = (a for a in value.domain if a.name == value.over[0])
    length = along.size.constant
    assert isinstance(length, int)
    leaf = spelling.leaf(value)
    here = terms.index(along.name)
    first = _reduced(value, leaf, Axis(along.name, size(cut)), spelling)
    rest = Axis(along.name, size(length - cut))
    start = terms.lit(cut)
    there = start if length - cut == 1 else terms.apply("add", here, start)
    moved = terms.at(leaf, {along.name: there})
    second = _reduced(value, moved, rest, spelling)
    return make(
        Map, axes=value.axes, dtype=value.dtype, section=value.section, args=(first, second),
        body=value.monoid.combine[0],
    )  # fmt: skip


def _reduced(value: Reduce, leaf: Term, along: Axis, spelling: Spelling) -> Value:
    """The reduction of a part; of a single position, the leaf there."""
    frame = {a.name: a for a in (*value.domain, *value.axes)} | {along.name: along}
    inside = spelling.bounded(leaf, frame)
    axes = tuple(frame.values())
    made = valued(inside, spelling.held(axes), axes, value.dtype, value.section)
    if along.name not in made.shape:
        assert along.size == size(1)
        return made
    return make(
        Reduce, axes=tuple(a for a in value.axes if a.name in made.shape), dtype=value.dtype,
        section=value.section, monoid=value.monoid, over=value.over, args=(made,),
    )  # fmt: skip
