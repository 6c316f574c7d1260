"""What a machine is: memory tiers, compute engines, links, an execution style, a price, a power.

Every number is a `Fact`: a value with the kind of evidence behind it and its source.  Fitted
numbers (efficiencies, overheads) are not facts and live in calibrations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from maquette.units import (
    Bytes,
    BytesPerSecond,
    DollarsPerHour,
    FlopPerSecond,
    Hertz,
    JoulesPerByte,
    JoulesPerFlop,
    Seconds,
    Watts,
)

T = TypeVar("T")

Evidence = Literal["datasheet", "measured", "derived", "recalled", "claim", "assumed", "what-if"]
Style = Literal["kernel", "spatial", "wafer", "in-memory", "deterministic"]
Topology = Literal["switch", "mesh", "ring", "torus2d", "torus3d", "dragonfly", "host", "none"]


@dataclass(frozen=True)
class Fact(Generic[T]):
    """A number, where it comes from, and how far to trust it."""

    value: T
    kind: Evidence
    source: str
    note: str = ""


@dataclass(frozen=True)
class Tier:
    """A level of memory.  `capacity` is the vendor's label, `bandwidth` the sum over the device."""

    capacity: Fact[Bytes] | None = None
    visible: Fact[Bytes] | None = None  # what software can address, where the label differs
    bandwidth: Fact[BytesPerSecond] | None = None
    holds: tuple[str, ...] = ()  # "weights", "kv", "activations", "cold": what the style keeps here
    copy: Fact[BytesPerSecond] | None = None  # into the main tier, where less than `bandwidth`
    note: str = ""


@dataclass(frozen=True)
class Link:
    """An interconnect, as one device sees it; `bandwidth` is per direction."""

    topology: Topology
    bandwidth: Fact[BytesPerSecond]
    domain: int  # how many devices it joins
    latency: Fact[Seconds] | None = None
    pair_bandwidth: Fact[BytesPerSecond] | None = None  # where a pair gets less (full meshes)
    note: str = ""


@dataclass(frozen=True)
class Compute:
    """Dense peak rates by number format, and the measured dense ceilings where they are known."""

    matrix: Mapping[str, Fact[FlopPerSecond]]
    vector: Fact[FlopPerSecond] | None = None
    ceiling: Mapping[str, Fact[FlopPerSecond]] = field(default_factory=dict)
    units: Fact[int] | None = None  # streaming multiprocessors, cores, tiles


@dataclass(frozen=True)
class Price:
    """What an accelerator costs to rent."""

    per_hour: Fact[DollarsPerHour]
    date: str = ""  # when the price was current, YYYY-MM; empty only for a what-if
    low: DollarsPerHour | None = None
    high: DollarsPerHour | None = None


@dataclass(frozen=True)
class Power:
    """Board power, and where measured the energy of a byte streamed and of a flop."""

    tdp: Fact[Watts]
    idle: Fact[Watts] | None = None
    per_byte: Fact[JoulesPerByte] | None = None
    per_flop: Fact[JoulesPerFlop] | None = None


@dataclass(frozen=True)
class Fabric:
    """The grid of a spatial dataflow chip: pattern compute units, memory units, and the network.

    A compute unit (PCU) has `lanes` × `stages` functional units, a memory unit (PMU) a banked
    scratchpad with one read and one write port; address generators (AG) are its streams to memory.
    Ports count vector and scalar streams a unit can take part in.
    """

    clock: Fact[Hertz]
    rows: Fact[int]  # cells of the grid, each a compute or a memory unit, in a checkerboard
    columns: Fact[int]
    compute: Fact[int]
    memory: Fact[int]
    generators: Fact[int]
    lanes: Fact[int]  # of a compute unit, and words of a vector link
    stages: Fact[int]
    macs: Fact[int]  # multiply-adds per cycle and compute unit on the matrix path
    scratchpad: Fact[Bytes]  # of a memory unit
    banks: Fact[int]
    port: Fact[Bytes]  # per cycle, memory unit and direction
    vector_inputs: Fact[int]
    vector_outputs: Fact[int]
    scalar_inputs: Fact[int]
    scalar_outputs: Fact[int]
    tracks: Fact[int]  # vector links between neighbours, per direction
    hop: Fact[int]  # cycles from switch to switch
    word: Fact[Bytes]  # of a lane
    network: Literal["static", "packet"] = "static"  # whether a link is one stream's alone


@dataclass(frozen=True)
class Assembly:
    """So many of these devices sold under one name: a server, a rack, a pod."""

    devices: int
    totals: Mapping[str, Fact[Bytes]] = field(default_factory=dict)  # by tier, as stated


@dataclass(frozen=True)
class Machine:
    """One accelerator (or CPU socket) and how it is joined to others of its kind."""

    name: str
    title: str
    vendor: str
    style: Style
    compute: Compute
    tiers: Mapping[str, Tier]  # nearest first
    main: str  # the tier that holds weights and KV by default
    links: Mapping[str, Link]  # "scale_up", "scale_out", "host"
    node: int  # devices in one node
    power: Power | None = None
    price: Price | None = None
    serial: Mapping[str, Fact[Seconds]] = field(default_factory=dict)  # launch, hop, reduction …
    fabric: Fabric | None = None  # of a spatial machine
    process: str = ""
    released: str = ""
    aliases: tuple[str, ...] = ()
    systems: Mapping[str, Assembly] = field(default_factory=dict)  # "gb200-nvl72", "dgx-h100"
    transfer_from: str = ""  # whose calibration to borrow when this machine has none
    note: str = ""


@dataclass(frozen=True)
class System:
    """So many devices of one machine: what ``h100x8`` names."""

    machine: Machine
    devices: int

    @property
    def name(self) -> str:
        return self.machine.name if self.devices == 1 else f"{self.machine.name}x{self.devices}"

    @property
    def nodes(self) -> int:
        return -(-self.devices // self.machine.node)
