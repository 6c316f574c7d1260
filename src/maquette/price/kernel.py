"""What one tiled kernel takes on a processor, from what it does and a few fitted constants.

A kernel multiplies, computes, and moves bytes across every tier, all at once; none of these hides
the others completely.  With the seconds ``t`` that each would take alone at the rate it reaches,

    seconds = (Σ t^p)^(1/p) + launches · launch,

where ``p`` says how well they overlap: 1 is one after the other, ∞ perfectly.  Rates are ceilings
of the processor times a fraction that never exceeds 1, so no price beats the speed of light, which
is the largest of the ``t`` at the ceilings themselves.

Operands are taken to lie in the nearest tier that holds all that the kernel touches, where the
kernel before it left them: what fits into a tier does not cross into it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from maquette.compiler.processor import Processor
from maquette.compiler.tiling import Counts, Tier
from maquette.price.interval import Estimate

Q80 = 1.2815515655446004  # standard deviations on each side of a central 80 %


@dataclass(frozen=True)
class Constants:
    """What was fitted, apart from the ceilings of the processor, which are measured."""

    product: float  # of the multiply-add peak that register-blocked contractions reach
    vector: float  # of the elementwise peak that other arithmetic reaches
    near: float  # of the bandwidth of the caches of a core
    far: float  # of the bandwidth of what cores share
    iteration: float  # vector operations that entering and leaving an innermost loop is worth
    overlap: float  # p above
    residual: float  # standard deviation of log(measured / priced)
    source: str


FITTED = Constants(
    product=0.72, vector=0.71, near=0.89, far=0.56, iteration=6.6, overlap=1.92, residual=0.18,
    source="fitted by maquette bench price --fit to 72 schedules on two cores with 512-bit vectors,"
    " 2026-11-21",
)  # fmt: skip
IDEAL = Constants(1.0, 1.0, 1.0, 1.0, 0.0, math.inf, 0.0, "speed of light of the ceilings")


@dataclass(frozen=True)
class Priced:
    """Seconds of a kernel, and those that each of its resources would take alone."""

    parts: dict[str, float]  # "product", "vector", "loops", "l1" … "memory", "launch"
    total: float
    residual: float
    source: str

    @property
    def bound(self) -> str:
        """The resource that binds: the one that would take longest alone."""
        return max(self.parts, key=self.parts.__getitem__)

    @property
    def estimate(self) -> Estimate:
        """The price as a point and a central 80 % interval."""
        away = math.exp(Q80 * self.residual)
        return Estimate(self.total, self.total / away, self.total * away, self.source)


def seconds(counts: Counts, processor: Processor, constants: Constants = FITTED) -> float:
    """The price of a tiled kernel on a processor: what the compiler chooses tilings by.

    >>> from maquette.run.host import processor
    >>> few, many = (Counts(fma=n, vector=0.0, traffic={"l3": 1e6}) for n in (1e9, 2e9))
    >>> seconds(few, processor()) < seconds(many, processor())
    True
    """
    return price(counts, processor, constants).total


def price(counts: Counts, processor: Processor, constants: Constants = FITTED) -> Priced:
    """What a tiled kernel takes and on what."""
    parts = _alone(counts, processor, constants)
    launch = counts.launches * processor.launch
    total = _overlapped(list(parts.values()), constants.overlap) + launch
    return Priced({**parts, "launch": launch}, total, constants.residual, constants.source)


def light(counts: Counts, processor: Processor) -> float:
    """Seconds that no schedule with these counts can beat on a processor."""
    return price(counts, processor, IDEAL).total


def _alone(counts: Counts, processor: Processor, c: Constants) -> dict[str, float]:
    """Seconds of each resource by itself; a tier's are those of the traffic that it serves."""
    found = {
        "product": counts.fma / (processor.fma * c.product),
        "vector": counts.vector / (processor.vector * c.vector),
        "loops": counts.iterations * c.iteration * processor.lanes / processor.vector,
    }
    touched = counts.traffic.get("l3", math.inf)  # all of it comes from memory at least once
    held = {"l1": processor.l1 * processor.threads, "l2": processor.l2 * processor.threads,
            "l3": processor.l3}  # fmt: skip
    for into, (tier, reached) in _SERVED.items():
        rate = getattr(processor, f"{tier}_bandwidth") * getattr(c, reached)
        kept = 1.0 if c is IDEAL else _KEPT.get(into, 1.0)
        missing = _missing(touched, held.get(into, 0), kept)
        found[tier] = counts.traffic.get(into, 0.0) * missing / rate
    return found


# Bytes that cross into a tier come from the one below it: which that is, and its constant.
_SERVED: Mapping[Tier, tuple[str, str]] = {
    "registers": ("l1", "near"),
    "l1": ("l2", "near"),
    "l2": ("l3", "far"),
    "l3": ("memory", "far"),
}


# Of a cache, what accesses again and again may touch before some are lost: that of all cores serves
# others as well.
_KEPT: Mapping[Tier, float] = {"l1": 0.6, "l2": 0.6, "l3": 0.15}


def _missing(touched: float, capacity: float, kept: float) -> float:
    """The share of accesses to so many bytes, again and again, that a cache does not serve.

    At best it keeps as much as it holds; real ones begin to lose before, and lose the more quickly.
    """
    if touched == 0 or capacity == 0 or math.isinf(touched):
        return 1.0
    if kept == 1.0:
        return max(0.0, 1.0 - capacity / touched)
    return min(1.0, max(0.0, touched / capacity - kept))


def _overlapped(times: list[float], p: float) -> float:
    longest = max(times)
    if longest == 0 or math.isinf(p):
        return longest
    return float(longest * sum((t / longest) ** p for t in times) ** (1 / p))
