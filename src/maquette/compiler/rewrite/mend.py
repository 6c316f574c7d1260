"""Rewrites that are right only in part of the index space, with a correction where they are not.

The region to correct is not written in the rule: it is where the forms of both sides differ, box by
box (after Wang et al., PET, OSDI 2021, who find theirs for tensors of definite shapes).  Each box
is computed the way that is right there, and the boxes are joined; where what was written comes to
something that needs no sum, a selection does without joining.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from maquette.compiler.rewrite.affine import Coord, Form, Number, Read, Sum, depends
from maquette.compiler.rewrite.building import Builder, build
from maquette.compiler.rewrite.facts import Untyped, Useless
from maquette.compiler.rewrite.pieces import Box, Piece, extents, merged, overlap, pieces
from maquette.compiler.rewrite.terms import Rule
from maquette.ir.axes import Axis
from maquette.ir.sizes import size

RIGHT = Number(float("inf"))  # stands for the right side, as the form of where it may be used
Whole: TypeAlias = dict[str, tuple[int, int]]
_MOST = 40  # boxes that are worth joining


def right_side(rule: Rule, number: int, env: Mapping[str, Any], graph: Builder) -> int:
    """The right side of a rule, mended where it is right only in part."""
    term = rule.right[number]
    if not (rule.partial or rule.cuts):
        return build(term, env, graph)
    cuts = {str(axis(env)): int(parts(env)) for axis, parts in rule.cutting}
    right = pieces(term, env, graph, cuts)
    whole = extents(right)
    if not rule.partial:
        return tiled(right, whole, -1, graph)
    left = pieces(rule.left[number], env, graph, cuts)
    if extents(left) != whole:
        raise Untyped("the sides have other axes")
    tiles = region(left, right)
    if all(form != RIGHT for _, form in tiles):
        raise Useless("right nowhere")
    made = build(term, env, graph)
    if len(tiles) == 1:
        return made
    return _selected(tiles, whole, made, graph) or tiled(tiles, whole, made, graph)


def region(left: Sequence[Piece], right: Sequence[Piece]) -> list[Piece]:
    """The index space in boxes: `RIGHT` where both sides agree, else the form of the left."""
    found: list[Piece] = []
    for one, form in left:
        for two, other in right:
            box = overlap(one, two)
            if box is not None:
                found.append((box, RIGHT if form == other else form))
    return merged(found)


def _selected(tiles: Sequence[Piece], whole: Whole, made: int, graph: Builder) -> int | None:
    """The right side where one interval says so, else one form that is as good everywhere."""
    agree = [box for box, form in tiles if form == RIGHT]
    others = {form for _, form in tiles if form != RIGHT}
    apart = [n for n in whole if agree[0][n] != whole[n]]
    if len(agree) != 1 or len(others) != 1 or len(apart) != 1:
        return None
    (other,), (along,) = others, apart
    if not _everywhere(other, whole, graph):
        return None
    (low, high), last = agree[0][along], whole[along][1]
    ax = graph[made].facts.axis(along)
    bounds = [-low] * (low > 0) + [last - high] * (high < last)
    tests = [graph.add("inside", (ax, size(by))) for by in bounds]
    test = tests[0] if len(tests) == 1 else graph.add("and", (), (tests[0], tests[1]))
    full = {n: s for n, s in whole.items() if n in depends(other)}
    return graph.add("where", (), (test, made, computed(other, full, graph)))


def _everywhere(form: Form, whole: Whole, graph: Builder) -> bool:
    """Whether a form may stand outside its box: no sum, and reads of just the point."""
    match form:
        case Number():
            return True
        case Read(held, at):
            axes = graph[held].facts
            return all(n == o and not m and axes.axis(n).size == whole[o][1] for n, o, m in at)
        case tuple():
            return all(_everywhere(f, whole, graph) for f in form[1:])
    return False


def tiled(tiles: Sequence[Piece], whole: Whole, made: int, graph: Builder) -> int:
    """Boxes computed one by one and joined, axis by axis."""
    if len(tiles) > _MOST:
        raise Useless("too many boxes")
    if len(tiles) == 1:
        ((box, form),) = tiles
        return _sliced(made, whole, box, graph) if form == RIGHT else computed(form, box, graph)
    for name in sorted(whole):
        held = {box[name] for box, _ in tiles}
        places = [p for p in sorted({a for a, _ in held}) if not any(a < p < b for a, b in held)]
        if len(places) > 1:
            parts: list[list[Piece]] = [[] for _ in places]
            for box, form in tiles:
                parts[max(n for n, p in enumerate(places) if p <= box[name][0])].append((box, form))
            joined = tiled(parts[0], whole, made, graph)
            for part in parts[1:]:
                joined = graph.add("concat", (name,), (joined, tiled(part, whole, made, graph)))
            return joined
    raise Useless("boxes that cannot be joined")


def _sliced(id: int, whole: Box, box: Box, graph: Builder) -> int:
    for name, (low, high) in box.items():
        if (low, high) != whole[name]:
            id = graph.add("slice", (name, size(low), size(high - low)), (id,))
    return id


def computed(form: Form, box: Box, graph: Builder) -> int:
    """A form on a box, of no more than is needed there."""
    id = _computed(form, box, graph)
    missing = tuple(Axis(n, size(b - a)) for n, (a, b) in box.items() if n not in depends(form))
    missing = tuple(a for a in missing if a.name not in graph[id].facts.names)
    return graph.add("spread", (missing,), (id,)) if missing else id


def _computed(form: Form, box: Box, graph: Builder) -> int:
    match form:
        case Number(bool()):
            raise Useless("a test of its own")
        case Number(value):
            return graph.add("lit", (value,))
        case Coord(name, more):
            low, high = box[name]
            first = graph.add("index", (Axis(name, size(high - low)),))
            by = low + more
            return graph.add("add", (), (first, graph.add("lit", (by,)))) if by else first
        case Read(held, at):
            return _read(held, at, box, graph)
        case Sum(parts):
            total = [_summed(inner, f, box, graph) for inner, f in parts]
            id = total[0]
            for other in total[1:]:
                id = graph.add("add", (), (id, other))
            return id
    kids = tuple(_computed(f, box, graph) for f in form[1:])
    if form[0] == "mul":
        return graph.add("dot", (frozenset(),), kids)
    return graph.add(form[0], (), kids)


def _read(held: int, at: Sequence[tuple[str, str, int]], box: Box, graph: Builder) -> int:
    id = graph.find(held)
    for name, outer, more in at:
        low, high = box[outer][0] + more, box[outer][1] + more
        if (low, high) != (0, graph[id].facts.axis(name).size.constant):
            id = graph.add("slice", (name, size(low), size(high - low)), (id,))
        if name != outer:
            id = graph.add("rename", (name, outer), (id,))
    return id


def _summed(inner: Sequence[tuple[str, int, int]], form: Form, box: Box, graph: Builder) -> int:
    """A sum over a box of further axes; of a product, a contraction."""
    over = frozenset(n for n, _, _ in inner)
    full = {**box, **{n: (a, b) for n, a, b in inner}}
    if not over <= set(depends(form)):
        raise Useless("summed along what it does not vary along")
    if isinstance(form, tuple) and form[0] == "mul" and len(form) == 3:
        return graph.add("dot", (over,), tuple(_computed(f, full, graph) for f in form[1:]))
    return graph.add("sum", (over,), (_computed(form, full, graph),))
