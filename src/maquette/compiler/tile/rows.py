"""Tilings of strategy "rows": loops in one order, an axis across lanes, a few iterations at once.

Any kernel has some.  The axis across lanes is one along which most reads and writes are
neighbours; if results fold along it lanes meet after a row, if not every lane has a row of its
own.  An axis along which much is read again and again goes a few iterations at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.components import chained
from maquette.compiler.tile.homes import Plan, planned
from maquette.compiler.tile.nest import Step, operands, pointwise, steps
from maquette.compiler.tile.rows_counts import counted, stride
from maquette.compiler.tiling import Candidate, Loop, LoopKind, Tiling
from maquette.errors import ProgramError
from maquette.ir.monoids import Streamed
from maquette.ir.scalar import Arg

STRATEGY = "rows"
UNROLLED = 9  # points of short folds that are written out, such as windows of 3 × 3
TEXT = 128  # steps written out, over all points at once
MOST = 6  # candidates with one axis across lanes
_ONCE = ((4, 1), (2, 1), (1, 1))  # vectors at once and iterations at once
_AGAIN = ((2, 6), (1, 8), (4, 3), (4, 1), (1, 1))
_SIDE_BY_SIDE = {1: 1.0, 2: 0.5, 0: 0.2}  # how well a stride between lanes is read


def accepts(kernel: Kernel) -> str:
    """Why `kernel` has no tiling of this strategy; empty if it has one."""
    return "" if any(True for _ in _legal(kernel, 1)) else "no order of loops holds its folds"


def candidates(kernel: Kernel, processor: Processor) -> list[Candidate]:
    """Ways to run `kernel`, the likeliest first.

    >>> from maquette.compiler.fuse.parse import parse_kernel
    >>> from maquette.run.host import processor
    >>> k = parse_kernel('''
    ... kernel norm
    ...   extent n=64, t=1000
    ...   in x f32[n, t] strides 1000, 1
    ...   out y f32[n, t] strides 1000, 1
    ...   f32 m[n] = max over t: %x
    ...   f32 y[n, t] = %x / %m
    ... ''')
    >>> candidates(k, processor())[0].tiling.lanes
    't'
    """
    found = _legal(kernel, processor.lanes)
    return [Candidate(made.tiling, counted(made, processor)) for made in found]


def _legal(kernel: Kernel, width: int) -> Iterator[Plan]:
    """Nests that can hold the kernel's folds, a few for each axis across lanes."""
    kernel = chained(kernel)
    sequence = steps(kernel)
    free = {a: _free(sequence, a) for a in kernel.extents}
    for lanes in [*lane_axes(kernel, width)[:3], ""]:
        seen: dict[tuple[Loop, ...], None] = {}
        for tiling in _tilings(kernel, sequence, free, lanes, width):
            if tiling.loops in seen or _long(tiling, sequence, width):
                continue
            try:
                yield planned(kernel, sequence, tiling)
            except ProgramError:
                continue
            seen[tiling.loops] = None
            if len(seen) == (MOST if lanes else 1):
                break


