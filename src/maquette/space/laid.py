"""A program laid out on a fabric: mapped, simulated, placed and routed, section by section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from maquette.machines.types import Machine
from maquette.plans.types import Infeasible
from maquette.space.engine.native import Compiler
from maquette.space.mapping import Mapped, Options, Part, Section, mapped, netlist
from maquette.space.mapping.network import Simulated, simulate_section
from maquette.space.placement import Placed, Routed, place, route

Progress = Callable[[str, int, int], None]
RECORDS = 20_000  # firings kept of each section, for a timeline
SHARES = (1.0, 0.75, 0.5, 0.25)  # of the units, tried until the nets have routes


@dataclass(frozen=True)
class LaidSection:
    """One section on the chip: the clock's word on it, its cells and its links."""

    section: Section
    simulated: Simulated
    placed: Placed
    routed: Routed

    @property
    def cycles(self) -> float:
        """Simulated cycles; links that are overfull stretch them, and hops fill the pipeline."""
        return self.simulated.cycles * self.routed.slowdown + self.routed.delay

    @property
    def binding(self) -> str:
        """What keeps it from being shorter."""
        return "network" if self.routed.slowdown > 1 else self.section.binding


@dataclass(frozen=True)
class Laid:
    """Sections in the order in which they run, of one part of a program, on each of its sockets."""

    part: Part
    mapped: Mapped
    machine: Machine
    sections: tuple[LaidSection, ...]

    @property
    def seconds(self) -> float:
        """One run: mapping's word on launches and configurations, the clock's on the rest."""
        assert self.machine.fabric is not None
        analytic = sum(s.section.cycles for s in self.sections)
        cycles = sum(s.cycles for s in self.sections)
        return self.mapped.seconds + (cycles - analytic) / self.machine.fabric.clock.value


@dataclass(frozen=True)
class LaidProgram:
    """Parts of a program, how often each runs in a step, and the time of those steps."""

    program: str
    parts: Mapping[str, Laid]
    times: Mapping[str, int]

    @property
    def seconds(self) -> float:
        return sum(self.times[name] * laid.seconds for name, laid in self.parts.items())


def lay(
    part: Part,
    machine: Machine,
    options: Options | None = None,
    *,
    seed: int = 0,
    progress: Progress = lambda *_: None,
    compiler: Compiler | None = None,
) -> Laid | Infeasible:
    """Map `part` and lay out every section of it; Infeasible where it has no room or no route.

    What cannot be routed is mapped again to fewer units, which leaves links to those that remain.
    `compiler` builds the simulation's loop in C++, as `run.build` does.  Raises InputError for a
    machine without a fabric.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> from maquette.space.mapping import part
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> small = part(Graph("product", {"y": y.value}), {"n": 128})
    >>> found = lay(small, machine("plasticine"))
    >>> len(found.sections), found.sections[0].routed.slowdown
    (1, 1.0)
    """
    for share in SHARES:
        found = _laid(part, _smaller(machine, share), machine, options, seed, progress, compiler)
        if not isinstance(found, _Unroutable):
            break
    return found


class _Unroutable(Infeasible):
    """What fewer units may mend."""


def _smaller(machine: Machine, share: float) -> Machine:
    """The machine as mapping is to see it where routing needs room: with a share of its units."""
    fabric = machine.fabric
    if fabric is None or share == 1:
        return machine
    compute, memory = (
        replace(f, value=max(1, int(f.value * share))) for f in (fabric.compute, fabric.memory)
    )
    return replace(machine, fabric=replace(fabric, compute=compute, memory=memory))


def _laid(
    part: Part,
    seen: Machine,
    machine: Machine,
    options: Options | None,
    seed: int,
    progress: Progress,
    compiler: Compiler | None,
) -> Laid | Infeasible:
    """Mapped to the units that are `seen`, laid out on all of them."""
    progress("mapping", 0, 0)
    found = mapped(part, seen, options)
    if isinstance(found, Infeasible):
        return found
    laid = []
    for at, section in enumerate(found.sections):
        progress(section.name, at, len(found.sections))
        one = _section(section, machine, seed, compiler)
        if isinstance(one, Infeasible):
            return one
        laid.append(one)
    return Laid(part, found, machine, tuple(laid))


def _section(
    section: Section, machine: Machine, seed: int, compiler: Compiler | None
) -> LaidSection | Infeasible:
    assert machine.fabric is not None
    placed = place(netlist(section, machine.fabric), machine.fabric, seed=seed)
    if isinstance(placed, Infeasible):
        return placed
    routed = route(placed, machine.fabric)
    if isinstance(routed, Infeasible):
        return _Unroutable(routed.reason, routed.short_by, routed.unit)
    simulated = simulate_section(section, machine, None, RECORDS, compiler)
    return LaidSection(section, simulated, placed, routed)
