"""The numbers of a tiled streamed fold, and what of the stream each block of rows meets."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.tile.live import FIRST, LAST
from maquette.compiler.tile.roles import Roles

Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class Sizes:
    """The numbers of one tiling."""

    block: int  # rows across lanes, several vectors of them
    super: int  # rows of a task, a multiple of `block`
    depth: int  # positions of the stream in a block, a multiple of what a product takes at once
    products: tuple[int, int]  # vectors of rows × positions in a register tile
    contractions: tuple[int, int]  # vectors of rows × inner points

    @property
    def vectors(self) -> int:
        """Vectors of rows that phases work on together."""
        return self.products[0]

    @property
    def grain(self) -> int:
        """Positions that a product takes at once."""
        return self.products[1]


@dataclass(frozen=True)
class Ranges:
    """Of every block of rows of every outer point: the live positions, and those fully open."""

    low: Ints
    high: Ints
    open: Ints
    task: Ints  # which task it is in
    times: int  # outer points that each stands for


def ranges(held: Roles, sizes: Sizes) -> Ranges:
    """The live ranges of all blocks, in order; live ones are whole register tiles."""
    rows, length = (held.kernel.extents[n] for n in (held.rows, held.stream))
    named = {n for r in (held.live, held.full) for b in (*r.lows, *r.highs) for n, _ in b.terms}
    outer = [n for n in held.outer if n in named]
    shape = [held.kernel.extents[n] for n in outer]
    first = np.arange(ceil(rows / sizes.block)) * sizes.block
    grid = np.meshgrid(*(np.arange(n) for n in shape), first, indexing="ij")
    at: dict[str, Any] = {n: g.ravel() for n, g in zip([*outer, FIRST], grid, strict=True)}
    at[LAST] = np.minimum(at[FIRST] + sizes.block, rows) - 1
    low, high = (np.broadcast_to(b, at[FIRST].shape) for b in held.live.along(at, length))
    none = high <= low  # such rows walk all of the stream
    low, high = np.where(none, 0, low), np.where(none, length, high)
    low = low // sizes.grain * sizes.grain
    high = np.maximum(low, np.minimum(length, -(-high // sizes.grain) * sizes.grain))
    start, end = held.full.along(at, length)
    opened = np.maximum(0, np.minimum(high, end) - np.maximum(low, start))
    place = np.arange(len(low)) // len(first)
    task = place * len(first) + at[FIRST] // sizes.super
    times = prod(held.kernel.extents[n] for n in held.outer if n not in named)
    return Ranges(low, high, opened, task, times)


def tiles_of(found: Ranges, sizes: Sizes) -> Ints:
    """How many blocks of the stream every block of rows meets; they start where a task's do."""
    start = np.full(int(found.task.max()) + 1, np.iinfo(np.int64).max)
    some = found.high > found.low
    np.minimum.at(start, found.task[some], found.low[some])
    origin = np.where(some, start[found.task], 0)
    met = -(-(found.high - origin) // sizes.depth) - (found.low - origin) // sizes.depth
    return np.where(some, met, 0)


def hulls(found: Ranges) -> Ints:
    """Positions between the first and the last that some block of a task meets."""
    tasks = int(found.task.max()) + 1
    some = found.high > found.low
    low, high = np.full(tasks, np.iinfo(np.int64).max), np.zeros(tasks, dtype=np.int64)
    np.minimum.at(low, found.task[some], found.low[some])
    np.maximum.at(high, found.task[some], found.high[some])
    length: Ints = high - np.minimum(low, high)
    return length
