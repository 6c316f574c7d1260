"""What was to be reached, beside what was: scores by lane, quantity and how rows were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maquette.validate.regret import Regret
from maquette.validate.score import NOISE_FLOORS, Errors, Scored, coverage, errors, joined

COVERAGE = (0.75, 0.90)  # shares of rows that 80 % intervals should contain
REGRET = 0.05  # median
ENOUGH = 20  # rows from which a share inside an interval says anything


@dataclass(frozen=True)
class Goal:
    """Errors to stay below, as fractions; None is no goal."""

    median: float | None = None
    p90: float | None = None
    bias: float | None = None
    within_2: float | None = None  # share of rows within a factor of two, to stay above

    def met(self, e: Errors) -> bool:
        """Whether errors are as small as asked."""
        below = ((e.ape_p50, self.median), (e.ape_p90, self.p90), (abs(e.bias), self.bias))
        good = all(value <= aim for value, aim in below if aim is not None)
        return good and (self.within_2 is None or e.within_2 >= self.within_2)

    def __str__(self) -> str:
        errs = "/".join(f"{x:.0%}".rstrip("%") for x in (self.median, self.p90) if x is not None)
        parts = [errs + " %"] if errs else []
        parts += [f"bias {self.bias:.0%}".replace("%", " %")] if self.bias is not None else []
        if self.within_2 is not None:
            parts.append(f"{self.within_2:.0%}".replace("%", " %") + " within 2×")
        return ", ".join(parts)


# Static batches by what was held out; "" is the split of the rows, which is of shapes.
STATIC = {
    "": Goal(0.05, 0.15, 0.02), "batch": Goal(0.05, 0.15, 0.02), "model": Goal(0.08, 0.20),
    "machine": Goal(0.20),
}  # fmt: skip
SERVING = {
    ("stages", "tpot", ""): Goal(0.07, 0.20), ("stages", "e2e", ""): Goal(0.07, 0.20),
    ("stages", "ttft", ""): Goal(0.17), ("stages", "ttft_p99", ""): Goal(within_2=0.75),
    ("closed", "tpot", "dense"): Goal(0.10, 0.30), ("closed", "tpot", "experts"): Goal(0.18, 0.45),
    ("closed", "ttft", "dense"): Goal(0.30), ("closed", "ttft", "experts"): Goal(0.30),
}  # fmt: skip


@dataclass(frozen=True)
class Summary:
    """Rows of a lane and quantity that were held out in one way, beside floor, nulls and goal."""

    way: str  # of holding out: batch, model, machine; "" is the rows' own split
    lane: str
    quantity: str
    kind: str  # dense or experts where goals differ, else ""
    errors: Errors
    floor: float | None
    constant: Errors | None
    roofline: Errors | None
    coverage_80: float
    goal: Goal | None

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.goal is None else self.goal.met(self.errors)

    @property
    def covered(self) -> bool | None:
        """Whether intervals mean what they say; None of too few rows to tell."""
        if self.errors.n < ENOUGH:
            return None
        return COVERAGE[0] <= self.coverage_80 <= COVERAGE[1]


def goal(lane: str, quantity: str, way: str, kind: str) -> Goal | None:
    """The goal of a lane, if it has one.

    >>> str(goal("static", "e2e", "model", "")), str(goal("stages", "ttft_p99", "", ""))
    ('8/20 %', '75 % within 2×')
    """
    if lane == "static":
        return STATIC.get(way)
    return SERVING.get((lane, quantity, kind))


def summaries(scored: Sequence[Scored], way: str = "") -> list[Summary]:
    """One for each lane, quantity and kind; only rows that were not fitted."""
    found = []
    for lane in joined(scored):
        free = ~lane.calibration
        kinds = {"": free}
        if lane.lane == "closed":
            kinds = {"dense": free & ~lane.experts, "experts": free & lane.experts}
        for kind, keep in kinds.items():
            if np.any(keep):
                found.append(_summary(lane.where(keep), way, kind))
    return found


def _summary(rows: Scored, way: str, kind: str) -> Summary:
    known = np.isfinite(rows.constant)
    scored = errors(rows.measured, rows.predicted)
    assert scored is not None
    return Summary(
        way=way,
        lane=rows.lane,
        quantity=rows.quantity,
        kind=kind,
        errors=scored,
        floor=NOISE_FLOORS.get((rows.lane, rows.quantity), (None, ""))[0],
        constant=errors(rows.measured[known], rows.constant[known]),
        roofline=errors(rows.measured, rows.ideal),
        coverage_80=coverage(rows.measured, rows.low, rows.high),
        goal=goal(rows.lane, rows.quantity, way, kind),
    )


def regret_met(found: Regret) -> bool:
    """Whether choosing by prediction loses as little as asked."""
    return found.median <= REGRET
