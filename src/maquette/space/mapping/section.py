"""One section: stages balanced, buffers between them, bytes per tier, cycles.

The tiles pass phase by phase: within a phase a metapipeline, (tiles - 1) intervals after the first
tile has gone through; where a stage needs all tiles of another a new phase begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from maquette.machines.types import Fabric, Machine
from maquette.plans.types import Infeasible
from maquette.space.mapping.balance import balance
from maquette.space.mapping.types import Buffer, Section, Share, Stage, Traffic


def section(
    name: str, stages: Sequence[Stage], tiles: int, machine: Machine, fabric: Fabric
) -> Section | Infeasible:
    """The section of `stages` at its best interval, or what it is short of."""
    traffic = traffic_of(stages, tiles, machine)
    moved = sum(t.total for t in traffic.values())
    floors = {
        n: t.total / tiles / _rate(machine, n) * fabric.clock.value for n, t in traffic.items()
    }
    buffers = buffers_of(stages, tiles)
    held: dict[str, float] = {}
    for b in buffers:  # in the memory units of whoever reads it first
        held[b.sinks[0]] = held.get(b.sinks[0], 0.0) + b.bytes * b.depth
    found = balance(stages, held, moved / tiles, floors, fabric)
    if isinstance(found, Infeasible):
        return replace(found, reason=f"{name}: {found.reason}")
    cycles = _cycles(found.shares, tiles, found.interval)
    floor = max((f * tiles for f in floors.values()), default=0.0)
    kernels = tuple(dict.fromkeys(s.kernel for s in stages))
    return Section(
        name,
        kernels,
        tiles,
        found.shares,
        buffers,
        traffic,
        max(1, found.generators),
        found.interval,
        max(cycles, floor),
        found.binding,
    )


def traffic_of(stages: Sequence[Stage], tiles: int, machine: Machine) -> dict[str, Traffic]:
    """Bytes per tier: what is held or shared comes once, what is cut into tiles tile by tile."""
    read: dict[tuple[str, str], float] = {}
    written: dict[tuple[str, str], float] = {}
    inside = {s.name for s in stages}
    main = machine.main
    for s in stages:
        for r in s.reads:
            if r.other not in inside:
                tier = r.other if r.other in machine.tiers else main
                key = (tier, r.name)
                read[key] = max(read.get(key, 0.0), r.total)
        for w in s.writes:
            if w.other:
                written[w.other if w.other in machine.tiers else main, w.name] = w.total
    found: dict[str, Traffic] = {}
    for tier in dict.fromkeys(t for t, _ in (*read, *written)):
        found[tier] = Traffic(
            sum(b for (t, _), b in read.items() if t == tier),
            sum(b for (t, _), b in written.items() if t == tier),
        )
    return found


def buffers_of(stages: Sequence[Stage], tiles: int) -> tuple[Buffer, ...]:
    """What lies in memory units: one copy per stage that a tile is handed past, and one more."""
    level = levels(stages)
    held: dict[tuple[str, str], list[tuple[Stage, float, int]]] = {}
    for s in stages:
        for r in s.reads:
            inside = r.other in level
            far = level[s.name] - level[r.other] if inside else 1
            size, depth = r.tile, far + 1
            if r.access == "whole" or (r.access == "held" and tiles > 1):
                size, depth = r.total, 1
            elif not inside:
                size = min(r.tile, _CHUNK)
            held.setdefault((r.name, r.other), []).append((s, size, depth))
    return tuple(
        Buffer(
            name,
            source,
            tuple(s.name for s, _, _ in uses),
            max(size for _, size, _ in uses),
            max(depth for _, _, depth in uses),
        )
        for (name, source), uses in held.items()
    )


_CHUNK = 65536.0  # bytes of an operand from memory that wait at most where it is used once


def levels(stages: Sequence[Stage]) -> dict[str, int]:
    """How many stages lie before each on the longest way to it."""
    found: dict[str, int] = {}
    for s in stages:
        found[s.name] = 1 + max((found[r.other] for r in s.reads if r.other in found), default=-1)
    return found


def phases(stages: Sequence[Stage]) -> dict[str, int]:
    """How many times all tiles must have passed before each stage starts."""
    found: dict[str, int] = {}
    for s in stages:
        before = (found[r.other] + (r.access == "whole") for r in s.reads if r.other in found)
        found[s.name] = max(before, default=0)
    return found


def _cycles(shares: Sequence[Share], tiles: int, interval: float) -> float:
    """Phases one after the other, each a metapipeline."""
    phase = phases([s.stage for s in shares])
    total = 0.0
    for n in range(max(phase.values(), default=0) + 1):
        own = [s for s in shares if phase[s.stage.name] == n]
        arrival: dict[str, float] = {}
        for s in own:
            before = max((arrival.get(r.other, 0.0) for r in s.stage.reads), default=0.0)
            arrival[s.stage.name] = before + s.cycles + s.stage.depth
        slowest = max((s.cycles for s in own), default=0.0)
        total += max(arrival.values(), default=0.0) + (tiles - 1) * slowest
    return total


def _rate(machine: Machine, tier: str) -> float:
    held = machine.tiers[tier].bandwidth
    assert held is not None
    return held.value
