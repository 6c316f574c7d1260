"""Which candidates to simulate, so that the cheapest that keeps the targets is not missed.

Candidates that differ only in their number of replicas are a line: along it more replicas serve
no worse.  So of a line the dearest that could still win is simulated first; if even that misses the
targets the whole line is out, and otherwise halving finds its cheapest.  Lines come cheapest first,
and what costs more than the best so far is never looked at: nothing cheaper is left out unless the
limit is reached, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import isnan

from maquette.plans.types import Policy
from maquette.search.types import Candidate, Outcome

LIMIT = 64  # candidates simulated at most once some plan keeps the targets
RIVALS = 4  # dearer ones simulated at most, for a plan on another mesh to compare with

Line = tuple[Candidate, ...]


@dataclass(eq=False)
class Contest:
    """Simulations so far.  `simulate` judges one candidate; each is simulated once."""

    simulate: Callable[[Candidate], Outcome]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    skipped: int = 0  # lines not looked at because of the limit

    def meets(self, candidate: Candidate) -> bool:
        """Whether a candidate keeps the targets."""
        if id(candidate) not in self.outcomes:
            self.outcomes[id(candidate)] = self.simulate(candidate)
        return self.outcomes[id(candidate)].meets

    @property
    def best(self) -> Outcome | None:
        """The best that keeps the targets."""
        good = [o for o in self.outcomes.values() if o.meets]
        return min(good, key=rank, default=None)

    def run(self, lines: Iterable[Line]) -> None:
        """Simulate until no line can hold anything cheaper than the best."""
        self.skipped = 0
        for line in lines:
            best = self.best
            able = [c for c in line if best is None or c.cost <= best.candidate.cost]
            if not able:
                continue
            if best is not None and len(self.outcomes) >= LIMIT:
                self.skipped += 1
            elif self.meets(able[-1]):
                self._halve(able)

    def _halve(self, able: list[Candidate]) -> None:
        low, high = 0, len(able) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.meets(able[middle]) else (middle + 1, high)

    def rival(self, lines: Iterable[Line]) -> None:
        """Find a plan on another mesh than the best's to compare it with, if it must be dearer."""
        best = self.best
        good = [o for o in self.outcomes.values() if o.meets]
        if best is None or len({o.plan.mesh for o in good}) > 1:
            return
        mesh, cost = best.plan.mesh, best.candidate.cost
        dearer = [c for line in lines for c in line if c.plan.mesh != mesh and c.cost > cost]
        for candidate in sorted(dearer, key=lambda c: (c.cost, c.tpot_s))[:RIVALS]:
            if self.meets(candidate):
                return


def lines(candidates: Iterable[Candidate]) -> list[Line]:
    """Candidates by line, the cheapest first, and the lines in the order to look at them.

    The engine's own policy goes before its variations, and then the line whose cheapest costs
    least, the fastest first.
    """
    found: dict[object, list[Candidate]] = {}
    policies: dict[object, int] = {}
    turn: dict[object, int] = {}
    for c in candidates:
        key = (c.system.name, replace(c.plan, replicas=0))
        if key not in found:
            alike = (c.system.name, replace(c.plan, replicas=0, policy=Policy()))
            turn[key] = policies[alike] = policies.get(alike, -1) + 1
        found.setdefault(key, []).append(c)
    made = [(turn[k], tuple(sorted(line, key=lambda c: c.cost))) for k, line in found.items()]
    ordered = sorted(made, key=lambda m: (m[0], m[1][0].cost, m[1][0].tpot_s, m[1][0].ttft_s))
    return [line for _, line in ordered]


def rank(o: Outcome) -> tuple[bool, float, bool, float, float, float]:
    """Those that keep the targets first, then the cheapest, then the one furthest from missing.

    Of plans that miss, the nearest to keeping them comes first.
    """
    unknown, cost = o.candidate.cost
    if not o.meets:
        return (True, -o.margin, unknown, cost, 0.0, 0.0)
    return (False, 0.0, unknown, cost, -o.margin, _known(o.metrics.tpot.mean))


def _known(seconds: float) -> float:
    return 0.0 if isnan(seconds) else seconds


def rivals(winner: Outcome, ranked: Iterable[Outcome]) -> list[Outcome]:
    """The next best mesh, or else fleet, that keeps the targets, and the nearest cheaper miss."""
    ranked, mesh = list(ranked), winner.plan.mesh
    good = [o for o in ranked if o.meets]
    other = [o for o in good if o.plan.mesh != mesh]
    other = other or [o for o in good if o.plan.devices != winner.plan.devices]
    missed = [o for o in ranked if not o.meets and o.candidate.cost < winner.candidate.cost]
    return [*other[:1], *missed[:1]]
