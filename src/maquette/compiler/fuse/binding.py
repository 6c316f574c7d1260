"""Binding: the loops of a piece identified with the axes of a group that it reads.

A piece may join only where it reads results at its own coordinates.  Each read says so by an
equation, coordinate = place; where one side is a split axis the other is split as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from maquette.compiler.fuse.index import Ranges, axes_of, moved
from maquette.compiler.fuse.pieces import Piece
from maquette.ir.scalar import Apply, Index, Lit, Scalar


@dataclass
class Binding:
    """Loops of a piece → coordinates over group axes, and what must be refined for it."""

    at: dict[str, Scalar]
    axes: dict[str, int]  # extents of the group's axes, after refinement, new ones included
    refined: dict[str, Scalar] = field(default_factory=dict)  # a group axis → what replaces it


def bind(
    piece: Piece, equations: Iterable[tuple[Scalar, Scalar]], axes: Mapping[str, int]
) -> Binding | None:
    """Loops of `piece` such that every (coordinate, place) is one and the same, if there are."""
    pairs = list(equations)
    found = solved(piece.loops, pairs, axes)
    if found is None:
        return None
    ranges = Ranges(found.axes)
    for coordinate, place in pairs:
        mine = ranges.simple(moved(coordinate, found.at))
        if mine != ranges.simple(moved(place, found.refined)):
            return None
    return found


def solved(
    loops: Mapping[str, int], equations: Iterable[tuple[Scalar, Scalar]], axes: Mapping[str, int]
) -> Binding | None:
    """Loops such that every coordinate over them may equal its place over `axes`."""
    solving = _Solving(dict(loops), Binding({}, dict(axes)))
    if not all(solving.equal(coordinate, place) for coordinate, place in equations):
        return None
    return solving.finished()


class _Solving:
    def __init__(self, loops: dict[str, int], found: Binding) -> None:
        self._loops = loops
        self._mine = Ranges(loops)
        self._found = found

    def equal(self, coordinate: Scalar, place: Scalar) -> bool:
        """Make a coordinate over the loops equal a place over the group's axes."""
        ranges = Ranges(self._found.axes)
        mine = self._mine.sum(coordinate)
        theirs = ranges.sum(moved(place, self._found.refined))
        if not mine.terms or not theirs.terms:
            return mine == theirs
        match mine.terms:
            case ((Index(loop), 1),) if mine.constant == 0:
                return self._loop(loop, ranges.simple(moved(place, self._found.refined)))
            case terms if not all(isinstance(atom, Index) for atom, _ in terms):
                return False  # a gather, or a quotient that no axis can be split for
        if mine.constant != theirs.constant:
            return False
        match theirs.terms:
            case ((Index(axis), 1),) if len(mine.terms) > 1 and not self._refine(axis, mine.terms):
                return False
        theirs = Ranges(self._found.axes).sum(moved(place, self._found.refined))
        by_count = {c: a for a, c in theirs.terms}
        if len(by_count) != len(mine.terms):
            return False
        return all(c in by_count and self.equal(a, by_count[c]) for a, c in mine.terms)

    def _loop(self, loop: str, place: Scalar) -> bool:
        if loop in self._found.at:
            return self._found.at[loop] == place
        taken = {a for other in self._found.at.values() for a in axes_of(other)}
        if taken & set(axes_of(place)):
            return False  # two loops along one axis would be its diagonal alone
        extent = 1
        for axis in axes_of(place):
            extent *= self._found.axes[axis]
        if extent != self._loops[loop]:
            return False
        if not Ranges(self._found.axes).inside(place, extent):
            return False  # the loop starts at 0, what is there starts elsewhere
        self._found.at[loop] = place
        return True

    def _refine(self, axis: str, terms: tuple[tuple[Scalar, int], ...]) -> bool:
        """Split an axis of the group the way the piece splits it."""
        parts = sorted(terms, key=lambda term: -term[1])
        extent, sizes = self._found.axes[axis], []
        for atom, count in parts:
            if not isinstance(atom, Index):
                return False
            sizes.append((atom.axis, count, self._loops[atom.axis]))
        expected = 1
        for _, count, size in reversed(sizes):
            if count != expected:
                return False
            expected *= size
        if expected != extent:
            return False
        total: Scalar | None = None
        for name, _, size in sizes:
            fresh = self._fresh(name)
            self._found.axes[fresh] = size
            total = _next(total, size, Index(fresh))
        assert total is not None
        step = {axis: total}
        del self._found.axes[axis]
        self._found.at = {n: moved(c, step) for n, c in self._found.at.items()}
        self._found.refined = {n: moved(c, step) for n, c in self._found.refined.items()} | step
        return True

    def finished(self) -> Binding:
        """With axes for the loops that no equation binds: of the same name where that is free."""
        bound = {a for c in self._found.at.values() for a in axes_of(c)}
        for loop, extent in self._loops.items():
            if loop in self._found.at:
                continue
            shared = self._found.axes.get(loop) == extent and loop not in bound
            name = loop if shared else self._fresh(loop)
            self._found.axes[name] = extent
            self._found.at[loop] = Index(name)
        return self._found

    def _fresh(self, name: str) -> str:
        while name in self._found.axes or name in self._found.refined:
            name += "_"
        return name


def _next(total: Scalar | None, size: int, part: Scalar) -> Scalar:
    return part if total is None else Apply("add", (Apply("mul", (total, Lit(size))), part))
