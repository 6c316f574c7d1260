"""Sections in time: where a program is cut that does not fit the chip at once, or runs better cut.

Kernels stay in order; a section is a run of them.  The best cuts are the shortest path through the
points between kernels, an edge for every section that fits (interval dynamic programming).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from maquette.errors import Fault, InputError
from maquette.machines.types import Fabric, Machine
from maquette.plans.types import Infeasible
from maquette.space.mapping.part import Part
from maquette.space.mapping.section import section
from maquette.space.mapping.stages import stages
from maquette.space.mapping.types import Mapped, Section, Stage


@dataclass(frozen=True)
class Options:
    """How a part is mapped.  Tiers not named are the machine's main one."""

    tiers: dict[str, str] = field(default_factory=dict)  # by role of input; "activation": borders
    launch: float = 0.0  # seconds to start a section
    configure: float = 0.0  # seconds to load one that the chip does not hold
    tiles: tuple[int, ...] = ()  # numbers of tiles to try; (): divisors of the streaming axes


def mapped(part: Part, machine: Machine, options: Options | None = None) -> Mapped | Infeasible:
    """The sections of a part in which it runs soonest on one socket of a machine.

    Raises InputError for a machine without a fabric.
    """
    options = options or Options()
    fabric = machine.fabric
    if fabric is None:
        raise InputError(Fault(machine.name, "has no fabric", "a spatial machine"))
    best: Mapped | Infeasible | None = None
    for tiles in options.tiles or _tiles(part):
        found = _cut(part, tiles, machine, fabric, options)
        if found is None:
            continue
        if not isinstance(best, Mapped) or (
            isinstance(found, Mapped) and found.seconds < best.seconds
        ):
            best = found
    if best is None:
        raise InputError(Fault(part.flow.name, "no number of tiles divides every kernel"))
    return best


def _tiles(part: Part) -> list[int]:
    """Divisors of the points along the streaming axes, in steps of two or more, at most 512."""
    known = set(part.stream)
    axes = {
        a: n for t in part.flow.inputs for a, n in zip(t.axes, t.shape, strict=True) if a in known
    }
    points = prod(axes.values())
    found: list[int] = []
    for n in range(1, min(points, 512) + 1):
        if points % n == 0 and (not found or n >= 2 * found[-1] or n == points):
            found.append(n)
    return found


def _cut(
    part: Part, tiles: int, machine: Machine, fabric: Fabric, options: Options
) -> Mapped | Infeasible | None:
    roles = ("weight", "state", "activation", "index")
    tiers = {r: options.tiers.get(r, machine.main) for r in roles}
    found = stages(part, tiles, fabric, tiers)
    if found is None:
        return None
    kernels = [k.name for k in part.kernels]
    runs = {n: [s for s in found if s.kernel == n] for n in kernels}
    best: list[tuple[float, tuple[Section, ...]] | None] = [(0.0, ())]
    short: Infeasible | None = None
    for end in range(1, len(kernels) + 1):
        best.append(None)
        for start in range(end - 1, -1, -1):
            before = best[start]
            if before is None:
                continue
            run = [s for n in kernels[start:end] for s in runs[n]]
            tried = section(
                f"{part.flow.name}.{start}", _stored(run, found, tiers), tiles, machine, fabric
            )
            if isinstance(tried, Infeasible):
                short = tried if end - start == 1 else short
                break
            total = before[0] + seconds(tried, fabric, options)
            held = best[end]
            if held is None or total < held[0]:
                best[end] = (total, (*before[1], tried))
        if best[end] is None:
            return short
    final = best[-1]
    assert final is not None
    return Mapped(part.flow.name, machine.name, tuple(final[1]), final[0])


def seconds(found: Section, fabric: Fabric, options: Options) -> float:
    """Of one section, launched and configured."""
    return found.cycles / fabric.clock.value + options.launch + options.configure


def _stored(run: Sequence[Stage], every: Sequence[Stage], tiers: dict[str, str]) -> list[Stage]:
    """Stages of one section: what later ones read of them is written to memory."""
    inside = {s.name for s in run}
    asked = {(r.other, r.name) for s in every if s.name not in inside for r in s.reads}
    return [
        replace(
            s,
            writes=tuple(
                replace(
                    w, other=w.other or (tiers["activation"] if _read(s, w.name, asked) else "")
                )
                for w in s.writes
            ),
        )
        for s in run
    ]


def _read(stage: Stage, name: str, asked: set[tuple[str, str]]) -> bool:
    return (stage.name, name) in asked or any(
        other == stage.name and read.startswith(f"{name}_") for other, read in asked
    )
