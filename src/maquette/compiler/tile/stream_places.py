"""Where what a streamed fold touches again lies until then: tiles by the capacity of tiers."""

from __future__ import annotations

from math import prod

from maquette.compiler.processor import Processor
from maquette.compiler.tile.phases import Phases
from maquette.compiler.tile.roles import Roles
from maquette.compiler.tile.stream_sizes import Sizes
from maquette.compiler.tiling import Tier, Tile

# Of L2 and beyond, what a whole stream may take to be there still for the next task.
_SHARE = 0.4
# And of what states of rows beyond one block may take, while the stream passes through as well:
# measured, states of half of L2 are a tenth slower than of a quarter.
_STATES = 0.5


def placed(phases: Phases, sizes: Sizes, processor: Processor) -> tuple[Tile, ...]:
    """The places of tiles, of what lies between a product and the phases, of rows, of the stream.

    What is touched again stays in a tier unless more than the tier holds is touched in between.
    """
    held = phases.roles
    rows, stream = held.rows, held.stream
    length = held.kernel.extents[stream]
    shape = ((stream, sizes.depth), (rows, sizes.block))
    tile = 4 * sizes.depth * sizes.block * max(1, phases.buffers)
    moving = position_bytes(held)
    packed = 4 * sum(packed_values(held).values())  # of a row
    kept = packed + 4 * sum(state_values(held).values())
    made = sum(moving[held.names[p.stream.number]] for p in held.products)
    near = tile + sum(moving.values()) * sizes.depth + kept * sizes.block
    several = sizes.super > sizes.block
    again = near + kept * (sizes.super - sizes.block)
    states = tier(again if several else near, processor)
    if several and states != "l1":
        states = tier(int(again / _STATES), processor)
    found = [Tile(f"tile {i}", shape, tier(tile, processor)) for i in range(phases.buffers)]
    between = tier(tile + packed * sizes.block + made * sizes.depth, processor)
    found += [Tile(p.name, shape, between) for p in held.products]
    for name, count in (packed_values(held) | state_values(held)).items():
        of_rows = ((rows, sizes.super), ("values", count))
        found.append(Tile(name, of_rows, states))
    whole = tier(int(sum(moving.values()) * length / _SHARE), processor)
    for name in moving:
        if several:
            found.append(Tile(name, ((stream, sizes.depth),), tier(near, processor)))
        found.append(Tile(name, ((stream, length),), whole))
    return tuple(found)


def tier(size: int, processor: Processor) -> Tier:
    """The nearest that holds so many bytes."""
    capacities: tuple[tuple[Tier, int], ...] = (
        ("l1", processor.l1),
        ("l2", processor.l2),
        ("l3", processor.l3),
    )
    return next((name for name, held in capacities if size <= held), "memory")


def position_bytes(held: Roles) -> dict[str, int]:
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


def packed_values(held: Roles) -> dict[str, int]:
    """Values of a row that products read, lanes last."""
    return {
        f"rows of {p.name}": prod(held.kernel.extents[a] for a in p.over) for p in held.products
    }


def state_values(held: Roles) -> dict[str, int]:
    """Values of a row that are folded."""
    return {c.name: held.kernel.extents[c.inner] if c.inner else 1 for c in held.components}
