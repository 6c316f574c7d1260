"""A section as a timed network of tile tokens, and what simulating it says.

Every stage is a node that fires once per tile, every buffer a channel of so many slots.  Tiers of
memory are shared by all that reads and writes them; what is loaded ahead takes their time and
nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from maquette.machines.types import Fabric, Machine
from maquette.space.engine import Channel, Network, Node, Result, Tier, simulate
from maquette.space.engine.native import Compiler
from maquette.space.mapping.section import once, rate
from maquette.space.mapping.types import Access, Buffer, Section, Share, Stream


@dataclass(frozen=True)
class Simulated:
    """A section run tile by tile."""

    section: Section
    result: Result

    @property
    def cycles(self) -> int:
        return self.result.cycles

    @property
    def error(self) -> float:
        """How far the analytic cycles are above or below those simulated."""
        return self.section.cycles / self.result.cycles - 1

    @property
    def utilisation(self) -> Mapping[str, float]:
        """Of every stage: the share of cycles in which it works on a tile."""
        return {s.stage.name: self.result.utilisation(s.stage.name) for s in self.section.shares}

    @property
    def stalls(self) -> Mapping[str, str]:
        """What every stage waited for most: a token, room, memory, nothing."""
        found = {}
        for share in self.section.shares:
            spent = self.result.nodes[share.stage.name]
            waits = {"starved": spent.starved, "blocked": spent.blocked, "memory": spent.memory}
            most = max(waits, key=lambda n: waits[n])
            found[share.stage.name] = most if waits[most] else "never"
        return found


def simulate_section(
    section: Section,
    machine: Machine,
    functions: Mapping[str, Callable[..., Any]] | None = None,
    records: int = 0,
    compiler: Compiler | None = None,
) -> Simulated:
    """Run a section's network; with `functions`, one by stage, values travel with the tokens.

    `compiler` builds the loop in C++: the same result sooner, where no values travel.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> from maquette.space.mapping import mapped, part
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> chip = machine("plasticine")
    >>> found = mapped(part(Graph("g", {"y": y.value}), {"n": 128}), chip)
    >>> run = simulate_section(found.sections[0], chip)
    >>> run.result.deadlock is None, abs(run.error) < 0.05
    (True, True)
    """
    assert machine.fabric is not None
    made = network(section, machine, machine.fabric, values=functions is not None)
    values = functions is not None
    found = simulate(made, None, functions, values=values, records=records, compiler=compiler)
    return Simulated(section, found)


def network(section: Section, machine: Machine, fabric: Fabric, values: bool = False) -> Network:
    """The network of a section.  With `values`, stages are maps of functions by their names."""
    drawing = _Drawing(section, values)
    for share in section.shares:
        drawing.stage(share)
    drawing.loads()
    tiers = tuple(Tier(n, rate(machine, fabric, n)) for n in section.traffic)
    return Network(section.name, tuple(drawing.nodes), tuple(drawing.channels), tiers)


@dataclass
class _Drawing:
    """Nodes and channels so far."""

    section: Section
    values: bool
    nodes: list[Node] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)

    def __post_init__(self) -> None:
        shares = self.section.shares
        self.inside = {s.stage.name for s in shares}
        several = self.section.tiles > 1
        self.once = {s.stage.name for s in shares if several and once(s.stage)}
        self.outs: dict[str, list[str]] = {n: [] for n in self.inside}
        self.depths = {(b.source, b.stage, b.name): b for b in self.section.buffers}
        self.loaded: dict[
            tuple[str, str, Access], list[str]
        ] = {}  # tier, operand, access → channels

    def line(self, name: str, depth: int = 1, held: bool = False) -> str:
        self.channels.append(Channel(name, depth, held=held))
        return name

    def stage(self, share: Share) -> None:
        """The node of a stage, after those of the channels that it reads."""
        name, tiles = share.stage.name, self.section.tiles
        times = 1 if name in self.once else tiles
        seen = dict[str, None]()  # one channel from each maker, for a node gives all it makes
        for read in share.stage.reads:
            buffer = self.depths[read.other, name, read.name]
            if read.other not in self.inside:
                if (line := self._from_memory(read, buffer, name, times)) is not None:
                    seen[line] = None
            elif f"{read.other}>{name}" not in seen:
                seen[self._between(read, buffer, name, times)] = None
        inputs = tuple(seen)
        time = (share.cycles, share.cycles)
        outputs = tuple(self._results(share))
        call = name if self.values else ""
        if inputs:
            self.nodes.append(Node(name, "map", inputs, outputs, *time, call=call))
        elif self.values:
            begun = self.line(f"{name}.begin")
            self.nodes.append(Node(f"{name}.begin", "source", (), (begun,), 0, 0, times))
            self.nodes.append(Node(name, "map", (begun,), outputs, *time, call=call))
        else:
            self.nodes.append(Node(name, "source", (), outputs, *time, times))

    def _results(self, share: Share) -> list[str]:
        """Channels to every reader, and to memory, and where there is none to a sink."""
        name = share.stage.name
        readers = {
            s.stage.name: any(r.access == "whole" for r in s.stage.reads if r.other == name)
            for s in self.section.shares
            if any(r.other == name for r in s.stage.reads)
        }
        found = []
        for reader, whole in readers.items():
            apart = whole or (name in self.once and reader not in self.once)
            found.append(f"{name}>{reader}.parts" if apart else f"{name}>{reader}")
        for w in share.stage.writes:
            if w.other:
                line = self.line(f"{name}>{w.other}.{w.name}", 2, held=True)
                found.append(line)
                end = f"{name}>{w.name}.store"
                size = round(w.tile)
                self.nodes.append(Node(end, "sink", (line,), tier=w.other, bytes=size))
        if not found:
            found.append(self.line(f"{name}.end"))
            self.nodes.append(Node(f"{name}.end", "sink", (found[-1],)))
        return found

    def _between(self, read: Stream, buffer: Buffer, name: str, times: int) -> str:
        line = f"{read.other}>{name}"
        tiles = self.section.tiles
        if read.access == "whole":
            self.line(f"{line}.parts", 2)
            gathered = out = self.line(line)
            if times > 1:
                gathered = self.line(f"{line}.all", 1)
                again = Node(f"{line}.again", "repeat", (gathered,), (out,), 0, 0, times)
                self.nodes.append(again)
            self.nodes.append(
                Node(f"{line}.gather", "pack", (f"{line}.parts",), (gathered,), 0, 0, tiles)
            )
        elif read.other in self.once and times > 1:
            self.line(f"{line}.parts", 1)
            out = self.line(line)
            self.nodes.append(
                Node(f"{line}.again", "repeat", (f"{line}.parts",), (out,), 0, 0, tiles)
            )
        elif read.access == "prefix":
            self.line(line, tiles)
        else:
            self.line(line, max(buffer.depth, 2 if tiles > 1 else 1), held=True)
        return line

    def _from_memory(self, read: Stream, buffer: Buffer, name: str, times: int) -> str | None:
        """The channel on which a tile, or what is held, arrives; None where it is there already."""
        loading = self.section.loading
        if read.access == "held" and loading == "ahead":
            self.loaded.setdefault((read.other, read.name, read.access), [])
            return None
        line = f"{read.other}.{read.name}>{name}"
        key = (read.other, read.name, read.access)
        if read.access == "held" and loading == "before" and times > 1:
            first = self.line(f"{line}.first")
            self.line(line)
            self.nodes.append(Node(f"{line}.again", "repeat", (first,), (line,), 0, 0, times))
            self.loaded.setdefault(key, []).append(first)
        else:
            self.line(line, buffer.depth, held=True)
            self.loaded.setdefault(key, []).append(line)
        return line

    def loads(self) -> None:
        """A node for every operand from memory, which all its readers hear."""
        reads = {
            (r.other, r.name, r.access): r
            for s in self.section.shares
            for r in s.stage.reads
            if r.other not in self.inside
        }
        tiles = self.section.tiles
        for key, lines in self.loaded.items():
            read = reads[key]
            times, size = tiles, read.tile
            if read.access == "held" and self.section.loading != "again":
                ahead = not lines
                times, size = (tiles, read.total / tiles) if ahead else (1, read.total)
            name = f"{read.other}.{read.name}.{read.access}"
            if not lines:
                lines = [self.line(f"{name}.ahead")]
                self.nodes.append(Node(f"{name}.kept", "sink", (lines[0],), (), 0, 0))
            out = tuple(lines)
            tier = read.other
            self.nodes.append(
                Node(f"{name}.load", "source", (), out, 0, 0, times, tier=tier, bytes=round(size))
            )
