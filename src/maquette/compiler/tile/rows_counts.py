"""What one run of a "rows" tiling does: arithmetic by weight, bytes by tier.

Bytes follow from footprints: a tier holds what the innermost loops touch, as far out as that fits;
loops further out bring it in again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log2, prod

import numpy as np

from maquette.compiler.kernel import Kernel, Tensor
from maquette.compiler.operations import WORTH
from maquette.compiler.processor import Processor
from maquette.compiler.tile.homes import Plan, plan, started
from maquette.compiler.tile.nest import Loop, Node, Step, inner, needed_leaves
from maquette.compiler.tile.strides import indices
from maquette.compiler.tiling import Counts, Tier, Tiling
from maquette.ir.monoids import Streamed
from maquette.ir.scalar import Apply, Arg, Index, Lit, Scalar, reads
from maquette.ir.semantics import Numbers, scalar

Footprint = dict[str, float]  # bytes by tensor


@dataclass(frozen=True)
class _Touch:
    """What a step reads or writes: elements of so many bytes, along `axes`."""

    name: str
    bytes: float
    most: float  # elements that there are
    axes: frozenset[str]


def counts(kernel: Kernel, tiling: Tiling, processor: Processor) -> Counts:
    """Flops, traffic and iterations of a kernel under a legal tiling."""
    return counted(plan(kernel, tiling), processor)


def counted(made: Plan, processor: Processor) -> Counts:
    """Flops, traffic and iterations of a nest."""
    work = sum(_work(made, s, processor) for node in made.nodes for s in inner(node))
    loads = sum(_loads(made, s, processor) for node in made.nodes for s in inner(node))
    traffic: dict[Tier, float] = {"registers": loads}
    nest = _Footprints(made)
    tiers: tuple[tuple[Tier, int], ...] = (
        ("l1", processor.l1), ("l2", processor.l2), ("l3", processor.l3),
    )  # fmt: skip
    for tier, room in tiers:
        traffic[tier] = sum(nest.into((node,), room * 0.75) for node in made.nodes)
    rounds = sum(_rounds(made, s) for node in made.nodes for s in inner(node))
    return Counts(0.0, work, traffic, len(made.nodes), rounds)


def weight(body: Scalar) -> float:
    """Vector operations of one evaluation.

    >>> weight(Apply("exp", (Apply("sub", (Arg(0), Arg(1))),)))
    19.0
    """
    match body:
        case Apply("pow", (base, Lit(by))) if by in (0.5, 1, 2, 3, 4, -1):
            return 2.0 + weight(base)
        case Apply(op, args):
            return WORTH.get(op, 1.0) + sum(weight(a) for a in args)
        case Arg(_, at):
            return 0.5 * sum(weight(i) for _, i in at)
        case _:
            return 0.0


def _work(made: Plan, step: Step, processor: Processor) -> float:
    """Vector operations of a step, counted per element of full vectors."""
    points = _points(made, step, processor)
    each = sum(weight(leaf) for leaf in needed_leaves(step))
    monoid = step.stage.monoid
    if isinstance(monoid, Streamed) and step.stage.kind == "reduce":
        at_once = prod(made.step(a) for a in step.stage.over) / (
            processor.lanes if made.lanes in step.stage.over else 1
        )
        for i in step.parts:
            part = monoid.parts[i]
            repair = sum(weight(b) + 1 for b in (part.factor, part.shift) if b is not None)
            each += 1 + repair * (1 + 1 / max(at_once, 1))
    elif monoid is not None:
        each += sum(weight(monoid.combine[i]) for i in step.parts)
    apart = sum(_apart(made, name, read, processor) for name, read in step.reads)
    apart += sum(_stored_apart(made, step, name, processor) for name in step.stores)
    return points * (max(each, 1.0) + apart) + _meeting(made, step, processor)


def _apart(made: Plan, name: str, read: Arg, processor: Processor) -> float:
    """Vector operations by which reading lanes that are not side by side exceeds one load."""
    if name not in made.tensors or made.lanes not in made.kernel.extents:
        return 0.0
    by = stride(made.tensors[name], read, made.lanes)
    return 0.0 if by in (0, 1) else 2.0 if by == 2 else 0.75 * processor.lanes


def _stored_apart(made: Plan, step: Step, name: str, processor: Processor) -> float:
    """The same for a store, which squares of as many iterations as lanes make cheap."""
    tensor = made.tensors[name]
    if made.lanes not in step.axes or stride(tensor, Arg(0), made.lanes) in (0, 1):
        return 0.0
    beside = [a for a in step.axes if stride(tensor, Arg(0), a) == 1]
    square = any(made.step(a) >= processor.lanes for a in beside)
    return 4.0 if square else 1.5 * processor.lanes


def _meeting(made: Plan, step: Step, processor: Processor) -> float:
    """Bringing the lanes of a fold together, once for each of its results."""
    if made.lanes not in step.stage.over:
        return 0.0
    rows = prod(made.kernel.extents[a] for a in step.axes if a not in step.stage.over)
    monoid = step.stage.monoid
    each = sum(2 + weight(monoid.combine[i]) for i in step.parts) if monoid else 0.0
    return rows * each * processor.lanes * log2(processor.lanes)


@lru_cache(4096)
def stride(tensor: Tensor, read: Arg, axis: str) -> int:
    """Elements from the first to the second point of an axis, gathered coordinates aside."""
    numbers, placed = Numbers({}), dict(read.at)

    def place(along: int) -> int:
        def index(name: str) -> int:
            return along if name == axis else 0

        def coordinate(body: Scalar) -> int:
            return int(np.asarray(scalar(body, numbers, lambda arg: 0, index)))

        at = [coordinate(placed.get(n, Index(n))) for n in tensor.axes]
        return sum(c * s for c, s in zip(at, tensor.strides, strict=True))

    with np.errstate(all="ignore"):
        return place(1) - place(0)


def _points(made: Plan, step: Step, processor: Processor) -> float:
    """Points of a step; those without lanes weigh a whole vector."""
    total, lanes = 1.0, processor.lanes
    for axis in step.axes:
        extent = made.kernel.extents[axis]
        total *= -(-extent // lanes) * lanes if axis == made.lanes else extent
    return total if made.lanes in step.axes else total * lanes


def _loads(made: Plan, step: Step, processor: Processor) -> float:
    """Bytes from the nearest cache into registers, reads that iterations share counted once."""
    total = 8.0 * _updates(made, step, processor)
    for name, read in step.reads:
        axes = _varies(made, name, read)
        shared = [made.step(a) for a in step.axes if a != made.lanes and a not in axes]
        points = _points(made, step, processor)
        if made.lanes not in axes:
            points /= 4  # a broadcast, for several vectors at once
        total += points * _bytes(made, name) / max(prod(shared), 1)
    return total


def _updates(made: Plan, step: Step, processor: Processor) -> float:
    """Reads and writes of accumulators that are in memory: results' loops inside a fold's."""
    path = made.paths[step]
    inside = path[len(started(step, path)) :]
    if not step.stage.over or all(x.axis in step.stage.over for x in inside):
        return 0.0
    at_once = prod(made.step(a) for a in step.stage.over if a != made.lanes)
    return _points(made, step, processor) / max(at_once, 1)


def _rounds(made: Plan, step: Step) -> float:
    """Entries into the innermost loop around a step."""
    path = made.paths[step]
    return prod(-(-made.kernel.extents[x.axis] // made.step(x.axis)) for x in path[:-1])


def _bytes(made: Plan, name: str) -> float:
    """Bytes of an element; results that nobody stores are fp32."""
    held = made.tensors.get(name)
    return held.dtype.bytes if held else 4.0


def _varies(made: Plan, name: str, read: Arg) -> frozenset[str]:
    """The axes along which a read varies."""
    home = made.homes.get(name)
    held = home.result.axes if home else made.tensors[name].axes
    placed = dict(read.at)
    found = {a for a in held if a not in placed}
    for at in placed.values():
        found |= _indices(made, at)
    return frozenset(found)


def _indices(made: Plan, body: Scalar) -> set[str]:
    found = indices(body)
    for _ in reads(body):
        found |= set(made.kernel.extents)
    return found


class _Footprints:
    """Distinct bytes that one run of a node touches, by tensor and tile: asked for every tier."""

    def __init__(self, made: Plan) -> None:
        self._made = made
        self._extents = made.kernel.extents
        self._touches = {step: tuple(_touches(made, step)) for step in made.paths}
        self._known: dict[tuple[Node, bool], Footprint] = {}

    def into(self, nodes: Sequence[Node], room: float) -> float:
        """Bytes that one run of some nodes brings into a tier of some capacity."""
        touched = sum(_union(self._of(n) for n in nodes).values())
        if touched <= room or all(isinstance(n, Step) for n in nodes):
            return touched
        if len(nodes) > 1:
            return sum(self.into((n,), room) for n in nodes)
        (loop,) = nodes
        assert isinstance(loop, Loop)
        rounds = -(-self._extents[loop.axis] // self._made.step(loop.axis))
        whole = self._extents[loop.axis] * self.into(loop.body, room)
        kept = sum(self._of(loop, kept=True).values())
        again = rounds * kept
        if kept <= room / 2:  # what does not vary along the loop stays
            again = kept
        return min(whole, max(whole - self._extents[loop.axis] * kept, 0.0) + again)

    def _of(self, node: Node, kept: bool = False) -> Footprint:
        """Of one run of a node; `kept`: of what every iteration of a loop touches again."""
        if (node, kept) not in self._known:
            self._known[node, kept] = _union(self._touched(node, kept))
        return self._known[node, kept]

    def _touched(self, node: Node, kept: bool) -> Iterator[Footprint]:
        for step in inner(node):
            path = self._made.paths[step]
            within = path[path.index(node) :] if isinstance(node, Loop) else ()
            inside = frozenset(x.axis for x in within)
            for touch in self._touches[step]:
                if not (kept and isinstance(node, Loop) and node.axis in touch.axes):
                    count = prod(self._extents[a] for a in touch.axes & inside)
                    yield {touch.name: min(count, touch.most) * touch.bytes}


def _union(footprints: Iterable[Footprint]) -> Footprint:
    found: Footprint = {}
    for one in footprints:
        for name, size in one.items():
            found[name] = max(found.get(name, 0.0), size)
    return found


def _touches(made: Plan, step: Step) -> Iterator[_Touch]:
    """What a step reads and writes in memory or in tiles."""
    for name, read in step.reads:
        home = made.homes.get(name)
        if home is None or home.kept:
            held = made.tensors.get(name)
            most = prod(held.shape) if held else inf
            yield _Touch(name, _bytes(made, name), most, _varies(made, name, read))
    for name in step.stores:
        yield _Touch(name, _bytes(made, name), inf, frozenset(step.axes))
