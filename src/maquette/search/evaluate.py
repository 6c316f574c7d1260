"""Simulate a candidate under the asked traffic and judge it against the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from statistics import NormalDist

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.plans.engine import Engine
from maquette.price.calibration import Calibration, Loop, doubted
from maquette.search.fleet import fleet
from maquette.search.types import Candidate, Interval, Outcome, Targets
from maquette.serve.energy import joules
from maquette.serve.metrics import PERCENTILES, latencies, summary
from maquette.serve.simulate import simulate
from maquette.serve.types import FINISHED, REJECTED, TIMED_OUT, UNFINISHED, Trace
from maquette.traffic.types import Requests

UNSERVED = {
    REJECTED: "longer than a KV cache",
    TIMED_OUT: "dropped after the time limit",
    UNFINISHED: "they never fitted beside what was held",
}


@dataclass(frozen=True)
class Setting:
    """What stays the same over the candidates of one system and engine."""

    schedule: Schedule
    engine: Engine
    calibration: Calibration
    requests: Requests
    targets: Targets


def run(setting: Setting, candidate: Candidate, cal: Calibration | None = None) -> Trace:
    """One simulation: the same requests for every candidate, so that differences are its own.

    Raises:
        InputError: the candidate does not fit (it was screened, so it should).
    """
    plan, used = candidate.plan, cal or setting.calibration
    held = fleet(setting.schedule, candidate.system, setting.engine, plan, used)
    return simulate(setting.requests, held.replicas, plan.policy, disaggregation=held.prefill)


def judge(setting: Setting, candidate: Candidate, trace: Trace) -> Outcome:
    """The figures of a simulated candidate and whether it keeps the targets."""
    at = sorted({*PERCENTILES, setting.targets.percentile})
    metrics = summary(trace, at, ttft=setting.targets.ttft, tpot=setting.targets.tpot)
    misses = missed(trace, setting.targets)
    hours = trace.end_ns / 3.6e12
    dollars = candidate.usd_per_hour * hours
    done = trace.status == FINISHED
    output = float(trace.output_tokens[done].sum())
    total = output + float(trace.input_tokens[done].sum())
    energy = joules(setting.schedule, candidate.system.machine, candidate.plan, trace)
    return Outcome(
        candidate=candidate,
        metrics=metrics,
        meets=not misses,
        margin=margin(trace, setting.targets),
        misses=misses,
        usd_per_mtok=dollars / max(total, 1.0) * 1e6,
        usd_per_mtok_output=dollars / max(output, 1.0) * 1e6,
        joules_per_token=Interval(energy[0] / max(output, 1.0), energy[1] / max(output, 1.0)),
    )


def missed(trace: Trace, targets: Targets) -> tuple[str, ...]:
    """The targets a trace misses, in words; requests that were not served are a miss."""
    found = []
    n = len(trace.status)
    for status, why in UNSERVED.items():
        lost = int((trace.status == status).sum())
        if lost:
            found.append(f"{lost} of {n} requests were not served: {why}")
    reached = figures(trace, targets.percentile)
    for name, target in _aims(targets):
        value = reached[f"{name}_s"]
        if value > target:
            label = f"{name.upper()} p{targets.percentile:g}"
            found.append(f"{label} {value * 1e3:.4g} ms > {target * 1e3:.4g} ms")
    return tuple(found)


def chance(trace: Trace, targets: Targets, unexplained: Mapping[str, float]) -> float:
    """The probability that a client of this load sees the targets kept.

    1 or 0 where nothing is unexplained: as simulated.
    """
    if (trace.status != FINISHED).any():
        return 0.0
    reached, found = figures(trace, targets.percentile), 1.0
    for name, target in _aims(targets):
        value, sd = reached[f"{name}_s"], doubt(unexplained, trace, f"{name}_s")
        if sd > 0 and value > 0:
            found *= NormalDist().cdf(log(target / value) / sd)
        elif value > target:
            return 0.0
    return found


def doubt(unexplained: Mapping[str, float], trace: Trace, figure: str) -> float:
    """The deviation of one of `figures` that no simulation of such a load explains.

    `unexplained` is a calibration's.  Requests that all come at once are a loop that ends.
    """
    quantity = {"output_tokens_per_s": "rate"}.get(figure, figure.removesuffix("_s"))
    loop: Loop = "closed" if trace.closed_loop or not np.ptp(trace.arrival_ns) else "open"
    return unexplained.get(doubted(loop, quantity, _alone(trace)), 0.0)


def _alone(trace: Trace) -> bool:
    """Whether no request came before the one ahead of it was done: nothing waits."""
    return bool(np.all(trace.arrival_ns[1:] >= trace.finish_ns[:-1]))


def _aims(targets: Targets) -> list[tuple[str, float]]:
    both = (("ttft", targets.ttft), ("tpot", targets.tpot))
    return [(name, float(target)) for name, target in both if target is not None]


def margin(trace: Trace, targets: Targets) -> float:
    """The smallest of target over figure; infinite without targets, 0 when requests were lost."""
    if (trace.status != FINISHED).any():
        return 0.0
    reached = figures(trace, targets.percentile)
    ratios = [target / max(reached[f"{name}_s"], 1e-12) for name, target in _aims(targets)]
    return min((r for r in ratios if not np.isnan(r)), default=float("inf"))


def figures(trace: Trace, percentile: float) -> dict[str, float]:
    """What intervals are given of: latencies at a percentile, and output tokens per second.

    NaN where no request has such a latency: TPOT takes two tokens.
    """
    values = latencies(trace)
    nan = float("nan")
    found = {
        f"{k}_s": float(np.percentile(values[k], percentile)) if len(values[k]) else nan
        for k in ("ttft", "tpot", "e2e")
    }
    output = float(trace.output_tokens[trace.status == FINISHED].sum())
    return {**found, "output_tokens_per_s": output / max(trace.end_ns * 1e-9, 1e-9)}
