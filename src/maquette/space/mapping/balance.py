"""Stage balancing: the shortest interval at which every stage finishes a tile with what there is.

At an interval of T cycles a stage of w unit-cycles takes ⌈w / T⌉ compute units, and its operands
as many memory units as their ports and their capacity ask for; streams to memory take generators.
Demand falls as T grows, so the least T is found by bisection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from maquette.machines.types import Fabric
from maquette.plans.types import Infeasible
from maquette.space.mapping.types import Share, Stage

_STEPS = 60  # of bisection: the interval to one part in 10^9


@dataclass(frozen=True)
class Demand:
    """Units that a section needs at one interval."""

    compute: int
    memory: int
    generators: int

    def over(self, fabric: Fabric) -> Mapping[str, float]:
        """By which factor each kind of unit is exceeded, 1 where it is just enough."""
        return {
            "compute units": self.compute / fabric.compute.value,
            "memory units": self.memory / fabric.memory.value,
            "generators": self.generators / fabric.generators.value,
        }


@dataclass(frozen=True)
class Balanced:
    """Shares at the least interval, and what binds it."""

    interval: float
    shares: tuple[Share, ...]
    generators: int
    binding: str


def balance(
    stages: Sequence[Stage],
    held: Mapping[str, float],
    rate: float,
    floors: Mapping[str, float],
    fabric: Fabric,
) -> Balanced | Infeasible:
    """Shares of `stages` at the least interval.

    `held` are bytes in the memory units of each stage, `rate` bytes per tile through generators,
    `floors` intervals below which a tier of memory cannot go: units are shared out as if there were
    none, for what they finish sooner shortens the way of the first tile.
    """
    floor = max([*(s.work / s.widest for s in stages), 1.0])
    most = max([floor, *(s.work for s in stages), *(s.port for s in stages), rate])
    short = max(_demand(stages, held, rate, most, fabric).over(fabric).items(), key=lambda x: x[1])
    if short[1] > 1:
        have = {"compute units": fabric.compute, "memory units": fabric.memory}
        missing = (short[1] - 1) * have.get(short[0], fabric.generators).value
        return Infeasible(f"not enough {short[0]}", missing, short[0])
    low, high = floor, most
    if _fits(stages, held, rate, low, fabric):
        high = low
    for _ in range(_STEPS):
        if high - low <= 1e-9 * high:
            break
        middle = (low + high) / 2
        if _fits(stages, held, rate, middle, fabric):
            high = middle
        else:
            low = middle
    shares = tuple(_share(s, held.get(s.name, 0.0), high, fabric) for s in stages)
    tier = max(floors, key=lambda n: floors[n], default="")
    if tier and floors[tier] > high:
        count = generators(rate, floors[tier], fabric)
        return Balanced(floors[tier], shares, count, f"{tier} bandwidth")
    binding = _binding(stages, held, rate, high, floor, fabric)
    return Balanced(high, shares, generators(rate, high, fabric), binding)


def generators(rate: float, interval: float, fabric: Fabric) -> int:
    """Address generators that move `rate` bytes per interval, one vector each per cycle."""
    return ceil(rate / interval / (fabric.lanes.value * fabric.word.value) - 1e-9)


def _share(stage: Stage, held: float, interval: float, fabric: Fabric) -> Share:
    compute = max(1, ceil(stage.work / interval - 1e-9))
    ports = ceil(stage.port / (fabric.port.value * interval) - 1e-9)
    memory = max(1, ports, ceil(held / fabric.scratchpad.value - 1e-9))
    cycles = max(stage.work / compute, stage.port / (fabric.port.value * memory))
    return Share(stage, compute, memory, cycles)


def _demand(
    stages: Sequence[Stage], held: Mapping[str, float], rate: float, interval: float, fabric: Fabric
) -> Demand:
    shares = [_share(s, held.get(s.name, 0.0), interval, fabric) for s in stages]
    return Demand(
        sum(s.compute for s in shares),
        sum(s.memory for s in shares),
        generators(rate, interval, fabric),
    )


def _fits(
    stages: Sequence[Stage], held: Mapping[str, float], rate: float, interval: float, fabric: Fabric
) -> bool:
    return max(_demand(stages, held, rate, interval, fabric).over(fabric).values()) <= 1


def _binding(
    stages: Sequence[Stage],
    held: Mapping[str, float],
    rate: float,
    interval: float,
    floor: float,
    fabric: Fabric,
) -> str:
    if interval > floor * (1 + 1e-6):
        over = _demand(stages, held, rate, interval * (1 - 1e-3), fabric).over(fabric)
        return max(over, key=lambda n: over[n])
    slow = max(stages, key=lambda s: s.work / s.widest)
    return f"{slow.name}: no further axis to spread"
