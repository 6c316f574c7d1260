"""An engine: how real serving software cuts a layer into kernels and what it defaults to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maquette.machines.types import Style
from maquette.plans.types import Policy
from maquette.units import Bytes


@dataclass(frozen=True)
class Engine:
    """A serving engine at a version.

    `fuse` maps a section of the Program to the kernel that swallows it; `launches` gives kernels
    that take more than one launch.  `unquantised` names sections whose weights stay in full
    precision when the rest is quantised.  `frees_windows`: in models of which only some layers see
    a window, those layers keep no more of a sequence than that (a hybrid KV cache manager).
    """

    name: str
    title: str
    version: str
    source: str
    policy: Policy
    formats: tuple[str, ...]  # weight formats it can serve
    fuse: Mapping[str, str] = field(default_factory=dict)
    launches: Mapping[str, int] = field(default_factory=dict)
    unquantised: tuple[str, ...] = ("embed", "router", "lm_head")
    reserve: Bytes = field(default=Bytes(1.0e9))  # per device: context, graphs, workspace
    frees_windows: bool = False
    styles: tuple[Style, ...] = ("kernel",)  # execution styles of the machines it runs on
    # Styles on which a replica takes all devices by default, and not the fewest that hold it.
    spread: tuple[Style, ...] = ()
    aliases: tuple[str, ...] = ()
    note: str = ""
