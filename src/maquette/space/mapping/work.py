"""What a pattern costs on compute units.

A contraction runs on the systolic array of a unit, output stationary, where it is reused along both
sides of it; else, and always where multiply-adds are no more than functional units, one vector of
the larger operand enters per cycle, is multiplied and goes down the reduction tree.  All other
arithmetic is a chain of units, each lane-wide, one functional unit per operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isqrt, prod

from maquette.compiler.kernel import Kernel
from maquette.compiler.kernel import Stage as Pattern
from maquette.machines.types import Fabric
from maquette.price.kernel_work import work
from maquette.space.mapping.partition import Limits, Needs, needs, partition, virtual
from maquette.space.mapping.types import Path


@dataclass(frozen=True)
class Done:
    """Unit-cycles of one tile, and how they may be spread."""

    path: Path
    cycles: float
    widest: int
    flops: float
    chain: int
    needs: Needs | None  # of a body that one unit holds
    passes: float  # of the larger operand through ports
    depth: int


def done(pattern: Pattern, view: Kernel, fabric: Fabric) -> Done:
    """The work of `pattern`, the only stage of `view`, whose extents are those of a tile."""
    found = work(view)
    lanes, deep = fabric.lanes.value, fabric.stages.value
    dataflow = virtual(pattern, _scalars(pattern, view))
    chain = max(1, len(partition(dataflow, Limits.of(fabric))))
    busy = max(1, len(dataflow.operations))
    axes = {*pattern.over, *(a for r in pattern.results for a in r.axes)}
    points = float(prod(view.extents[a] for a in axes))
    width = max(r.dtype.bytes for r in pattern.results)
    numbers = lanes * max(1.0, fabric.word.value / width)  # of a vector: narrow ones share a lane
    if found.matrix:  # what is done beside it, on units as full as the whole chain's
        cycles = found.vector / (numbers * deep) * max(1.0, chain * deep / busy)
    else:  # a vector a cycle; operations on fewer points have no unit to themselves
        cycles = points / numbers * max(1, ceil(chain * min(1.0, found.vector / points / busy)))
    path: Path = "vector" if dataflow.operations else "copy"
    passes, depth = 1.0, chain * deep
    if pattern.over:
        depth += lanes.bit_length()  # the tree across lanes
    if found.matrix:
        array, thin = _contraction(found.matrix, found.reuse, width, fabric)
        side = isqrt(fabric.macs.value)
        cycles += min(array, thin)
        if array <= thin:
            path, passes, depth = "matrix", ceil(found.reuse / side), depth + 2 * side
        else:
            passes = found.reuse
    cycles = max(cycles, carried(pattern, view, fabric))
    return Done(
        path,
        cycles,
        max(1, ceil(points / numbers)),
        found.matrix + found.vector,
        chain,
        needs(dataflow.by_name, dataflow) if chain == 1 and not found.matrix else None,
        passes,
        depth,
    )


def _scalars(pattern: Pattern, view: Kernel) -> list[str]:
    """Reads that are one number for all lanes, which lie along the last axis there is."""
    lanes = (*pattern.results[-1].axes, *pattern.over)[-1:]
    return [t.name for t in view.inputs if t.name in pattern.reads and not {*lanes} & {*t.axes}]


def _contraction(flops: float, reuse: float, width: float, fabric: Fabric) -> tuple[float, float]:
    """Unit-cycles on the array, the larger operand used `reuse` times, and without it."""
    points, lanes = flops / 2, fabric.lanes.value
    thin = points * width / (lanes * fabric.word.value)
    if fabric.macs.value <= lanes * fabric.stages.value:
        return float("inf"), thin
    side = isqrt(fabric.macs.value)
    rows = ceil(reuse / side) * side / reuse  # a last block of fewer rows takes as long
    return points / fabric.macs.value * rows, thin


def carried(pattern: Pattern, view: Kernel, fabric: Fabric) -> float:
    """Unit-cycles where every iteration waits for the one before (PLDI 2018, §4).

    A scan's next prefix needs the last; points of other axes fill the cycles between.  A fold has
    no such wait: lanes hold partial totals, and a tree joins them.
    """
    if pattern.kind != "scan" or pattern.monoid is None:
        return 0.0
    along = pattern.over[0]
    steps = view.extents[along]
    others = prod(view.extents[a] for a in pattern.results[-1].axes if a != along)
    cycle = max(1, len(partition(virtual(pattern), Limits.of(fabric)))) * fabric.stages.value
    interval = max(1.0, cycle / max(1.0, others / fabric.lanes.value))
    return float(interval * steps * max(1.0, others / fabric.lanes.value))
