"""Sections mapped to a fabric: stages of a metapipeline, the units they have, what they move.

A section is what the chip holds at once.  Its tensors pass in `tiles` tiles along the streaming
axes; every stage works on one tile at a time, all stages at once, joined by buffers of memory
units.  Cycles are of the fabric's clock, bytes are of one socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from maquette.space.mapping.partition import Needs

Path = Literal["matrix", "vector", "copy"]
# tile: a piece for every tile.  held: the same for all tiles.  whole: all tiles must be there
# before the first is read.  prefix: tile i reads tiles up to i.
Access = Literal["tile", "held", "whole", "prefix"]
# What is held for all tiles: loaded while the section before still runs, loaded before the first
# tile, or loaded again for every tile.
Loading = Literal["ahead", "before", "again"]


@dataclass(frozen=True)
class Stream:
    """One operand or result of a stage."""

    name: str  # of a buffer of the flow, or of a result that stays in its kernel
    other: str  # who makes it: a stage or a tier; of a result, the tier that it is written to
    access: Access
    tile: float  # bytes that one tile touches
    total: float  # bytes, each once, over all tiles
    port: float  # bytes through ports of memory units per tile: `tile` times its reuse there
    across: bool = False  # read along another axis than it was written: a transpose
    block: float = 0.0  # bytes that wait at a time where a fold takes it as it is made; else a tile


@dataclass(frozen=True)
class Stage:
    """Work of one pattern on one tile."""

    name: str  # of its last result
    kernel: str
    path: Path
    work: float  # unit-cycles per tile: cycles on one compute unit
    widest: int  # compute units that it can be spread over
    flops: float  # per tile
    chain: int  # physical units that its body is cut into, one after the other
    reads: tuple[Stream, ...]
    writes: tuple[Stream, ...]
    depth: int  # cycles from the first word in to the first word out
    needs: Needs | None = None  # of a unit, where one holds the body and others may join it
    live: float = 1.0  # the share of its blocks that a mask leaves, where tiles need no order

    @cached_property
    def port(self) -> float:
        """Bytes per tile through the ports that read its memory units."""
        return sum(s.port for s in self.reads)


@dataclass(frozen=True)
class Share:
    """A stage with the units that it has."""

    stage: Stage
    compute: int
    memory: int
    cycles: int  # per tile, from its first word in to its last one out


@dataclass(frozen=True)
class Buffer:
    """What of one operand lies in the memory units of the stage that reads it."""

    name: str
    source: str  # a stage or a tier
    stage: str
    bytes: float  # of one copy
    depth: int  # copies: 2 between neighbours, one more for every stage they are further apart
    across: bool = False  # rows in, columns out: banks in a diagonal stripe


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
    loading: Loading
    generators: int
    interval: float  # cycles from tile to tile
    cycles: float  # of the whole section, launch and configuration apart
    binding: str  # what keeps it from being shorter
    together: tuple[tuple[str, ...], ...] = ()  # stages whose bodies share one compute unit

    @property
    def compute(self) -> int:
        """Compute units configured."""
        return sum(s.compute for s in self.shares) - sum(len(g) - 1 for g in self.together)

    @property
    def memory(self) -> int:
        return sum(s.memory for s in self.shares)

    @property
    def busy(self) -> float:
        """The share of its compute units' cycles that do work, once the pipeline is full."""
        work = sum(s.stage.work for s in self.shares)
        return work / (self.interval * sum(s.compute for s in self.shares))


@dataclass(frozen=True)
class Mapped:
    """Sections in the order in which they run."""

    name: str
    machine: str
    sections: tuple[Section, ...]
    seconds: float  # of one run, launched and configured
    configurations: int  # loaded in every run: none where one section stays on the chip
    unpriced: tuple[str, ...] = ()  # what is known to take time that no fact tells
    sums: float = 0.0  # seconds of the sums over sockets, beside or between its tiles
