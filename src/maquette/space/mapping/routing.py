"""What data decide: positions that are kept, members of groups, as stages of a metapipeline.

A `FlatMap` keeps positions, a `GroupBy` deals points out to groups.  Both are stages that put out
coordinates, tile tokens as any other; who reads at them gathers.  What their axes hold is known
only when it runs: the program says how much is likely (the size of an axis) and how much there may
be (what it is drawn from).  Work, bytes and buffers are counted at the former; a simulation with
values counts again with what it found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, expm1, log1p, prod

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.kernel import Interpreted, Kernel, Result, Stage, Tensor
from maquette.ir.axes import Axis, full
from maquette.ir.graph import Graph
from maquette.ir.patterns import FlatMap, GroupBy, Value
from maquette.ir.scalar import Arg
from maquette.ir.semantics import Numbers, flat_map, group_by
from maquette.machines.types import Fabric
from maquette.space.mapping.work import Done


@dataclass(frozen=True)
class Routing(Kernel):
    """A kernel of one stage that puts out coordinates, which depend on the data."""

    rule: FlatMap | GroupBy

    @property
    def together(self) -> frozenset[str]:
        """Axes no tile may cut: positions are ranked along one, groups take members from all."""
        if isinstance(self.rule, FlatMap):
            return frozenset({self.rule.along})
        return frozenset(a.name for a in self.rule.key.axes)

    def coordinates(self, key: NDArray[np.float64]) -> dict[str, NDArray[np.int64]]:
        """Every output by name."""
        numbers = Numbers({}, np.float64)
        if isinstance(self.rule, GroupBy):
            made = group_by(self.rule, key.astype(np.int64), numbers)
        else:
            flags = key.astype(bool) if self.rule.rule == "where" else key
            made = (flat_map(self.rule, flags, numbers),)
        return {t.name: found for t, found in zip(self.outputs, made, strict=True)}


def routing(kernel: Interpreted) -> Routing:
    """The kernel of one stage that an interpreted one is."""
    assert isinstance(kernel.graph, Graph)
    rule = next(v for v in kernel.graph.values if isinstance(v, FlatMap | GroupBy))
    tensors = (*kernel.inputs, *kernel.outputs)
    extents = {a: n for t in tensors for a, n in zip(t.axes, t.shape, strict=True)}
    results = tuple(Result(t.name, t.axes, t.dtype) for t in kernel.outputs)
    stage = Stage("map", results, (), None, (Arg(0),), tuple(t.name for t in kernel.inputs))
    return Routing(kernel.name, extents, kernel.inputs, kernel.outputs, (stage,), rule)


def routed(kernel: Routing, piece: Kernel, fabric: Fabric) -> Done:
    """What a tile of a routing takes.

    The best of some positions: each lane ranks the keys of a row of its own, one a cycle, in a
    chain with a place for every position that is kept.  Positions whose key is true: a vector a
    cycle, its prefix count down the tree, and its writes.  Groups: one point a cycle, for the
    count of its group must be there before the next point's is read.
    """
    lanes, deep = fabric.lanes.value, fabric.stages.value
    key = piece.inputs[0]
    points = float(prod(key.shape))
    if isinstance(kernel.rule, GroupBy):
        return Done("vector", points, 1, points, 1, None, 1.0, deep)
    along = dict(zip(key.axes, key.shape, strict=True))[kernel.rule.along]
    rows = points / along
    if kernel.rule.rule == "top":
        kept = piece.extents[kernel.rule.out.name]
        chain = ceil(2 * kept / deep)  # a key and its position are compared and moved
        cycles = float(ceil(rows / lanes) * along)
        return Done(
            "vector", cycles, ceil(rows / lanes), points * kept, chain, None, 1.0, chain * deep
        )
    cycles = rows * ceil(along / lanes)
    return Done("vector", cycles, ceil(rows), points, 2, None, 1.0, 2 * deep)


def likely(graph: Graph, numbers: Mapping[str, float]) -> dict[str, float]:
    """What stands for extents that data decide, by symbol, where `numbers` do not say.

    Of groups those that receive a member: points choose among all alike, and those that one row
    chooses, as the best of some, are distinct.  Of positions that are kept all: nobody knows.

    >>> from maquette.catalogue.models import model
    >>> from maquette.models.decoder import program
    >>> layer = program(model("mixtral-8x7b")).parts["moe"]
    >>> [round(likely(layer, {"b": b, "s": 1, "t": 9})["hit"], 2) for b in (1, 4, 64)]
    [2.0, 5.47, 8.0]
    """
    found: dict[str, float] = {}
    for value in graph.values:
        match value:
            case GroupBy(group=ax) if (symbol := _unknown(ax, numbers)) is not None:
                groups = float(full(ax)(numbers))
                points = prod(float(full(a)(numbers)) for a in value.key.axes)
                at_once = _distinct(value.key, numbers)
                missed = points / at_once * log1p(-min(at_once / groups, 1 - 1e-12))
                found[symbol] = round(-groups * expm1(missed), 9)
            case FlatMap(out=ax) if (symbol := _unknown(ax, numbers)) is not None:
                found[symbol] = float(full(ax)(numbers))
    return found


def _unknown(ax: Axis, numbers: Mapping[str, float]) -> str | None:
    """The symbol that stands for the extent of a subset, where nothing says what it is."""
    unknown = ax.size.symbols - numbers.keys()
    alone = ax.within is not None and len(unknown) == 1 and str(ax.size) in unknown
    return next(iter(unknown)) if alone else None


def _distinct(key: Value, numbers: Mapping[str, float]) -> float:
    """Keys of a row that differ from each other, all of them."""
    while not isinstance(key, FlatMap) and len(key.operands) == 1:
        (key,) = key.operands
    return float(key.out.size(numbers)) if isinstance(key, FlatMap) else 1.0


def subsets(graph: Graph, numbers: Mapping[str, float]) -> dict[str, int]:
    """Points that are likely on every axis whose extent depends on the data."""
    axes = {a for v in graph.values for a in v.axes if a.within is not None}
    return {a.name: _points(a, numbers) for a in axes}


def _points(ax: Axis, numbers: Mapping[str, float]) -> int:
    return max(1, min(ceil(float(ax.size(numbers)) - 1e-9), round(float(full(ax)(numbers)))))


def sized(kernels: Iterable[Kernel], counts: Mapping[str, int]) -> Iterator[Kernel]:
    """Kernels with what is likely on axes that depend on the data, where they follow from it."""
    known = set[str]()  # buffers that follow from coordinates
    for kernel in kernels:
        follows = any(t.buffer in known for t in kernel.inputs)
        if isinstance(kernel, Routing) or follows:
            known |= {t.buffer for t in kernel.outputs}
        yield _sized(kernel, counts) if follows or isinstance(kernel, Routing) else kernel


def _sized(kernel: Kernel, counts: Mapping[str, int]) -> Kernel:
    whole = dict(kernel.extents)
    if isinstance(kernel, Routing):  # keys are all there
        keys = {a for t in kernel.inputs for a in t.axes}
        counts = {a: n for a, n in counts.items() if a not in keys}
    extents = {a: min(n, counts.get(a, n)) for a, n in whole.items()}

    def cut(t: Tensor) -> Tensor:
        pairs = zip(t.axes, t.shape, strict=True)
        return replace(t, shape=tuple(extents[a] if whole.get(a) == n else n for a, n in pairs))

    return replace(
        kernel,
        extents=extents,
        inputs=tuple(map(cut, kernel.inputs)),
        outputs=tuple(map(cut, kernel.outputs)),
    )


def found_counts(rule: FlatMap | GroupBy, made: Sequence[NDArray[np.int64]]) -> dict[str, int]:
    """What coordinates that were put out came to: groups with members, members of each, kept."""
    if isinstance(rule, FlatMap):
        kept = int((made[0] >= 0).sum(axis=-1).max()) if made[0].size else 0
        return {rule.out.name: max(1, kept)} if rule.rule == "where" else {}
    held = (made[1] >= 0).sum(axis=-1)
    touched = max(1, int((held > 0).sum()))
    return {rule.group.name: touched, rule.member.name: max(1, ceil(int(held.sum()) / touched))}
