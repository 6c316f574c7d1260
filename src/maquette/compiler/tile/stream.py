"""Tilings of streamed folds: rows across lanes, the stream in blocks, rows in super-blocks.

    parallel  outer axes, and super-blocks of rows: the tasks
      stream  blocks of the streamed axis
        serial  blocks of rows: tiles of products, phases over them, contractions

A super-block of one block keeps states in L1 while the stream passes (each task reads the stream);
one of all rows reads the stream once and keeps states further away.  All between are sizes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, prod

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.phases import Phases
from maquette.compiler.tile.roles import Roles, Unfit, roles
from maquette.compiler.tile.stream_counts import counts
from maquette.compiler.tile.stream_places import placed
from maquette.compiler.tile.stream_sizes import Sizes
from maquette.compiler.tiling import Candidate, Loop, Tile, Tiling

STRATEGY = "stream"
_DEPTHS = (36, 60, 120, 240)  # positions of the stream in a block, more or less


def accepts(kernel: Kernel) -> str:
    """Why `kernel` is not a streamed fold; empty if it is."""
    reasons = []
    for found in roles(kernel):
        if isinstance(found, Roles):
            return ""
        reasons.append(str(found))
    return "; ".join(dict.fromkeys(reasons)) or "nothing is folded"


def candidates(kernel: Kernel, processor: Processor) -> list[Candidate]:
    """Ways to run `kernel` as a streamed fold; none where it is not one."""
    found = []
    for held in roles(kernel):
        if isinstance(held, Unfit):
            continue
        phases = Phases(held)
        for sizes in _choices(held, processor):
            tiles = placed(phases, sizes, processor)
            tiling = tiled(held, sizes, tiles)
            found.append(Candidate(tiling, counts(phases, sizes, tiles, processor)))
    return found


def _choices(held: Roles, processor: Processor) -> Iterator[Sizes]:
    rows, length = (held.kernel.extents[n] for n in (held.rows, held.stream))
    outer = prod(held.kernel.extents[n] for n in held.outer)
    inner = [held.kernel.extents[c.inner] for c in held.components if c.operand]
    for vectors in range(1, min(6, ceil(rows / processor.lanes)) + 1):
        most = (processor.registers - 1 - vectors) // vectors
        if most < 2 and vectors > 1:
            break
        block = vectors * processor.lanes
        grain = min(most, 12) if held.products else 1
        grain -= grain % 2 if grain > 4 else 0
        scalars = min(most, 8, max(inner, default=1))
        whole = ceil(length / grain) * grain
        depths = [ceil(d / grain) * grain for d in _DEPTHS] if held.online else []
        for depth in dict.fromkeys([*(d for d in depths if d < whole), whole]):
            for super_ in _supers(rows, block, outer, processor.threads):
                yield Sizes(block, super_, depth, (vectors, grain), (vectors, scalars))


def _supers(rows: int, block: int, outer: int, threads: int) -> list[int]:
    """Rows of a task: one block, several, all, as long as there are tasks for all threads."""
    every = ceil(rows / block) * block
    several = dict.fromkeys(min(block * n, every) for n in (1, 4, 8, 16, every // block))
    return [n for n in several if n == block or outer * ceil(rows / n) >= 4 * threads]


def tiled(held: Roles, sizes: Sizes, tiles: tuple[Tile, ...] = ()) -> Tiling:
    """The tiling with these sizes."""
    loops = [Loop(n, 1, "parallel") for n in held.outer]
    loops.append(Loop(held.rows, sizes.super, "parallel"))
    loops.append(Loop(held.stream, sizes.depth, "stream"))
    loops.append(Loop(held.rows, sizes.block, "serial"))
    registers = {p.name: sizes.products for p in held.products}
    registers |= {c.name: sizes.contractions for c in held.components if c.operand}
    whole = sizes.depth >= held.kernel.extents[held.stream]
    notes = ("whole stream",) if whole else ("online",)
    return Tiling(STRATEGY, held.rows, tuple(loops), registers, tiles, notes)


def order(kernel: Kernel, tiling: Tiling) -> str:
    """Which loop is outside: rows, their states in L1; or the stream, their states spilled."""
    *_, task, _, rows = tiling.loops
    if task.step == rows.step:
        return "rows outside"
    return "stream outside" if task.step >= kernel.extents[rows.axis] else "stream outside of some"


def read(kernel: Kernel, tiling: Tiling) -> tuple[Roles, Sizes]:
    """What a tiling was made from."""
    for held in roles(kernel):
        if isinstance(held, Roles) and held.rows == tiling.lanes:
            *_, task, stream, rows = tiling.loops
            first = held.products[0].name if held.products else ""
            last = next((c.name for c in held.components if c.operand), first)
            products = tiling.registers.get(first, (tiling.registers.get(last, (1, 1))[0], 1))
            contractions = tiling.registers.get(last, products)
            return held, Sizes(rows.step, task.step, stream.step, products, contractions)
    raise ValueError(f"{kernel.name} is no streamed fold with rows {tiling.lanes!r}")
