"""Sections mapped to a fabric: stages of a metapipeline, the units they have, what they move.

A section is what the chip holds at once.  Its tensors pass in `tiles` tiles along the streaming
axes; every stage works on one tile at a time, all stages at once, joined by buffers of memory
units.  Cycles are of the fabric's clock, bytes are of one socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Path = Literal["matrix", "vector", "copy"]
# tile: a piece for every tile.  held: the same for all tiles.  whole: all tiles must be there
# before the first is read.
Access = Literal["tile", "held", "whole"]


@dataclass(frozen=True)
class Stream:
    """One operand or result of a stage."""

    name: str
    other: str  # the stage at the other end; a tier of memory where it crosses the border
    access: Access
    tile: float  # bytes that one tile touches
    total: float  # bytes, each once, over all tiles
    port: float  # bytes through ports of memory units per tile: `tile` times its reuse there


@dataclass(frozen=True)
class Stage:
    """Work of one pattern on one tile."""

    name: str  # of its last result
    kernel: str
    path: Path
    work: float  # unit-cycles per tile: cycles on one compute unit
    widest: int  # compute units that it can be spread over
    flops: float  # per tile
    reads: tuple[Stream, ...]
    writes: tuple[Stream, ...]
    depth: int  # cycles from the first word in to the first word out

    @property
    def port(self) -> float:
        """Bytes per tile through the busier side of its memory units."""
        return max(sum(s.port for s in self.reads), sum(s.port for s in self.writes))


@dataclass(frozen=True)
class Share:
    """A stage with the units that it has."""

    stage: Stage
    compute: int
    memory: int
    cycles: float  # per tile


@dataclass(frozen=True)
class Buffer:
    """Tiles that wait in memory units between two stages, or what is held for all tiles."""

    name: str
    source: str  # a stage or a tier
    sinks: tuple[str, ...]
    bytes: float  # of one copy
    depth: int  # copies: 2 between neighbours, one more for every stage they are further apart


@dataclass(frozen=True)
class Traffic:
    """Bytes between the chip and one tier, over the whole section."""

    read: float = 0.0
    written: float = 0.0

    @property
    def total(self) -> float:
        return self.read + self.written


@dataclass(frozen=True)
class Section:
    """Kernels that are on the chip at once."""

    name: str
    kernels: tuple[str, ...]
    tiles: int
    shares: tuple[Share, ...]
    buffers: tuple[Buffer, ...]
    traffic: Mapping[str, Traffic]  # by tier
    generators: int
    interval: float  # cycles from tile to tile
    cycles: float  # of the whole section, launch and configuration apart
    binding: str  # what keeps the interval from being shorter

    @property
    def compute(self) -> int:
        return sum(s.compute for s in self.shares)

    @property
    def memory(self) -> int:
        return sum(s.memory for s in self.shares)


@dataclass(frozen=True)
class Mapped:
    """Sections in the order in which they run."""

    name: str
    machine: str
    sections: tuple[Section, ...]
    seconds: float
