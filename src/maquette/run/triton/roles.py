"""What each axis of a kernel is to one program of a grid of them.

A program works on one point of the scalar axes, a block of each blocked axis and all of each
resident one, and walks the streamed axis in blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from maquette.compiler.kernel import Kernel, Stage
from maquette.compiler.tiling import Loop, Tiling
from maquette.ir.monoids import ADD, MAX, MIN, Monoid, Streamed
from maquette.ir.scalar import Apply, Arg, Index, Scalar

STRATEGY = "blocks"
REDUCTIONS = {ADD: "tl.sum", MAX: "tl.max", MIN: "tl.min"}
_LINE = 1024  # points of a block where nothing decides
# Blocks of rows and columns, and of the streamed axis.
_STEPS = ((64, 64), (128, 64), (128, 32), (64, 32), (32, 32), (16, 16))
_ROOM = 1 << 17  # points of the largest block a program can hold


@dataclass(frozen=True)
class Roles:
    """A tiling read as roles; sizes of blocks are powers of two."""

    scalar: tuple[str, ...]
    blocks: dict[str, int]  # blocked, streamed and resident axes, in the order of block dimensions
    blocked: tuple[str, ...]
    stream: str | None

    @property
    def resident(self) -> tuple[str, ...]:
        return tuple(a for a in self.blocks if a not in self.blocked and a != self.stream)


def roles(kernel: Kernel, tiling: Tiling) -> Roles:
    """The roles that a tiling of this strategy gives; an axis of one point is scalar."""
    scalar = [x.axis for x in tiling.loops if x.kind == "parallel" and x.step == 1]
    blocked = {x.axis: x.step for x in tiling.loops if x.kind == "parallel" and x.step > 1}
    stream = {x.axis: x.step for x in tiling.loops if x.kind == "stream"}
    rest = [a for a in kernel.extents if a not in {*scalar, *blocked, *stream}]
    scalar += [a for a in rest if kernel.extents[a] == 1]
    resident = {a: _power(kernel.extents[a]) for a in rest if kernel.extents[a] > 1}
    return Roles(
        tuple(scalar), {**blocked, **stream, **resident}, tuple(blocked), next(iter(stream), None)
    )


def candidates(kernel: Kernel) -> Iterator[Tiling]:
    """Tilings worth trying: large and small blocks of the axes that a product is made of."""
    for grid in dict.fromkeys((grid_axes(kernel), wide_grid(kernel))):
        found = [t for t in _tilings(kernel, grid) if largest(kernel, roles(kernel, t)) <= _ROOM]
        yield from found
        if found:
            return


def _tilings(kernel: Kernel, grid: tuple[str, ...]) -> Iterator[Tiling]:
    stream = streamed(kernel)
    wide = [a for a in product_axes(kernel) if a in grid]
    if not wide and not _resident_reduction(kernel, stream):
        wide = list(grid[-1:])
    tried: set[tuple[Loop, ...]] = set()
    for step, along in _STEPS:
        size = step if len(wide) > 1 or stream else _LINE
        loops = [
            Loop(a, _fitting(size, kernel.extents[a]) if a in wide else 1, "parallel") for a in grid
        ]
        if stream is not None:
            loops.append(Loop(stream, _fitting(along, kernel.extents[stream]), "stream"))
        if tuple(loops) not in tried:
            tried.add(tuple(loops))
            yield Tiling(STRATEGY, "", tuple(loops))


def _fitting(step: int, extent: int) -> int:
    """A block no larger than it must be; products of blocks take 16 at least."""
    return min(step, max(16, _power(extent)))


def grid_axes(kernel: Kernel) -> tuple[str, ...]:
    """Axes that every fold has: no program of such a grid does what another does."""
    sets = [set(r.axes) for s in kernel.stages if s.kind != "map" for r in s.results]
    return tuple(a for a in wide_grid(kernel) if all(a in s for s in sets))


def wide_grid(kernel: Kernel) -> tuple[str, ...]:
    """Axes of every output that no stage folds: programs may fold the same things again."""
    names = {t.name for t in kernel.outputs}
    sets = [set(r.axes) for s in kernel.stages for r in s.results if r.name in names]
    folded = {a for s in kernel.stages for a in s.over}
    shared = set.intersection(*sets) - folded if sets else set()
    return tuple(a for a in kernel.extents if a in shared)


def streamed(kernel: Kernel) -> str | None:
    """The axis that can be walked in blocks: folded over, and gone after the folds."""
    folds = [s for s in kernel.stages if s.kind == "reduce" and len(s.over) == 1]
    held = {s.over[0] for s in folds if not _by_parts(s.monoid)}
    folded = [s.over[0] for s in folds if s.over[0] not in held]
    able = [a for a in dict.fromkeys(folded) if _streams(kernel, a)]
    return max(able, key=lambda a: kernel.extents[a], default=None)


def _by_parts(monoid: Monoid | None) -> bool:
    """Whether a block can be folded into accumulators component by component."""
    parts = monoid.parts if isinstance(monoid, Streamed) else ()
    plain = [p.op for p in parts] if parts else [monoid]
    return all(op in REDUCTIONS for op in plain) and not any(p.shift for p in parts)


def _streams(kernel: Kernel, axis: str) -> bool:
    after: set[str] = set()
    for stage in kernel.stages:
        late = any(r in after for r in stage.reads)
        inside = axis in stage.over or any(axis in r.axes for r in stage.results)
        if inside and (
            late or stage.kind == "scan" or (axis in stage.over and stage.over != (axis,))
        ):
            return False
        if late or axis in stage.over:
            after.update(r.name for r in stage.results)
    outputs = {t.name for t in kernel.outputs}
    return not any(axis in r.axes and r.name in outputs for s in kernel.stages for r in s.results)


def _resident_reduction(kernel: Kernel, stream: str | None) -> bool:
    return any(s.kind != "map" and s.over != (stream,) for s in kernel.stages)


def product_axes(kernel: Kernel) -> list[str]:
    """The last axis of each side of the products in a kernel, and of the rows of its folds."""
    found: list[str] = []
    order, known = list(kernel.extents), axes_of(kernel)
    for stage in kernel.stages:
        for i in range(len(stage.leaves)):
            if (pair := product_of(stage, i)) is not None:
                left, right = (free_axes(side, stage, known) for side in pair)
                found += [max(s, key=order.index) for s in (left - right, right - left) if s]
        if isinstance(stage.monoid, Streamed):
            rows = free_axes(stage.leaves[0], stage, known) - set(stage.over)
            found += [max(rows, key=order.index)] if rows else []
    return list(dict.fromkeys(found))


def product_of(stage: Stage, component: int) -> tuple[Scalar, Scalar] | None:
    """The two factors of a sum of products along one axis."""
    if stage.kind != "reduce" or stage.monoid != ADD or len(stage.over) != 1:
        return None
    match stage.leaves[component]:
        case Apply("mul", (left, right)):
            return left, right
    return None


def sides(left: set[str], right: set[str], over: str, found: Roles) -> tuple[str, str] | None:
    """The row axis and the column axis of a product of two blocks, if it is one."""
    a, b = (x & found.blocks.keys() for x in (left, right))
    rows, columns = a - b - {over}, b - a - {over}
    if over in a & b and len(rows) == len(columns) == 1 and a & b == {over}:
        return rows.pop(), columns.pop()
    return None


def axes_of(kernel: Kernel) -> dict[str, tuple[str, ...]]:
    """The axes of everything a stage can read."""
    known = {t.name: t.axes for t in kernel.inputs}
    known.update({r.name: r.axes for s in kernel.stages for r in s.results})
    return known


def free_axes(body: Scalar, stage: Stage, known: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The axes of the stage's domain along which a body varies."""
    match body:
        case Index(axis):
            return {axis}
        case Arg(number, at):
            placed = dict(at)
            found = {a for a in known[stage.reads[number]] if a not in placed}
            return found.union(*(free_axes(i, stage, known) for i in placed.values()))
        case Apply(_, args):
            return set().union(*(free_axes(a, stage, known) for a in args))
    return set()


def largest(kernel: Kernel, found: Roles) -> int:
    """Points of the largest block that any stage makes."""
    most, known = 1, axes_of(kernel)
    for stage in kernel.stages:
        for i, result in enumerate(stage.results):
            axes = set(result.axes) | set(stage.over)
            if (pair := product_of(stage, i)) is not None:
                both = [free_axes(side, stage, known) for side in pair]
                if sides(both[0], both[1], stage.over[0], found):
                    axes -= set(stage.over)
            elif isinstance(stage.monoid, Streamed) and i:
                axes -= set(stage.over)  # a product of two blocks, or no larger than the first
            most = max(most, prod(found.blocks.get(a, 1) for a in axes))
    return most


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()
