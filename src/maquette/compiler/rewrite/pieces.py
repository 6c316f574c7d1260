"""What a term reads where: its index space in boxes, and on each box one form.

Reads are affine in the axes of the output, and what decides between them (ends of an axis, parts
that are joined, comparisons of coordinates) is known on intervals.  So the boxes follow from the
term by arithmetic on intervals, and two terms agree wherever their forms are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, product
from typing import Any, TypeAlias

from maquette.compiler.rewrite.affine import (
    Coord,
    Form,
    Number,
    Read,
    Sum,
    does,
    form_of,
    moved,
    truth,
)
from maquette.compiler.rewrite.building import LENIENT, Builder, parameters
from maquette.compiler.rewrite.facts import Untyped, Useless, entire
from maquette.compiler.rewrite.terms import Num, Term, Var
from maquette.ir.axes import Axis
from maquette.ir.sizes import Size

Box: TypeAlias = Mapping[str, tuple[int, int]]  # axis → from, to (not with it)
Piece: TypeAlias = tuple[Box, Form]
Cuts: TypeAlias = Mapping[str, int]  # axis → parts that it is cut into where it is unclear


def pieces(term: Term, env: Mapping[str, Any], graph: Builder, cuts: Cuts) -> list[Piece]:
    """The form of a term on each box of its axes; Useless for what has none."""
    match term:
        case Num(value):
            return [({}, Number(value))]
        case Var(name):
            return _operand(env[name], graph, cuts)
    kids = [pieces(a, env, graph, cuts) for a in term.args]
    op = env.get(term.op, term.op)
    params = parameters(op, term.params, env)
    if op in ("dot", "sum"):
        inner = kids[0] if op == "sum" else list(_together("mul", kids))
        return list(summed(inner, params[0])) if params[0] else merged(inner)
    view = _VIEWS.get(op)
    if view is None:
        if params:
            raise Useless(f"no pieces of {op}")
        return merged(_together(op, kids))
    if op in LENIENT and params[0] not in kids[0][0][0]:
        return kids[0]
    return merged(p for p in view(params, kids) if all(a < b for a, b in p[0].values()))


def extents(found: Iterable[Piece]) -> dict[str, tuple[int, int]]:
    """The box of all boxes."""
    whole: dict[str, tuple[int, int]] = {}
    for box, _ in found:
        for name, (a, b) in box.items():
            low, high = whole.get(name, (a, b))
            whole[name] = (min(a, low), max(b, high))
    return whole


def overlap(one: Box, two: Box) -> dict[str, tuple[int, int]] | None:
    """Where two boxes meet, over the axes of both; None if nowhere."""
    found = dict(one)
    for name, (a, b) in two.items():
        low, high = found.get(name, (a, b))
        found[name] = (max(a, low), min(b, high))
        if found[name][0] >= found[name][1]:
            return None
    return found


def merged(found: Iterable[Piece]) -> list[Piece]:
    """Neighbours of one form as one box."""
    held = list(found)
    start = 0
    while start < len(held):
        box, form = held[start]
        for n in range(len(held)):
            whole = _joined(box, held[n][0]) if n != start and held[n][1] == form else None
            if whole is not None:
                held[min(start, n)] = (whole, form)
                del held[max(start, n)]
                start = -1
                break
        start += 1
    return held


def _joined(one: Box, two: Box) -> Box | None:
    apart = [n for n in one if one[n] != two.get(n)]
    if len(apart) != 1 or len(one) != len(two):
        return None
    (name,) = apart
    (a, b), (c, d) = sorted((one[name], two[name]))
    return {**one, name: (a, d)} if b == c else None


def _number(extent: Size) -> int:
    if not isinstance(extent.constant, int):
        raise Useless("an axis without a number")
    return extent.constant


def _operand(names: Any, graph: Builder, cuts: Cuts) -> list[Piece]:
    """An operand as it is; one of coordinates alone by what it computes, cut where that changes."""
    facts = names.facts
    if facts.number is not None:
        return [({}, Number(facts.number))]
    whole = {a.name: (0, _number(entire(a))) for a in facts.axes}
    if not facts.weak:
        return [(whole, Read(graph.find(names.held), tuple((n, n, 0) for n in sorted(whole))))]
    form, edges = form_of(graph, names.held)
    sides = []
    for name, (low, high) in whole.items():
        parts = min(cuts.get(name, 1), high)
        steps = {low + (high - low) * k // parts for k in range(parts + 1)}
        places = sorted(steps | {e for e in edges.get(name, ()) if low < e < high})
        sides.append([(name, pair) for pair in pairwise(places)])
    return merged((box, _decided(form, box)) for box in map(dict, product(*sides)))


def _decided(form: Form, box: Box) -> Form:
    known = truth(form, box)
    return does(form, box) if known is None else Number(known)


def _together(op: str, kids: Sequence[list[Piece]]) -> Iterator[Piece]:
    for found in product(*kids):
        box: Box | None = {}
        for other, _ in found:
            box = overlap(box, other) if box is not None else None
        if box is not None:
            yield box, does((op, *(form for _, form in found)), box)


def summed(found: Sequence[Piece], over: frozenset[str]) -> Iterator[Piece]:
    """The sum over axes: for each box of the others, what is summed on which boxes of these."""
    if any(not over <= set(box) for box, _ in found):
        raise Untyped(f"no axis {sorted(over)} to sum over")
    outer = {n for box, _ in found for n in box} - over
    sides = []
    for name in sorted(outer):
        places = sorted({e for box, _ in found for e in box[name]})
        sides.append([(name, pair) for pair in pairwise(places)])
    for cell in product(*sides):
        own = dict(cell)
        parts = [
            ({n: box[n] for n in over}, form)
            for box, form in found
            if overlap({n: box[n] for n in outer}, own) is not None and form != Number(0.0)
        ]
        yield own, Sum.over(merged(parts)) if parts else Number(0.0)


def _shifted(params: Sequence[Any], kids: Sequence[list[Piece]]) -> Iterator[Piece]:
    along, by = params[0], _number(params[1])
    whole = extents(kids[0])
    last = whole[along][1]
    for box, form in kids[0]:
        low, high = box[along]
        yield {**box, along: (max(low - by, 0), min(high - by, last))}, moved(form, along, by)
    empty = (max(0, last - by), last) if by > 0 else (0, min(-by, last))
    yield {**whole, along: empty}, Number(0.0)


def _sliced(params: Sequence[Any], kids: Sequence[list[Piece]]) -> Iterator[Piece]:
    along, start, length = params[0], _number(params[1]), _number(params[2])
    for box, form in kids[0]:
        low, high = box[along]
        kept = (max(low - start, 0), min(high - start, length))
        yield {**box, along: kept}, moved(form, along, start)


def _concat(params: Sequence[Any], kids: Sequence[list[Piece]]) -> Iterator[Piece]:
    (along,) = params
    yield from kids[0]
    by = extents(kids[0])[along][1]
    for box, form in kids[1]:
        low, high = box[along]
        yield {**box, along: (low + by, high + by)}, moved(form, along, -by)


def _renamed(params: Sequence[Any], kids: Sequence[list[Piece]]) -> Iterator[Piece]:
    old, new = params
    for box, form in kids[0]:
        yield {new if n == old else n: s for n, s in box.items()}, moved(form, old, 0, new)


def _spread(params: Sequence[Any], kids: Sequence[list[Piece]]) -> Iterator[Piece]:
    more: Sequence[Axis] = params[0]
    for box, form in kids[0]:
        yield {**box, **{a.name: (0, _number(entire(a))) for a in more}}, form


_VIEWS: Mapping[str, Callable[[Sequence[Any], Sequence[list[Piece]]], Iterator[Piece]]] = {
    "shift": _shifted, "slice": _sliced, "concat": _concat, "rename": _renamed, "spread": _spread,
}  # fmt: skip

__all__ = ["Box", "Coord", "Cuts", "Piece", "extents", "merged", "overlap", "pieces", "summed"]
