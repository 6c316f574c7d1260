"""Netlists: the units that one section of a program occupies, and the streams that join them.

This is what mapping hands to placement.  A unit is one physical cell of the fabric; a net carries
one stream from a unit to one or more others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UnitKind = Literal["compute", "memory", "generator"]
NetKind = Literal["vector", "scalar"]


@dataclass(frozen=True)
class Unit:
    """One cell: a pattern compute unit, a memory unit, or an address generator at the border."""

    name: str
    kind: UnitKind
    stage: str = ""  # of the metapipeline it belongs to


@dataclass(frozen=True)
class Net:
    """A stream.  `activity` is the share of cycles that it carries a word, 0 to 1 per track."""

    source: str
    sinks: tuple[str, ...]
    kind: NetKind = "vector"
    activity: float = 1.0


@dataclass(frozen=True)
class Netlist:
    """Units and nets of one section, both in a fixed order; names of units are unique."""

    name: str
    units: tuple[Unit, ...]
    nets: tuple[Net, ...]
