"""Stage balancing: the shortest interval at which every stage finishes a tile with what there is.

A stage takes the depth of its pipeline and then its work over its units for a tile (DHDL, ISCA
2016, §IV-B).  At an interval of T cycles w unit-cycles take ⌈w / (T - depth)⌉ compute units, and as
many memory units as the ports and the capacity for its operands ask for.  Demand falls as T grows,
so the least T is found by bisection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt

from maquette.machines.types import Fabric
from maquette.plans.types import Infeasible
from maquette.space.mapping.types import Share, Stage

_NEAR = 1e-4  # relative width at which bisection ends
_HALVINGS = 32  # where it begins at nothing


@dataclass(frozen=True)
class Balanced:
    """Shares at the least interval, and what binds it."""

    interval: float
    shares: tuple[Share, ...]
    binding: str


def balance(
    stages: Sequence[Stage], held: Mapping[str, float], fabric: Fabric
) -> Balanced | Infeasible:
    """Shares of `stages` at the least interval; `held` are bytes in the memory units of each.

    Where units do not suffice at any interval: the kind that is short, and by how many.
    """
    floor = max([_alone(s) for s in stages])
    most = max([floor, *(s.depth + max(s.work, s.port) for s in stages)])

    def over(interval: float) -> dict[str, float]:
        return _over([share(s, held.get(s.name, 0.0), interval, fabric) for s in stages], fabric)

    at_most = over(most)
    short = max(at_most, key=lambda n: at_most[n])
    if at_most[short] > 1:
        units = fabric.compute if short == "compute units" else fabric.memory
        return Infeasible(f"not enough {short}", (at_most[short] - 1) * units.value, short)
    low = high = max(floor, sum(s.work for s in stages) / fabric.compute.value)
    while max(over(high).values()) > 1:
        low, high = high, min(2 * high, most)
    while high - low > _NEAR * high:
        middle = (low + high) / 2
        low, high = (low, middle) if max(over(middle).values()) <= 1 else (middle, high)
    shares = tuple(share(s, held.get(s.name, 0.0), high, fabric) for s in stages)
    interval = max(s.cycles for s in shares)
    if high <= floor * (1 + _NEAR):
        slow = max(stages, key=_alone)
        return Balanced(interval, shares, f"{slow.name}, which spreads no further")
    tight = over(high * (1 - 1e-3))
    return Balanced(interval, shares, max(tight, key=lambda n: tight[n]))


def hurried(
    stages: Sequence[Stage], held: Mapping[str, float], fabric: Fabric, most: float
) -> tuple[Share, ...]:
    """Shares that make the sum of all stages short, none taking longer than `most` for a tile.

    Where few tiles pass, the way of the first counts: of stages one after the other Σ w / p is
    least for units p in proportion to √w.  `most` is no less than the balanced interval.
    """

    def shares(scale: float) -> tuple[Share, ...]:
        found = []
        for s in stages:
            work = max(s.work, s.port / fabric.port.value)
            wanted = max(_alone(s), s.depth + scale * sqrt(max(work, 1e-9)))
            found.append(share(s, held.get(s.name, 0.0), min(most, wanted), fabric))
        return tuple(found)

    low, high = 0.0, max(max(s.work, s.port) for s in stages) + 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = max(_over(shares(middle), fabric).values()) <= 1
        low, high = (low, middle) if fits else (middle, high)
    return _handed_out(shares(high), held, fabric)


def _handed_out(
    shares: tuple[Share, ...], held: Mapping[str, float], fabric: Fabric
) -> tuple[Share, ...]:
    """With the units that are left, where they gain most: equal stages ask for more at once."""
    while True:
        gains = []
        for i, s in enumerate(shares):
            room = s.stage.work / (s.compute + s.stage.chain)
            if room < 1.0 or s.stage.depth + room < _alone(s.stage):
                continue
            more = share(s.stage, held.get(s.stage.name, 0.0), s.stage.depth + room, fabric)
            given = (*shares[:i], more, *shares[i + 1 :])
            if more.cycles < s.cycles and max(_over(given, fabric).values()) <= 1:
                gains.append((s.cycles - more.cycles, -i, given))
        if not gains:
            return shares
        shares = max(gains, key=lambda gain: gain[:2])[2]


def _over(shares: Sequence[Share], fabric: Fabric) -> dict[str, float]:
    """Units asked for, of those there are."""
    return {
        "compute units": sum(s.compute for s in shares) / fabric.compute.value,
        "memory units": sum(s.memory for s in shares) / fabric.memory.value,
    }


def _alone(stage: Stage) -> float:
    """Cycles of a tile on as many units as a stage can use."""
    return stage.depth + max(1.0, stage.work * stage.chain / stage.widest)


def share(stage: Stage, held: float, interval: float, fabric: Fabric) -> Share:
    """The units of a stage that is to take `interval` cycles for a tile, its own filling included.

    A body cut into several units takes as many of each.
    """
    room = interval - stage.depth
    compute = ceil(stage.work / room - 1e-9)
    compute = max(1, ceil(compute / stage.chain)) * stage.chain
    ports = ceil(stage.port / (fabric.port.value * room) - 1e-9)
    memory = max(1, ports, ceil(held / fabric.scratchpad.value - 1e-9))
    cycles = max(stage.work / compute, stage.port / (fabric.port.value * memory))
    return Share(stage, compute, memory, ceil(cycles - 1e-9) + stage.depth)
