"""Tilings of streamed folds: rows across lanes, the stream in blocks, rows in super-blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile.roles import Roles, Unfit, roles
from maquette.compiler.tiling import Candidate, Counts, Loop, Tile, Tiling

STRATEGY = "stream"


def roles_of(kernel: Kernel, tiling: Tiling) -> Roles:
    """The roles of axes and stages under which `tiling` was made."""
    for found in roles(kernel):
        if isinstance(found, Roles) and found.rows == tiling.lanes:
            return found
    raise ValueError(f"{kernel.name} has no rows {tiling.lanes!r}")


def accepts(kernel: Kernel) -> str:
    """Why `kernel` is not a streamed fold; empty if it is."""
    reasons = []
    for found in roles(kernel):
        if isinstance(found, Roles):
            return ""
        reasons.append(str(found))
    return "; ".join(dict.fromkeys(reasons)) or "nothing is folded"


def tiled(
    found: Roles, processor: Processor, vectors: int, scalars: tuple[int, int], block: int,
    depth: int, super_: int,
) -> Tiling:  # fmt: skip
    """The tiling with these sizes."""
    loops = [Loop(n, 1, "parallel") for n in found.outer]
    loops.append(Loop(found.rows, super_, "parallel"))
    loops.append(Loop(found.stream, depth, "stream"))
    if super_ > block:
        loops.append(Loop(found.rows, block, "serial"))
    registers = {p.name: (vectors, scalars[0]) for p in found.products}
    registers |= {c.name: (vectors, scalars[1]) for c in found.components if c.operand}
    return Tiling(STRATEGY, found.rows, tuple(loops), registers)
