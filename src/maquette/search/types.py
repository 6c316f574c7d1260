"""What a search asks and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan
from typing import Any

from maquette.machines.types import System
from maquette.models.config import ModelConfig
from maquette.plans.types import Mesh, Plan
from maquette.price.calibration import Calibration
from maquette.serve.metrics import Metrics
from maquette.traffic.types import Requests
from maquette.units import Seconds


@dataclass(frozen=True)
class Targets:
    """Latency a deployment must keep at a percentile of requests; seconds; None is no target."""

    ttft: Seconds | None = None
    tpot: Seconds | None = None
    percentile: float = 99.0


# What is asked for when nobody says: a reader's patience and reading speed with room to spare.
ASSUMED = Targets(Seconds(1.0), Seconds(0.05), 99.0)


@dataclass(frozen=True)
class Wish:
    """What a user asks of a mesh; None leaves it open."""

    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None

    def allows(self, mesh: Mesh) -> bool:
        """Whether a mesh is as asked."""
        asked = {"tp": self.tp, "pp": self.pp, "dp": self.dp, "ep": self.ep}
        return all(n is None or getattr(mesh, k) == n for k, n in asked.items())

    @property
    def mesh(self) -> Mesh:
        """The smallest mesh that is as asked."""
        return Mesh(self.tp or 1, self.pp or 1, self.dp or 1, self.ep or 1)


ANY = Wish()


@dataclass(frozen=True)
class Question:
    """Which plan of `model` on one of `systems` serves `requests` within `targets`?"""

    model: ModelConfig
    systems: tuple[System, ...]
    requests: Requests
    targets: Targets
    engines: tuple[str, ...] = ()  # () is what serves on each system by default
    precisions: tuple[str, ...] = ()  # weight formats; () is the model's own, or the machine's
    calibrations: tuple[Calibration, ...] = ()  # the user's own, before the embedded ones
    policy: Mapping[str, Any] = field(default_factory=dict)  # what differs from each engine's own
    wish: Wish = ANY  # of the mesh that serves, or decodes
    replicas: int | None = None  # None tries every number
    seed: int = 0
    assumed: bool = False  # the targets are `ASSUMED`: nobody gave any
    confidence: float | None = None  # the chance with which targets must be kept


@dataclass(frozen=True)
class Interval:
    """A central 80 % interval, over the calibration's posterior and draws of the traffic."""

    low: float
    high: float


@dataclass(frozen=True)
class Doubt:
    """A constant of a calibration, and what not knowing it is worth."""

    name: str
    meaning: str
    share: float  # of the variance of a figure's logarithm that knowing it would remove
    sd: float  # standard deviation of its logarithm


@dataclass(frozen=True)
class Candidate:
    """A plan priced without simulation.  Latencies are lower bounds, the rate an upper bound."""

    system: System
    plan: Plan
    usd_per_hour: float  # NaN when nobody says what the machine costs
    ttft_s: float
    tpot_s: float
    max_rate: float  # requests per second, all replicas
    batch: float  # sequences in flight per replica at the asked rate

    @property
    def cost(self) -> tuple[bool, float]:
        """What plans are ranked by: dollars, and after all of those devices of unknown price."""
        unknown = isnan(self.usd_per_hour)
        return unknown, float(self.plan.devices) if unknown else self.usd_per_hour


@dataclass(frozen=True)
class Outcome:
    """A plan that was simulated under the asked traffic."""

    candidate: Candidate
    metrics: Metrics
    meets: bool
    misses: tuple[str, ...]  # "TTFT p99 812 ms > 500 ms"
    usd_per_mtok: float  # dollars per million tokens served, input and output
    usd_per_mtok_output: float
    joules_per_token: Interval
    intervals: Mapping[str, Interval] = field(default_factory=dict)  # of `evaluate.figures`
    probability: float | None = None  # the chance that the targets are kept
    overload: float | None = None  # probability that more is asked than sustained
    margin: float = 0.0  # target over figure, of the tightest target; below 1 it is missed

    @property
    def plan(self) -> Plan:
        return self.candidate.plan


@dataclass(frozen=True)
class FrontierPoint:
    """One operating point: how fast for one user, how cheap for all."""

    tokens_per_s_user: float
    usd_per_mtok_output: float
    system: str
    plan: Plan
    batch: int  # sequences in flight per replica


@dataclass(frozen=True)
class Share:
    """A share of a decode step: which section, on which resource, how many seconds."""

    section: str
    resource: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Gain:
    """What 10 % more of a resource buys: changes of the simulated figures, as fractions."""

    resource: str
    ttft: float
    tpot: float
    max_rate: float


@dataclass(frozen=True)
class Explanation:
    """Why the winner is what it is."""

    decode: tuple[Share, ...]
    prefill: tuple[Share, ...]
    binding: str  # one sentence
    gains: tuple[Gain, ...]
    runner_up: tuple[str, ...]  # sentences comparing it with the next best plan
    saturation: float | None  # the traffic's rate can grow by this factor before targets break
    doubts: tuple[Doubt, ...] = ()  # what makes its figures uncertain, most important first
    seconds: float = 0.0


@dataclass(frozen=True)
class Answer:
    """The result of a search."""

    question: Question
    enumerated: int
    infeasible: Mapping[str, int]  # reason → how many plans
    pruned: Mapping[str, int]  # bound that ruled them out → how many
    outcomes: tuple[Outcome, ...]  # simulated, best first
    frontier: tuple[FrontierPoint, ...]
    winner: Outcome | None
    explanation: Explanation | None
    launch: Mapping[str, str]  # engine → how to start it
    calibrations: Mapping[str, Calibration]  # "system/engine" → what priced it
    price_dates: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False
    doubts: tuple[Doubt, ...] = ()  # of the winner, or of the nearest plan: what to measure first
