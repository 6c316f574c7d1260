"""The rules of fusion: whether a piece may run with a group, and two groups as one.

A product reuses each operand along axes of the other: it is tiled for that, takes only what is
applied to its result, and a result that is folded away at once (scores) streams into the fold.
"""

from __future__ import annotations

from collections.abc import Iterator

from maquette.compiler.fuse.binding import Binding
from maquette.compiler.fuse.choices import Choices
from maquette.compiler.fuse.group import Group, Placed
from maquette.compiler.fuse.index import axes_of
from maquette.compiler.fuse.pieces import Piece
from maquette.compiler.fuse.shape import is_product, is_weighted
from maquette.ir.patterns import Reduce
from maquette.ir.scalar import Scalar


def may_join(piece: Piece, found: Binding, group: Group, choices: Choices) -> bool:
    """Whether a piece, whose loops are bound to axes of the group, should run in it."""
    if len(group.placed) >= choices.stages:
        return False
    wide = {a for a, n in found.axes.items() if n > 1}
    parallel = _bound(group.parallel, found) & wide
    results = {a for n in piece.place.values() for a in _loops(n, found)} & wide
    over = {a for n in piece.over for a in axes_of(found.at[n])} & wide
    if isinstance(piece.value, Reduce):
        return _reduction(piece, found, group, choices, parallel, results, over)
    if piece.monoid is not None or not parallel <= results:
        return False
    if group.products or any(p.piece.scanned for p in group.placed):
        held = [_bound(p.results(c), found) & wide for p, c in _parts(group)]
        return results in held or results == parallel
    return _bytes(results - parallel, found) <= choices.resident


def _reduction(
    piece: Piece,
    found: Binding,
    group: Group,
    choices: Choices,
    parallel: set[str],
    results: set[str],
    over: set[str],
) -> bool:
    through = choices.weights_through if group.weighted else choices.through
    if group.products and not through:
        return False
    narrowed = bool(over & parallel)
    if narrowed and group.folds:
        return False
    scanned = {a for p in group.placed if p.piece.scanned for a in p.over}
    if not parallel - over <= results or over & _bound(tuple(scanned), found):
        return False
    if not is_product(piece):
        return True
    if not group.products or (is_weighted(piece) and not choices.weights_through):
        return False
    return group.folds or _grows(group)


def _grows(group: Group) -> bool:
    """Whether what a product makes is larger than what it is made of."""
    made = taken = 0
    for p in group.placed:
        if is_product(p.piece):
            made += p.piece.points(set(p.piece.components[0]))
            reads = dict.fromkeys(r for r in p.piece.reads)
            taken += sum(p.piece.points({a for _, c in r.at for a in axes_of(c)}) for r in reads)
    return made >= taken


def _bytes(axes: set[str], found: Binding) -> int:
    total = 4
    for name in axes:
        total *= found.axes[name]
    return total


def _bound(axes: tuple[str, ...], found: Binding) -> set[str]:
    """Axes of the group after refinement."""
    return {n for a in axes for n in (axes_of(found.refined[a]) if a in found.refined else (a,))}


def _loops(place: Scalar, found: Binding) -> Iterator[str]:
    for name in axes_of(place):
        yield from axes_of(found.at[name])


def _parts(group: Group) -> Iterator[tuple[Placed, int]]:
    for p in group.placed:
        for c in range(len(p.piece.components)):
            yield p, c


def may_merge(group: Group, other: Group, choices: Choices) -> bool:
    """Whether a group that a joined piece also reads becomes part of its group."""
    if not choices.siblings or len(group.placed) + len(other.placed) > choices.stages:
        return False
    return group.products == other.products and group.weighted == other.weighted
