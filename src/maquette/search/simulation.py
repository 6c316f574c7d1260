"""One deployment under one traffic: what happened, what it costs, how sure that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from maquette.errors import Fault, InputError
from maquette.price.calibration import Calibration
from maquette.search.deployment import Deployment
from maquette.search.evaluate import figures, missed
from maquette.search.forecast import DRAWS, Forecast, forecast, knee_slope
from maquette.search.sensitivity import Swing, simulated_figures, swings
from maquette.search.types import Interval, Targets
from maquette.serve.energy import joules
from maquette.serve.metrics import PERCENTILES, Metrics, summary
from maquette.serve.simulate import simulate
from maquette.serve.types import FINISHED, REJECTED, Trace
from maquette.traffic.describe import head
from maquette.traffic.types import Requests

DRAWN = 2000  # requests that drawn calibrations are run on at most
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated deployment.  `cpu_s` is processor time of the simulation proper.

    `intervals` are central 80 % intervals over the calibration's posterior and draws of the
    traffic, in the units of `figures`; without a price or a power, dollars and joules are NaN.
    """

    deployment: Deployment
    requests: Requests
    targets: Targets
    trace: Trace
    metrics: Metrics
    misses: tuple[str, ...]
    cpu_s: float
    joules: Interval  # of all devices, over the simulated time
    forecast: Forecast | None = None  # None: nothing was drawn
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    swings: tuple[Swing, ...] | None = None  # None: nobody asked for them
    probability: float | None = None  # the chance that the targets are kept; None without any

    @property
    def output_tokens(self) -> float:
        """Tokens of finished requests."""
        return float(self.trace.output_tokens[self.trace.status == FINISHED].sum())

    @property
    def tokens(self) -> float:
        """Tokens of finished requests, prompts included."""
        done = self.trace.status == FINISHED
        return self.output_tokens + float(self.trace.input_tokens[done].sum())

    @property
    def usd(self) -> float:
        """What the devices cost over the simulated time."""
        hourly = self.deployment.usd_per_hour
        return float("nan") if hourly is None else hourly * self.metrics.duration / 3600

    @property
    def usd_per_mtok_output(self) -> float:
        """Dollars per million output tokens."""
        return self.usd / self.output_tokens * 1e6 if self.output_tokens else float("nan")

    @property
    def usd_per_mtok(self) -> float:
        """Dollars per million tokens, input and output."""
        return self.usd / self.tokens * 1e6 if self.tokens else float("nan")

    @property
    def joules_per_output_token(self) -> Interval:
        """Energy over output tokens; an interval where only the rated power is known."""
        n = self.output_tokens or float("nan")
        return Interval(self.joules.low / n, self.joules.high / n)

    @property
    def requests_per_cpu_s(self) -> float:
        """Requests simulated per second of processor time."""
        return len(self.requests) / max(self.cpu_s, 1e-9)


def run(
    deployment: Deployment, requests: Requests, targets: Targets | None = None, *,
    draws: int = DRAWS, seed: int = 0, sensitivity: bool = False,
    progress: Progress = lambda *_: None,
) -> Simulation:  # fmt: skip
    """Simulate, and again under `draws` calibrations of the posterior (0: no intervals).

    With `sensitivity` once more for every doubtful fact of the machine, a fifth less and more.

    Raises:
        InputError: the requests and the deployment do not go together, with all faults.
    """
    wanted = targets or Targets()
    progress("simulating", 0, draws + 1)
    trace, used = _once(deployment, requests)
    if (trace.status == REJECTED).all():
        raise InputError(_too_long(deployment, requests))
    energy = joules(deployment.schedule, deployment.system.machine, deployment.plan, trace)
    at = sorted({*PERCENTILES, wanted.percentile})
    found = Simulation(
        deployment=deployment,
        requests=requests,
        targets=wanted,
        trace=trace,
        metrics=summary(trace, at, ttft=wanted.ttft, tpot=wanted.tpot),
        misses=missed(trace, wanted),
        cpu_s=used,
        joules=Interval(*energy),
        swings=_swings(deployment, requests, wanted) if sensitivity else None,
    )
    if not draws or not (trace.status == FINISHED).any():
        return found
    drawn = _forecast(found, draws, seed, progress)
    aimed = wanted.ttft is not None or wanted.tpot is not None
    return replace(
        found,
        forecast=drawn,
        intervals=drawn.intervals,
        probability=drawn.kept if aimed else None,
    )


def _swings(deployment: Deployment, requests: Requests, wanted: Targets) -> tuple[Swing, ...]:
    return swings(deployment, simulated_figures(requests, wanted.percentile))


def _too_long(deployment: Deployment, requests: Requests) -> Fault:
    shortest = int((requests.input_tokens + requests.output_tokens).min())
    room = deployment.replica().kv_blocks * deployment.plan.policy.block_size
    what = f"none fits: the shortest has {shortest:,} tokens and a replica's KV cache {room:,}"
    return Fault("requests", what, hint="more devices per replica, or fewer bits per weight")


def _once(
    deployment: Deployment, requests: Requests, cal: Calibration | None = None
) -> tuple[Trace, float]:
    """A trace and the processor seconds it took; pricing the replicas is not counted."""
    fleet = deployment.fleet(cal)
    start = time.process_time()
    policy = deployment.plan.policy
    trace = simulate(requests, fleet.replicas, policy, disaggregation=fleet.prefill)
    return trace, time.process_time() - start


def _forecast(found: Simulation, draws: int, seed: int, progress: Progress) -> Forecast:
    """Draws of constants and requests, on `DRAWN` requests."""
    held, few = found.deployment, head(found.requests, DRAWN)
    return forecast(
        lambda cal, sent: _once(held, sent, cal)[0],
        knee_slope(found.trace, held.fleet, held.plan.policy, held.calibration),
        held.calibration,
        few,
        figures(found.trace, found.targets.percentile),
        found.targets,
        draws,
        seed,
        lambda done: progress("drawing calibrations", done, draws + 1),
    )
