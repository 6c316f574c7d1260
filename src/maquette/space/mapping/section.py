"""One section: stages balanced, buffers between them, bytes per tier, cycles.

Tiles pass phase by phase: within a phase a metapipeline, so many intervals after the first tile has
gone through; where a stage needs all tiles of another a new phase begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import get_args

from maquette.errors import Fault, InputError
from maquette.machines.types import Fabric, Machine
from maquette.plans.types import Infeasible
from maquette.space.mapping.balance import Balanced, balance, hurried
from maquette.space.mapping.buffers import buffers, phases
from maquette.space.mapping.partition import Limits, merge
from maquette.space.mapping.types import Loading, Section, Share, Stage, Traffic

_FEW = 16  # tiles for which filling the pipeline counts
_SLACKS = (1.0, 2.0, 16.0)  # of the balanced interval, what stages may take


def section(
    name: str,
    stages: Sequence[Stage],
    tiles: int,
    machine: Machine,
    fabric: Fabric,
    exact: bool = False,
) -> Section | Infeasible:
    """The section of `stages` under the loading of what is held that runs soonest.

    `exact` takes depths of buffers from the linear programme, and hurries where tiles are few.
    Where no loading fits, what the one that needs least is short of.
    """
    best: Section | Infeasible | None = None
    for loading in get_args(Loading):
        found = _loaded(name, stages, tiles, machine, fabric, loading, exact)
        if not isinstance(best, Section) or (
            isinstance(found, Section) and found.cycles < best.cycles
        ):
            best = found
        if isinstance(best, Section) and best.binding != "memory units":
            break  # what is loaded later takes less room and no less time
    assert best is not None
    return best


def _loaded(
    name: str,
    stages: Sequence[Stage],
    tiles: int,
    machine: Machine,
    fabric: Fabric,
    loading: Loading,
    exact: bool,
) -> Section | Infeasible:
    waiting = buffers(stages, tiles, loading, exact)
    held: dict[str, float] = {}
    for b in waiting:
        held[b.stage] = held.get(b.stage, 0.0) + b.bytes * b.depth
    found = balance(stages, held, fabric)
    if isinstance(found, Infeasible):
        return replace(found, reason=f"{name}: {found.reason}")
    moved = traffic(stages, tiles, loading)
    rates = {n: rate(machine, fabric, n) for n in moved}
    time = _time(found, stages, tiles, loading, moved, rates)
    slowest = max((t.total / rates[n] for n, t in moved.items()), default=0.0)
    waits = time.cycles <= slowest
    for slack in _SLACKS if exact and tiles <= _FEW and not waits else ():
        shares = hurried(stages, held, fabric, slack * found.interval)
        other = replace(found, shares=shares, interval=max(s.cycles for s in shares))
        tried = _time(other, stages, tiles, loading, moved, rates)
        if tried.cycles < time.cycles:
            found, time = other, tried
    vector = fabric.lanes.value * fabric.word.value
    asked = sum(t.total for t in moved.values()) / vector
    cycles, binding = time.cycles, time.binding
    if asked / fabric.generators.value > cycles:
        cycles, binding = asked / fabric.generators.value, "generators"
    return Section(
        name,
        tuple(dict.fromkeys(s.kernel for s in stages)),
        tiles,
        found.shares,
        waiting,
        moved,
        loading,
        max(1, ceil(asked / cycles)),
        max(found.interval, time.interval),
        cycles,
        binding,
        _together(found.shares, fabric),
    )


def _together(shares: Sequence[Share], fabric: Fabric) -> tuple[tuple[str, ...], ...]:
    """Stages of one small body each that fit one unit: stages of its pipeline are shared out."""
    small = {
        s.stage.name: s.stage.needs for s in shares if s.compute == 1 and s.stage.needs is not None
    }
    return tuple(g for g in merge(small, Limits.of(fabric)) if len(g) > 1)


def traffic(stages: Sequence[Stage], tiles: int, loading: Loading) -> dict[str, Traffic]:
    """Bytes per tier: an operand that several stages read alike comes once, to all of them."""
    inside = {s.name for s in stages}
    read: dict[tuple[str, str, str], float] = {}
    written: dict[tuple[str, str, str], float] = {}
    for s in stages:
        for r in s.reads:
            if r.other not in inside:
                again = tiles if loading == "again" and r.access == "held" else 1
                size = r.tile * again if again > 1 else r.total
                key = (r.other, r.name, r.access)
                read[key] = max(read.get(key, 0.0), size)
        for w in s.writes:
            if w.other:
                written[w.other, w.name, s.name] = w.total
    return {
        tier: Traffic(
            sum(b for (t, *_), b in read.items() if t == tier),
            sum(b for (t, *_), b in written.items() if t == tier),
        )
        for tier in dict.fromkeys(key[0] for key in (*read, *written))
    }


def rate(machine: Machine, fabric: Fabric, tier: str) -> float:
    """Bytes per cycle of the fabric that a tier gives.

    Raises InputError for a tier that the machine has not, or has no bandwidth of.
    """
    held = machine.tiers.get(tier)
    if held is None or held.bandwidth is None:
        raise InputError(Fault(f"{machine.name}: tiers.{tier}", "has no bandwidth"))
    return held.bandwidth.value / fabric.clock.value


def once(stage: Stage) -> bool:
    """Whether a stage makes the same for all tiles, and so runs for the first alone."""
    return all(w.access == "held" for w in stage.writes)


@dataclass(frozen=True)
class _Time:
    cycles: float
    interval: float
    binding: str


def _time(
    found: Balanced,
    stages: Sequence[Stage],
    tiles: int,
    loading: Loading,
    moved: Mapping[str, Traffic],
    rates: Mapping[str, float],
) -> _Time:
    """Cycles of the pipeline and of every tier, whichever are more, and what is loaded before."""
    inside = {s.name for s in stages}
    once: dict[tuple[str, str], float] = {}
    for s in stages:
        for r in s.reads:
            if r.other not in inside and r.access == "held":
                once[r.other, r.name] = r.total
    before = {n: sum(b for (t, _), b in once.items() if t == n) / rates[n] for n in moved}
    if loading != "before" or tiles == 1:
        before = dict.fromkeys(moved, 0.0)
    tiers = {n: t.total / rates[n] - before[n] for n, t in moved.items()}
    slow = max(tiers, key=lambda n: tiers[n], default="")
    bound = tiers[slow] if slow else 0.0
    late = loading != "ahead" and tiles == 1
    pipeline, fill = _pipeline(found.shares, tiles, rates, late, bound / tiles)
    load = max(before.values(), default=0.0)
    cycles = load + max(pipeline, bound)
    most = found.interval > fill / tiles or 2 * bound > pipeline
    if bound >= pipeline or (bound / tiles >= found.interval and most):
        return _Time(cycles, bound / tiles, f"{slow} bandwidth")
    binding = found.binding if fill < pipeline / 2 else "filling of the pipeline"
    return _Time(cycles, found.interval, binding)


def _pipeline(
    shares: Sequence[Share],
    tiles: int,
    rates: Mapping[str, float],
    late: bool,
    interval: float,
) -> tuple[float, float]:
    """Cycles of all phases, and those of them until the first tile is through.

    Tiles are waited for, and, where they are `late`, what is held too; the last is stored.  Memory
    hands over one tile per `interval`, over all phases.
    """
    phase = phases([s.stage for s in shares])
    total = filled = 0.0
    passing = {phase[s.stage.name] for s in shares if tiles == 1 or not once(s.stage)}
    for n in range(max(phase.values(), default=0) + 1):
        own = [s for s in shares if phase[s.stage.name] == n]
        arrival: dict[str, float] = {}
        for s in own:
            before = max((arrival.get(r.other, 0.0) for r in s.stage.reads), default=0.0)
            outer = [r for r in s.stage.reads if r.other in rates]
            first = sum(r.tile / rates[r.other] for r in outer if r.access == "tile")
            waits = sum(r.tile / rates[r.other] for r in outer if r.access == "held" and late)
            arrival[s.stage.name] = max(before, first) + max(s.cycles, waits)
        fill = max(arrival.values(), default=0.0)
        filled += fill
        slowest = max((s.cycles for s in own if tiles == 1 or not once(s.stage)), default=0.0)
        total += fill
        if n in passing:
            total += (tiles - 1) * max(slowest, interval / len(passing))
    stored = (w.tile / rates[w.other] for s in shares for w in s.stage.writes if w.other)
    return total + max(stored, default=0.0), filled
