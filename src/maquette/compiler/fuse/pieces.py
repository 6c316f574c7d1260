"""Pieces: the work of one kept value, over loops of its own, before it is known what it joins.

A loop that some read splits is split, so that what is read is a stride and not a quotient.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

from maquette.compiler.fuse.index import Sum, axes_of, scalar
from maquette.compiler.fuse.reading import Read, Reading, part_starts
from maquette.ir.axes import Axis
from maquette.ir.monoids import Monoid, Streamed
from maquette.ir.patterns import FlatMap, GroupBy, Map, Reduce, Scan, Value, View
from maquette.ir.scalar import Apply, Index, Lit, Scalar
from maquette.ir.scalar import reads as reads_of
from maquette.ir.semantics import Numbers


@dataclass(frozen=True, eq=False)
class Piece:
    """One stage to be: leaves over loops, and where in the value each point belongs."""

    value: Value
    loops: Mapping[str, int]
    place: Mapping[str, Scalar]  # axis of the value → coordinate over the loops
    over: tuple[str, ...]  # loops combined over; of a scan, the loop it goes along
    leaves: tuple[Scalar, ...]  # over `reads`, by number
    reads: tuple[Read, ...]
    components: tuple[tuple[str, ...], ...]  # the loops along which each component varies
    weights: frozenset[int]  # the reads of what is made of weights alone

    @property
    def monoid(self) -> Monoid | None:
        """What combines the leaves; nothing combines those of a map."""
        return self.value.monoid if isinstance(self.value, Reduce | Scan) else None

    def points(self, loops: Collection[str]) -> int:
        """How many points some of the loops have."""
        return prod(self.loops[name] for name in loops)

    @property
    def scanned(self) -> bool:
        return isinstance(self.value, Scan)

    @property
    def opaque(self) -> bool:
        """Whether it has no body: what is kept or grouped depends on the data."""
        return isinstance(self.value, FlatMap | GroupBy)


@dataclass(frozen=True)
class Scope:
    """What all pieces of a graph are made against."""

    kept: Collection[Value]
    weights: Collection[Value]  # the values made of weights alone
    numbers: Numbers


def pieces(value: Value, scope: Scope) -> tuple[Piece, ...]:
    """The work that makes a kept value: one piece, or one per part of a concatenation."""
    if isinstance(value, View) and value.kind == "concat":
        starts = part_starts(value, scope.numbers)
        parts = zip(value.args, starts, strict=True)
        return tuple(_piece(value, (part,), part.axes, start, scope) for part, start in parts)
    if isinstance(value, Map | View):
        whole = _piece(value, (value,), value.axes, 0, scope)
        cuts = tuple(_cuts(whole)) if isinstance(value, Map) else ()
        return tuple(_piece(value, (value,), value.axes, 0, scope, cut) for cut in cuts) or (whole,)
    if isinstance(value, FlatMap | GroupBy):
        return (_piece(value, (value.key,), value.key.axes, 0, scope),)
    assert isinstance(value, Reduce | Scan)
    domain = value.domain if isinstance(value, Reduce) else value.axes
    return (_piece(value, value.args, domain, 0, scope),)


Cut: TypeAlias = tuple[str, int, int]  # a loop, and the range of it that is one piece


def _piece(
    value: Value,
    args: Sequence[Value],
    domain: Sequence[Axis],
    start: int,
    scope: Scope,
    cut: Cut | None = None,
) -> Piece:
    loops = {a.name: scope.numbers.extent(a) for a in domain}
    at: dict[str, Scalar] = {a.name: Index(a.name) for a in domain}
    if cut is not None:
        axis, low, high = cut
        loops[axis] = high - low
        at[axis] = scalar(Sum(((Index(axis), 1),), low))
    over = _over(value)
    inner = _Without(scope.kept, value) if isinstance(value, Map | View) else scope.kept
    while True:
        reading = Reading(inner, scope.numbers, loops)
        leaves = tuple(reading.value(a, {x.name: at[x.name] for x in a.axes}) for a in args)
        found = next(_splits(leaves, tuple(reading.reads), loops), None)
        if found is None or (isinstance(value, Scan) and found[0] in over):
            break
        parts = split_loop(*found, loops)
        step = {found[0]: _joined(parts, found[1])}
        at = {n: _moved(c, step) for n, c in at.items()}
        over = tuple(n for o in over for n in (parts if o == found[0] else (o,)))
    place = {a.name: at[a.name] for a in value.axes if a.name in at}
    if start:
        along = value.names[0]  # type: ignore[attr-defined]
        place[along] = Apply("add", (place[along], Lit(start)))
    reads = tuple(reading.reads)
    components = _components(value, leaves, reads, place, over)
    constant = frozenset(i for i, r in enumerate(reads) if r.source in scope.weights)
    return Piece(value, loops, place, over, leaves, reads, components, constant)


class _Without(Collection[Value]):
    """The kept values, but for the one whose own work is being read."""

    def __init__(self, kept: Collection[Value], value: Value) -> None:
        self._kept, self._value = kept, value

    def __contains__(self, value: object) -> bool:
        return value is not self._value and value in self._kept

    def __iter__(self) -> Iterator[Value]:
        return (v for v in self._kept if v is not self._value)

    def __len__(self) -> int:
        return len(self._kept) - 1


def _over(value: Value) -> tuple[str, ...]:
    if isinstance(value, Reduce):
        return value.over
    return (value.along,) if isinstance(value, Scan) else ()


def _cuts(piece: Piece) -> Iterator[Cut]:
    """Ranges of a loop in which a body reads one side of a concatenation alone.

    Then what was a choice at every point, of reads at computed coordinates, is windows.
    """
    shifted = {
        a for r in piece.reads for _, c in r.at if not isinstance(c, Index) for a in axes_of(c)
    }
    found: dict[str, set[int]] = {}
    for leaf in piece.leaves:
        for axis, n in _bounds(leaf):
            if axis in shifted and piece.place.get(axis) == Index(axis) and n > 0:
                found.setdefault(axis, set()).add(n)
    for axis, bounds in found.items():
        extent = piece.loops[axis]
        ends = [*sorted(b for b in bounds if b < extent), extent]
        if 1 < len(ends) <= _MOST:
            yield from ((axis, low, high) for low, high in zip([0, *ends], ends, strict=False))
            return


_MOST = 4  # pieces of one value


def _bounds(body: Scalar) -> Iterator[tuple[str, int]]:
    match body:
        case Apply("where", (Apply("lt", (Index(axis), Lit(int(n)))), left, right)):
            yield axis, n
            yield from _bounds(left)
            yield from _bounds(right)
        case Apply(_, args):
            for a in args:
                yield from _bounds(a)


def _splits(
    leaves: Sequence[Scalar], reads: Sequence[Read], loops: Mapping[str, int]
) -> Iterator[tuple[str, int]]:
    """Loops that a coordinate divides evenly, with the divisor."""
    bodies = [*leaves, *(c for r in reads for _, c in r.at if not isinstance(c, Index))]
    for body in bodies:
        for axis, n in _divided(body):
            if axis in loops and n > 1 and loops[axis] % n == 0 and loops[axis] > n:
                yield axis, n


def _divided(body: Scalar) -> Iterator[tuple[str, int]]:
    match body:
        case Apply("floordiv" | "mod", (Index(axis), Lit(int(n)))):
            yield axis, n
        case Apply(_, args):
            for a in args:
                yield from _divided(a)


def split_loop(axis: str, n: int, loops: dict[str, int]) -> tuple[str, str]:
    """Replace a loop by two, the inner one of n; their names."""
    outer, inner = _fresh(f"{axis}0", loops), _fresh(f"{axis}1", loops)
    extent = loops[axis]
    held = [*loops.items()]
    loops.clear()
    for name, size in held:
        loops.update({outer: extent // n, inner: n} if name == axis else {name: size})
    return outer, inner


def _fresh(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _joined(parts: tuple[str, str], n: int) -> Scalar:
    return Apply("add", (Apply("mul", (Index(parts[0]), Lit(n))), Index(parts[1])))


def _moved(body: Scalar, by: Mapping[str, Scalar]) -> Scalar:
    match body:
        case Index(axis):
            return by.get(axis, body)
        case Apply(op, args):
            return Apply(op, tuple(_moved(a, by) for a in args))
    return body


def _components(
    value: Value,
    leaves: Sequence[Scalar],
    reads: Sequence[Read],
    place: Mapping[str, Scalar],
    over: tuple[str, ...],
) -> tuple[tuple[str, ...], ...]:
    """The loops along which each component varies: its leaf's, and those of what it depends on."""
    results = [a for c in place.values() for a in axes_of(c)]
    if len(leaves) == 1 or not isinstance(value, Reduce | Scan):
        return (tuple(results),) * len(leaves)
    if isinstance(value, Reduce) and isinstance(value.monoid, Streamed):
        named = [[a.name for a in value.component(i)] for i in range(len(leaves))]
        return tuple(tuple(x for a in held for x in axes_of(place[a])) for held in named)
    varies = [set(_varies(leaf, reads)) for leaf in leaves]
    width = len(leaves)
    needs = [{a.number % width for a in reads_of(c)} for c in value.monoid.combine]
    for _ in leaves:
        for i in range(width):
            varies[i] = varies[i].union(*(varies[j] for j in needs[i]))
    scanned = set(over) if isinstance(value, Scan) else set()
    for v in varies:  # an axis of the value is wholly there or not at all
        for coordinate in place.values():
            found = set(axes_of(coordinate))
            v |= found if found & (v | scanned) else set()
    return tuple(tuple(a for a in results if a in v) for v in varies)


def _varies(leaf: Scalar, reads: Sequence[Read]) -> Iterator[str]:
    yield from axes_of(leaf)
    seen = [a.number for a in reads_of(leaf)]
    while seen:
        for _, coordinate in reads[seen.pop()].at:
            yield from axes_of(coordinate)
            seen += [a.number for a in reads_of(coordinate)]
