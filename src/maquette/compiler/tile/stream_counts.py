"""What a tiled streamed fold does: multiply-adds, other operations, bytes into every tier.

Given where tiles lie, all counts are sums over blocks of rows of closed forms of live ranges.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, prod

import numpy as np

from maquette.compiler.operations import operations
from maquette.compiler.processor import Processor
from maquette.compiler.tile import bodies
from maquette.compiler.tile.phases import Phases, falling
from maquette.compiler.tile.roles import Roles
from maquette.compiler.tile.stream_places import packed_values, position_bytes, state_values
from maquette.compiler.tile.stream_sizes import Ints, Ranges, Sizes, hulls, ranges, tiles_of
from maquette.compiler.tiling import Counts, Tier, Tile
from maquette.ir.scalar import Apply, Arg, Scalar

_ORDER: tuple[Tier, ...] = ("registers", "l1", "l2", "l3", "memory")
_WEIGHT = 10.0  # vector operations of an exponential of what is at most 0


def counts(phases: Phases, sizes: Sizes, tiles: tuple[Tile, ...], processor: Processor) -> Counts:
    """What one run does, all threads together."""
    held = phases.roles
    found = ranges(held, sizes)
    met = tiles_of(found, sizes) * found.times
    live = int((found.high - found.low).sum()) * found.times  # block-of-rows × position
    summed = sum(packed_values(held).values())
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
    """Bodies of all phases, gates open or not, and how often tiles are read or written."""
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
    total = float(sum(packed_values(held).values()) + sum(state_values(held).values()))
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
    total = int(per_row.sum()) * sum(packed_values(held).values()) * side * width
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
    total = _compulsory(held) - sum(_stored(held, n) for n in position_bytes(held))
    for name, size in position_bytes(held).items():
        of_block = far.get((name, ((held.stream, sizes.depth),)), False)
        whole = far[name, ((held.stream, held.kernel.extents[held.stream]),)]
        if of_block or (whole and sizes.super == sizes.block):
            total += size * live
        elif whole:
            total += size * int(hulls(found).sum()) * found.times
        else:
            total += _stored(held, name)
    for name, count in (packed_values(held) | state_values(held)).items():
        if far[name, ((held.rows, sizes.super), ("values", count))]:
            each = 4 * sizes.block * count * (1 if name in packed_values(held) else 2)
            total += each * int(met.sum())
    shape = ((held.stream, sizes.depth), (held.rows, sizes.block))
    if phases.buffers and far["tile 0", shape]:
        passes = [ceil(n / sizes.contractions[1]) for n in _inner(held)]
        opened = int(found.open.sum()) * found.times
        each = len(held.products) + sum(passes)
        total += 4 * sizes.block * live * each
        total += 4 * sizes.block * opened * _work(phases, False)[1]
        total += 4 * sizes.block * (live - opened) * _work(phases, True)[1]
    elif any(far[p.name, shape] for p in held.products):  # written back, and read by phase 0
        total += 2 * 4 * sizes.block * live * len(held.products)
    return float(total)


def _inner(held: Roles) -> list[int]:
    return [held.kernel.extents[c.inner] for c in held.components if c.operand]


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