def _long(tiling: Tiling, sequence: tuple[Step, ...], width: int) -> bool:
    """Whether the text would be: points at once, of which a scan across lanes takes many lines."""
    points = prod(x.step // (width if x.axis == tiling.lanes else 1) for x in tiling.loops)
    if points > 1 and points * len(sequence) > TEXT:
        return True
    return points > (8 if _scanned(sequence, tiling.lanes) else 128)


def _tilings(
    kernel: Kernel, sequence: tuple[Step, ...], free: Mapping[str, bool], lanes: str, width: int
) -> Iterator[Tiling]:
    orders = list(_orders(kernel, sequence, free, lanes))
    sizes = list(_at_once(kernel, sequence, free, lanes, width))
    pairs = [(i + 2 * j, i, j) for i in range(len(sizes)) for j in range(len(orders))]
    for _, i, j in sorted(pairs):
        loops = (Loop(a, sizes[i].get(a, 1), _kind(free[a])) for a in orders[j])
        yield Tiling(STRATEGY, lanes, tuple(loops))


def _kind(free: bool) -> LoopKind:
    return "parallel" if free else "stream"


def _free(sequence: tuple[Step, ...], axis: str) -> bool:
    """Whether every step that has an axis is independent along it, and reads what is beside it."""
    made = {r.name for s in sequence for r in s.results}
    for step in sequence:
        if axis in step.stage.over:
            return False
        for name, read in operands(step):
            if name in made and not pointwise(read, axis):
                return False
    return True


def lane_axes(kernel: Kernel, width: int) -> list[str]:
    """Axes by how many elements are read and written side by side along them."""
    scores: dict[str, float] = {}
    for axis, extent in kernel.extents.items():
        if extent > 1:
            full = extent / (-(-extent // width) * width)
            scores[axis] = full * _neighbours(kernel, axis)
    return sorted(scores, key=lambda a: -scores[a])


def _neighbours(kernel: Kernel, axis: str) -> float:
    """Elements touched with stride 1 along an axis, those in strides against."""
    tensors = {t.name: t for t in (*kernel.inputs, *kernel.outputs)}
    score = 0.0
    for step in steps(kernel):
        if axis not in step.axes:
            continue
        points = prod(kernel.extents[a] for a in step.axes)
        places = [(tensors[n], r) for n, r in operands(step) if n in tensors]
        places += [(tensors[n], Arg(0)) for n in step.stores]
        for tensor, read in places:
            step_by = stride(tensor, read, axis)
            score += points * _SIDE_BY_SIDE.get(step_by, -1.0)
    return score


def _orders(
    kernel: Kernel, sequence: tuple[Step, ...], free: Mapping[str, bool], lanes: str
) -> Iterator[list[str]]:
    """Orders of loops, from the outermost in: the free first, the axis across lanes as far in."""
    outputs = [t.axes for t in kernel.outputs]
    rank = {a: i for axes in reversed(outputs) for i, a in enumerate(axes)}
    names = [a for a in kernel.extents if a != lanes]
    outer = sorted((a for a in names if free[a]), key=lambda a: rank.get(a, len(rank)))
    kept = {a for s in sequence for r in s.results for a in r.axes if not free[a]}
    inside = [a for a in names if not free[a]]
    folds = sorted(
        inside, key=lambda a: (a in kept and not _scanned(sequence, a), -kernel.extents[a])
    )
    last = [lanes] if lanes else []
    if lanes and free[lanes]:
        yield [*outer, lanes, *folds]
        yield [*outer, *folds, lanes]
    else:
        yield [*outer, *folds, *last]
    yield [*outer, *reversed(folds), *last]
    shared = [a for a in outer if all(a in s.axes for s in sequence)]
    if len(shared) < len(outer):
        rest = [a for a in outer if a not in shared]
        yield [*shared, *folds, *rest, *last]


def _scanned(sequence: tuple[Step, ...], axis: str) -> bool:
    return any(s.stage.kind == "scan" and axis in s.stage.over for s in sequence)


def _at_once(
    kernel: Kernel, sequence: tuple[Step, ...], free: Mapping[str, bool], lanes: str, width: int
) -> Iterator[dict[str, int]]:
    """Iterations at once, by axis."""
    short: dict[str, int] = {}
    for axis in sorted(kernel.extents, key=lambda a: kernel.extents[a]):
        count = kernel.extents[axis]
        if axis != lanes and not free[axis] and prod(short.values()) * count <= UNROLLED:
            short[axis] = max(count, 1)
    streams = any(isinstance(s.stage.monoid, Streamed) for s in sequence)
    turned = _turned(kernel, sequence, free, lanes) if lanes else ""
    if turned:
        yield {**short, lanes: width, turned: width}
    again = _again(kernel, sequence, free, lanes)
    long = [a for a in kernel.extents if not free[a] and a != lanes and a not in short]
    folds = dict.fromkeys(long, 4) if streams else {}
    most = -(-kernel.extents[lanes] // width) if lanes else 1
    for vectors, rows in _AGAIN if again else _ONCE:
        found = {**short, **folds}
        if lanes:
            found[lanes] = max(1, min(vectors, most)) * width
        if rows > 1:
            found[again] = _even(kernel.extents[again], rows)
        yield found
    if len(sequence) * prod(short.values()) > TEXT:
        yield {lanes: width} if lanes else {}


def _turned(
    kernel: Kernel, sequence: tuple[Step, ...], free: Mapping[str, bool], lanes: str
) -> str:
    """The free axis along which an output has its neighbours, where lanes are another."""
    outputs = {t.name: t for t in kernel.outputs}
    for step in sequence:
        for name in step.stores:
            if lanes in step.axes and stride(outputs[name], Arg(0), lanes) not in (0, 1):
                beside = [a for a in step.axes if free[a] and a != lanes]
                found = [a for a in beside if stride(outputs[name], Arg(0), a) == 1]
                return found[0] if found else ""
    return ""


def _even(total: int, most: int) -> int:
    """How many at once, so that none is left if that can be."""
    return next((n for n in range(most, most // 2, -1) if total % n == 0), min(most, total) or 1)


def _again(kernel: Kernel, sequence: tuple[Step, ...], free: Mapping[str, bool], lanes: str) -> str:
    """The free axis along which folds read most of the same; "" if there is none."""
    held = {t.name: set(t.axes) for t in kernel.inputs}
    scores: dict[str, int] = {}
    for step in sequence:
        if step.stage.kind != "reduce" or len(set(operands(step))) < 2:
            continue
        points = prod(kernel.extents[a] for a in step.axes)
        for axis in step.axes:
            if free[axis] and axis != lanes and kernel.extents[axis] > 1:
                same = [n for n, r in operands(step) if axis not in held.get(n, {axis})]
                scores[axis] = scores.get(axis, 0) + points * bool(same)
    best = max(scores, key=lambda a: scores[a], default="")
    return best if best and scores[best] else ""
