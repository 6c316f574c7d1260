"""Sections in time: where a program is cut that does not fit the chip at once, or runs better cut.

Kernels stay in order; a section is a run of them.  The best cuts are the shortest path through the
points between kernels, an edge for every section that fits (interval dynamic programming).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod

from maquette.errors import Fault, InputError
from maquette.machines.types import Fabric, Machine
from maquette.plans.types import Infeasible
from maquette.space.mapping.part import Part
from maquette.space.mapping.section import section
from maquette.space.mapping.skipping import skipped
from maquette.space.mapping.stages import stages
from maquette.space.mapping.types import Mapped, Section, Stage, Stream

ROLES = ("weight", "state", "activation", "index")


@dataclass(frozen=True)
class Options:
    """How a part is mapped.  None: as the machine's facts say, else nothing."""

    tiers: Mapping[str, str] = field(default_factory=dict)  # by role; others: the main tier
    launch: float | None = None  # seconds to start a section: "launch" of the machine
    configure: float | None = None  # seconds to load one that is not on the chip: "configure"
    repeats: int = 1  # runs in a row, as of identical layers: one section stays on the chip
    tiles: tuple[int, ...] = ()  # numbers of tiles to try; (): divisors of the streaming axes
    cuts: tuple[str, ...] | None = None  # kernels that begin a section; None: the best


def mapped(part: Part, machine: Machine, options: Options | None = None) -> Mapped | Infeasible:
    """The sections of a part in which it runs soonest on one socket of a machine.

    Where a kernel fits the chip not even alone: what it is short of, by how much at least.

    Raises InputError for a machine without a fabric and for tiers and tiles that it has not.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> from maquette.space.mapping import part
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> found = mapped(part(Graph("g", {"y": y.value}), {"n": 128}), machine("plasticine"))
    >>> [s.kernels for s in found.sections], found.sections[0].binding
    ([('k0',)], 'dram bandwidth')
    """
    asked = options or Options()
    if machine.fabric is None:
        raise InputError(Fault(machine.name, "has no fabric", "a spatial machine"))
    best: _Path | Infeasible | None = None
    for tiles in asked.tiles or _tiles(part):
        found = _Cuts(part, tiles, machine, machine.fabric, asked).best()
        if isinstance(found, Infeasible):
            if best is None or (isinstance(best, Infeasible) and found.short_by < best.short_by):
                best = found
        elif found is not None and (not isinstance(best, _Path) or found.seconds < best.seconds):
            best = found
    if best is None:
        raise InputError(Fault(part.flow.name, "no number of tiles divides every kernel"))
    if isinstance(best, Infeasible):
        return best
    return _finished(best, part, machine, machine.fabric, asked)


@dataclass(frozen=True)
class _Path:
    seconds: float
    sections: tuple[Section, ...]
    stages: tuple[tuple[Stage, ...], ...]  # of each


@dataclass(frozen=True)
class _Cuts:
    """The search for cuts at one number of tiles."""

    part: Part
    tiles: int
    machine: Machine
    fabric: Fabric
    options: Options

    @cached_property
    def stages(self) -> tuple[Stage, ...] | None:
        tiers = {r: self.options.tiers.get(r, self.machine.main) for r in ROLES}
        return stages(self.part, self.tiles, self.fabric, tiers)

    @cached_property
    def starts(self) -> list[bool]:
        cuts = self.options.cuts
        names = [k.name for k in self.part.kernels]
        for wrong in set(cuts or ()) - set(names):
            raise InputError(Fault(wrong, "no kernel to cut before", ", ".join(names)))
        return [cuts is None or i == 0 or n in cuts for i, n in enumerate(names)]

    def best(self) -> _Path | Infeasible | None:
        if self.stages is None:
            return None
        count = len(self.part.kernels)
        paths: list[_Path | None] = [_Path(0.0, (), ())]
        for end in range(1, count + 1):
            found, short = None, None
            for start in self._begins(end):
                tried, run = self._section(start, end)
                if isinstance(tried, Infeasible):
                    if short is None or tried.short_by < short.short_by:
                        short = tried
                    continue
                before = paths[start]
                if before is None:
                    continue
                alone = start == 0 and end == count
                total = before.seconds + seconds(tried, self.machine, self.options, alone)
                if found is None or total < found.seconds:
                    found = _Path(total, (*before.sections, tried), (*before.stages, run))
            paths.append(found)
            if found is None and short is not None and self.options.cuts is None:
                return short
        return paths[-1] or short

    def _begins(self, end: int) -> Iterator[int]:
        """Where a section that ends at `end` may begin, the shortest first."""
        if end < len(self.starts) and not self.starts[end]:
            return
        for start in range(end - 1, -1, -1):
            if self.starts[start]:
                yield start
            if self.options.cuts is not None and self.starts[start]:
                return

    def _section(self, start: int, end: int) -> tuple[Section | Infeasible, tuple[Stage, ...]]:
        names = {k.name for k in self.part.kernels[start:end]}
        assert self.stages is not None
        own = [s for s in self.stages if s.kernel in names]
        run = tuple(skipped(list(_stored(own, self.stages, self._border))))
        name = f"{self.part.flow.name}.{start}"
        return section(name, run, self.tiles, self.machine, self.fabric), run

    @property
    def _border(self) -> str:
        return self.options.tiers.get("activation", self.machine.main)


