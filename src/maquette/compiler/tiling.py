"""Tilings: how a kernel is cut into tiles for one processor.

A tiling is everything that is chosen and nothing that follows: loops from the outermost in, the
axis that lies across vector lanes, register tiles, and where the tiles between stages live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Tier = Literal["registers", "l1", "l2", "l3", "memory"]
LoopKind = Literal["parallel", "serial", "stream"]


@dataclass(frozen=True)
class Loop:
    """Over one axis in steps.  An axis may have several, each step dividing the one outside it.

    parallel: iterations are independent.  serial: independent, run in order.  stream: iterations
    update accumulators (a fold or a scan along the axis).
    """

    axis: str
    step: int
    kind: LoopKind


@dataclass(frozen=True)
class Tile:
    """A buffer between stages: the piece of a result that is alive inside the loops."""

    result: str
    shape: tuple[tuple[str, int], ...]
    tier: Tier
    depth: int = 1  # 2 where a producer fills one while a consumer empties the other


@dataclass(frozen=True)
class Tiling:
    """One way to run a kernel; `strategy` names the emitter in run/ that understands it."""

    strategy: str
    lanes: str  # the axis across vector lanes; "" for scalar code
    loops: tuple[Loop, ...]
    registers: Mapping[str, tuple[int, int]] = field(
        default_factory=dict
    )  # stage → (vectors, rows)
    tiles: tuple[Tile, ...] = ()
    notes: tuple[str, ...] = ()  # such as "two passes", "online"


@dataclass(frozen=True)
class Counts:
    """What one run of a tiled kernel does; the price is made of these."""

    fma: float  # flops in register-blocked contractions
    vector: float  # other flops, transcendentals weighed by what they cost in vector operations
    traffic: Mapping[Tier, float]  # bytes that cross into each tier from the one below it
    launches: int = 1
    iterations: float = 0  # of the innermost loops, for what each costs beyond its flops


@dataclass(frozen=True)
class Candidate:
    """One way to run a kernel, and what it does.

    A strategy is a module of `compiler.tile` with ``candidates(kernel, processor)``, a list of
    these, empty where the kernel is not of its kind; and one of `run.cpp` with
    ``emit(kernel, tiling, processor)``, the Source.
    """

    tiling: Tiling
    counts: Counts
