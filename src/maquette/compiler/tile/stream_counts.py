"""What a tiled streamed fold does: multiply-adds, other operations, bytes into every tier.

Tiles are placed by capacity: what is touched again before more than a tier holds has passed stays
in it.  Given places, all counts are sums over blocks of rows of closed forms of their live ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.operations import operations
from maquette.compiler.processor import Processor
from maquette.compiler.tile import bodies
from maquette.compiler.tile.live import FIRST, LAST
from maquette.compiler.tile.phases import Phases, falling
from maquette.compiler.tile.roles import Roles
from maquette.compiler.tiling import Counts, Tier, Tile
from maquette.ir.scalar import Apply, Arg, Scalar

Ints = NDArray[np.int64]


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


_ORDER: tuple[Tier, ...] = ("registers", "l1", "l2", "l3", "memory")
_WEIGHT = 13.0  # vector operations of an exponential of what is at most 0


def placed(phases: Phases, sizes: Sizes, processor: Processor) -> tuple[Tile, ...]:
    """Where everything that is touched again lies until then."""
    held = phases.roles
    rows, stream = held.rows, held.stream
    length = held.kernel.extents[stream]
    tile = 4 * sizes.depth * sizes.block
    moving = sum(_position_bytes(held).values()) * sizes.depth
    kept = 4 * (sum(_packed(held).values()) + sum(_states(held).values()))  # of a row
    near = phases.buffers * tile + moving + kept * sizes.block
    again = phases.buffers * tile + moving + kept * sizes.super

    def tier(size: int) -> Tier:
        for name in ("l1", "l2", "l3"):
            if size <= getattr(processor, name):
                return name  # type: ignore[return-value]
        return "memory"

    several = sizes.super > sizes.block
    found = [
        Tile(f"tile {i}", ((stream, sizes.depth), (rows, sizes.block)), tier(tile))
        for i in range(phases.buffers)
    ]
    for name, count in (_packed(held) | _states(held)).items():
        shape = ((rows, sizes.super), ("values", count))
        found.append(Tile(name, shape, tier(again if several else near)))
    whole = tier(sum(_position_bytes(held).values()) * length)
    for name in _position_bytes(held):
        if several:
            found.append(Tile(name, ((stream, sizes.depth),), tier(near)))
        found.append(Tile(name, ((stream, length),), whole))
    return tuple(found)


def _position_bytes(held: Roles) -> dict[str, int]:
    """Bytes of every tensor that the stream runs through, of one position at an outer point."""
    found: dict[str, int] = {}
    for p in held.products:
        name = held.names[p.stream.number]
        size = prod(held.kernel.extents[a] for a in p.over)
        found[name] = int(size * held.tensors[name].dtype.bytes)
    for c in held.components:
        if c.operand is not None:
            name = held.names[c.operand.number]
            size = held.kernel.extents[c.inner]
            found[name] = max(found.get(name, 0), int(size * held.tensors[name].dtype.bytes))
    return found


def _packed(held: Roles) -> dict[str, int]:
    """Values of a row that products read, lanes last."""
    return {
        f"rows of {p.name}": prod(held.kernel.extents[a] for a in p.over) for p in held.products
    }


def _states(held: Roles) -> dict[str, int]:
    """Values of a row that are folded."""
    return {c.name: held.kernel.extents[c.inner] if c.inner else 1 for c in held.components}


def counts(phases: Phases, sizes: Sizes, tiles: tuple[Tile, ...], processor: Processor) -> Counts:
    """What one run does, all threads together."""
    held = phases.roles
    found = ranges(held, sizes)
    met = tiles_of(found, sizes) * found.times
    live = int((found.high - found.low).sum()) * found.times  # block-of-rows × position
    summed = sum(_packed(held).values())
    inner = sum(held.kernel.extents[c.inner] for c in held.components if c.operand)
    opened = int(found.open.sum()) * found.times
    costs = [_cost(phases, gated) for gated in (False, True)]
    vector = sizes.block * (opened * costs[0] + (live - opened) * costs[1])
    vector += sizes.block * int(met.sum()) * (inner + _tile_cost(phases))
    vector += sizes.block * len(found.low) * found.times * _row_cost(held)
    return Counts(
        fma=2.0 * sizes.block * live * (summed + inner),
        vector=float(vector),
        traffic={
            "registers": _loads(phases, sizes, found, met, processor),
            **{t: _crossing(t, phases, sizes, tiles, found, met) for t in _ORDER[1:4]},
        },
        iterations=float(_entries(phases, sizes, found, met, processor)),
    )


@lru_cache(64)
def _work(phases: Phases, gated: bool) -> tuple[list[Scalar], int]:
    """Bodies of all phases over tiles, gates open or not, and how often a tile is read or written."""
    held, bodies_, touched = phases.roles, list[Scalar](), 0
    for number in range(phases.count):
        wanted = [k.body for k in phases.kept if k.phase == number]
        stored = len(wanted)
        wanted += [phases.leaves[c.name] for c in phases.of_phase(number) if not c.operand]
        if not gated:
            wanted = [held.opened(b) for b in wanted]
            stored = sum(not phases.is_tile(b) for b in wanted[:stored])
        bodies_ += wanted
        read = {p for b in wanted for p in bodies.parts(b) if phases.is_tile(p)}
        touched += len(read) + stored
    return bodies_, touched


@lru_cache(64)
def _cost(phases: Phases, gated: bool) -> float:
    """Vector operations per row and position: each distinct subexpression once."""
    bodies_, touched = _work(phases, gated)
    weights = falling(phases)
    rows = [c for c in phases.roles.components if not c.operand]
    total = float(len(rows) + touched)
    for part in {p for b in bodies_ for p in bodies.parts(b) if isinstance(p, Apply)}:
        bare = Apply(part.op, tuple(Arg(0) for _ in part.args))
        total += _WEIGHT if part in weights else operations(bare)
    return total


@lru_cache(64)
def _tile_cost(phases: Phases) -> float:
    """Vector operations per row of bringing states up to date after a tile."""
    repairs = [c.repair for c in phases.roles.components if c.repair is not None]
    return 2.0 * len(phases.roles.components) + sum(operations(r) for r in dict.fromkeys(repairs))


def _row_cost(held: Roles) -> float:
    """Vector operations per row before and after the stream: packing, outputs."""
    inner = {c.inner for c in held.components}
    total = float(sum(_packed(held).values()) + sum(_states(held).values()))
    for tensor, body in held.outputs:
        points_ = prod(n for a, n in zip(tensor.axes, tensor.shape, strict=True) if a in inner)
        total += points_ * (2.0 + operations(body) / max(1, points_ // 8))
    return total


def _groups(sizes: Sizes, processor: Processor) -> int:
    """Register tiles side by side in a block of rows."""
    return sizes.block // (sizes.vectors * processor.lanes)


def _loads(phases: Phases, sizes: Sizes, found: Ranges, met: Ints, processor: Processor) -> float:
    """Bytes from L1 into registers; what is broadcast fills a register too."""
    held, width = phases.roles, processor.lanes * 4
    side = _groups(sizes, processor)
    vectors, grain = sizes.products
    _, scalars = sizes.contractions
    span = found.high - found.low
    whole, rest = span // grain, span % grain
    per_row = (whole * (vectors + grain) + np.where(rest, vectors + rest, 0)) * found.times
    total = int(per_row.sum()) * sum(_packed(held).values()) * side * width
    live, tiles = int(span.sum()) * found.times, int(met.sum())
    for c in held.components:
        if c.operand is not None:
            extent = held.kernel.extents[c.inner]
            passes = ceil(extent / scalars)
            total += side * width * (live * (vectors * passes + extent) + tiles * vectors * extent)
    opened = int(found.open.sum()) * found.times
    for gated, positions in ((False, opened), (True, live - opened)):
        reads = _reads(phases, gated)
        total += 4 * sizes.block * positions * reads
    return float(total)


@lru_cache(64)
def _reads(phases: Phases, gated: bool) -> int:
    """How often phases read tiles, per element."""
    total = 0
    for number in range(phases.count):
        wanted = [k.body for k in phases.kept if k.phase == number]
        wanted += [phases.leaves[c.name] for c in phases.of_phase(number) if not c.operand]
        if not gated:
            wanted = [phases.roles.opened(b) for b in wanted]
        total += len({p for b in wanted for p in bodies.parts(b) if phases.is_tile(p)})
    return total


def _entries(phases: Phases, sizes: Sizes, found: Ranges, met: Ints, processor: Processor) -> int:
    """How often an innermost loop is entered."""
    held = phases.roles
    side = _groups(sizes, processor)
    span = found.high - found.low
    products = int((-(-span // sizes.grain)).sum()) * found.times * len(held.products)
    passes = sum(
        ceil(held.kernel.extents[c.inner] / sizes.contractions[1])
        for c in held.components
        if c.operand
    )
    return side * (products + int(met.sum()) * (passes + phases.count))


def _crossing(
    into: Tier, phases: Phases, sizes: Sizes, tiles: tuple[Tile, ...], found: Ranges, met: Ints
) -> float:
    """Bytes that cross into a tier from the one below it."""
    held = phases.roles
    far = {(t.result, t.shape): _ORDER.index(t.tier) > _ORDER.index(into) for t in tiles}
    live = int((found.high - found.low).sum()) * found.times
    total = _compulsory(held) - sum(_stored(held, n) for n in _position_bytes(held))
    for name, size in _position_bytes(held).items():
        of_block = far.get((name, ((held.stream, sizes.depth),)), False)
        whole = far[name, ((held.stream, held.kernel.extents[held.stream]),)]
        if of_block or (whole and sizes.super == sizes.block):
            total += size * live
        elif whole:
            total += size * int(_hulls(found).sum()) * found.times
        else:
            total += _stored(held, name)
    for name, count in (_packed(held) | _states(held)).items():
        if far[name, ((held.rows, sizes.super), ("values", count))]:
            each = 4 * sizes.block * count * (1 if name in _packed(held) else 2)
            total += each * int(met.sum())
    if any(far[f"tile {i}", t.shape] for i, t in enumerate(tiles[: phases.buffers])):
        passes = [ceil(n / sizes.contractions[1]) for n in _inner(held)]
        opened = int(found.open.sum()) * found.times
        each = len(held.products) + sum(passes)
        total += 4 * sizes.block * live * each
        total += 4 * sizes.block * opened * _work(phases, False)[1]
        total += 4 * sizes.block * (live - opened) * _work(phases, True)[1]
    return float(total)


def _inner(held: Roles) -> list[int]:
    return [held.kernel.extents[c.inner] for c in held.components if c.operand]


def _hulls(found: Ranges) -> Ints:
    """Positions between the first and the last that some block of a task meets."""
    tasks = int(found.task.max()) + 1
    some = found.high > found.low
    low, high = np.full(tasks, np.iinfo(np.int64).max), np.zeros(tasks, dtype=np.int64)
    np.minimum.at(low, found.task[some], found.low[some])
    np.maximum.at(high, found.task[some], found.high[some])
    return np.maximum(high - np.minimum(low, high), 0)


def _compulsory(held: Roles) -> int:
    """Bytes of all that a kernel reads and writes, each once."""
    tensors = {t.name: t for t in (*held.kernel.inputs, *held.kernel.outputs)}
    return sum(_bytes(t.shape, t.strides, t.dtype.bytes) for t in tensors.values())


def _stored(held: Roles, name: str) -> int:
    tensor = held.tensors[name]
    return _bytes(tensor.shape, tensor.strides, tensor.dtype.bytes)


def _bytes(shape: tuple[int, ...], strides: tuple[int, ...], each: float) -> int:
    """Of the distinct elements of a window."""
    return int(prod(n for n, s in zip(shape, strides, strict=True) if s) * each)