def seconds(found: Section, machine: Machine, options: Options, alone: bool = False) -> float:
    """Of one run of a section: launched, and configured unless it is `alone` on the chip."""
    assert machine.fabric is not None
    configure = cost(machine, "configure", options.configure)
    if alone:
        configure /= options.repeats
    launch = cost(machine, "launch", options.launch)
    return found.cycles / machine.fabric.clock.value + launch + configure


def cost(machine: Machine, name: str, asked: float | None) -> float:
    """Seconds that something takes once: as asked, or a fact of the machine, or none known."""
    if asked is not None:
        return asked
    return machine.serial[name].value if name in machine.serial else 0.0


def _finished(
    path: _Path, part: Part, machine: Machine, fabric: Fabric, options: Options
) -> Mapped:
    """The sections that were chosen, with buffers as shallow as they may be."""
    alone = len(path.sections) == 1
    made = []
    for rough, run in zip(path.sections, path.stages, strict=True):
        exact = section(rough.name, run, rough.tiles, machine, fabric, exact=True)
        made.append(exact if isinstance(exact, Section) and exact.cycles <= rough.cycles else rough)
    total = sum(seconds(s, machine, options, alone) for s in made)
    summed, unpriced = _sums(part, machine)
    tiles = max((s.tiles for s in made), default=1)
    both = max(total, summed) + min(total, summed) / tiles  # tile by tile, at once
    return Mapped(
        part.flow.name,
        machine.name,
        tuple(made),
        both,
        0 if alone else len(made),
        (*unpriced, *_unknown(machine, options, len(made), alone)),
        summed,
    )


def _unknown(machine: Machine, options: Options, count: int, alone: bool) -> Iterator[str]:
    """What sections take beside their cycles that no fact tells."""
    several = "s" if count > 1 else ""
    if options.launch is None and "launch" not in machine.serial:
        yield f"launching {count} section{several}"
    if not alone and options.configure is None and "configure" not in machine.serial:
        yield f"loading {count} configurations"


def _sums(part: Part, machine: Machine) -> tuple[float, tuple[str, ...]]:
    """Seconds of the sums over sockets, each a ring there and back, where links have a rate."""
    if not part.sums:
        return 0.0, ()
    link = machine.links.get("scale_up")
    if link is None:
        size = sum(part.sums)
        return 0.0, (f"{len(part.sums)} sums over {part.sockets} sockets of {size:.4g} bytes",)
    steps = 2 * (part.sockets - 1)
    wait = link.latency.value if link.latency is not None else 0.0
    return sum(steps * (b / part.sockets / link.bandwidth.value + wait) for b in part.sums), ()


def _tiles(part: Part) -> list[int]:
    """Divisors of the points along the streaming axes, each twice the one before, at most 512."""
    points = prod(part.sizes.values())
    found: list[int] = []
    for n in range(1, min(points, 512) + 1):
        if points % n == 0 and (not found or n >= 2 * found[-1] or n == points):
            found.append(n)
    return found


def _stored(run: Sequence[Stage], every: Sequence[Stage], border: str) -> Iterator[Stage]:
    """Stages of one section: what later ones read of them is written to memory, they read it."""
    inside = {s.name for s in run}
    made = {s.name for s in every}
    asked = {(r.other, r.name) for s in every if s.name not in inside for r in s.reads}
    for s in run:
        reads = tuple(
            replace(
                r,
                other=border,
                access="held" if r.access in ("whole", "prefix", "held") else "tile",
            )
            if r.other in made - inside
            else r
            for r in s.reads
        )
        writes = tuple(
            replace(w, other=border) if (s.name, w.name) in asked and not w.other else w
            for w in s.writes
        )
        yield replace(s, reads=tuple(_once(reads)), writes=writes)


def _once(reads: Sequence[Stream]) -> Iterator[Stream]:
    """Parts of one buffer that come from one place are one stream."""
    same: dict[tuple[str, str], list[Stream]] = {}
    for r in reads:
        same.setdefault((r.other, r.name), []).append(r)
    for held in same.values():
        yield replace(
            held[0],
            access=next((r.access for r in held if r.access != "tile"), "tile"),
            tile=sum(r.tile for r in held),
            total=sum(r.total for r in held),
            port=sum(r.port for r in held),
        )
