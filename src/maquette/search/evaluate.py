"""Simulate a candidate under the asked traffic and judge it against the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maquette.compile.schedule import Schedule
from maquette.plans.engine import Engine
from maquette.price.calibration import PARAMETERS, Calibration
from maquette.search.fleet import fleet
from maquette.search.types import Candidate, Interval, Outcome, Targets
from maquette.serve.energy import joules
from maquette.serve.metrics import PERCENTILES, latencies, summary
from maquette.serve.simulate import simulate
from maquette.serve.types import FINISHED, Trace
from maquette.traffic.types import Requests


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
    """The targets a trace misses, in words; unserved requests miss all of them."""
    found = []
    lost = int((trace.status != FINISHED).sum())
    if lost:
        found.append(f"{lost} of {len(trace.status)} requests were not served")
    values = latencies(trace)
    for name, target in (("ttft", targets.ttft), ("tpot", targets.tpot)):
        if target is None or not len(values[name]):
            continue
        value = float(np.percentile(values[name], targets.percentile))
        if value > target:
            label = f"{name.upper()} p{targets.percentile:g}"
            found.append(f"{label} {value * 1e3:.4g} ms > {target * 1e3:.4g} ms")
    return tuple(found)


def margin(trace: Trace, targets: Targets) -> float:
    """The smallest of target over figure; infinite without targets, 0 when requests were lost."""
    if (trace.status != FINISHED).any():
        return 0.0
    values = latencies(trace)
    asked = {"ttft": targets.ttft, "tpot": targets.tpot}
    ratios = [
        target / max(float(np.percentile(values[name], targets.percentile)), 1e-12)
        for name, target in asked.items()
        if target is not None and len(values[name])
    ]
    return min(ratios, default=float("inf"))


def spread(
    setting: Setting, outcome: Outcome, draws: int = 8, seed: int = 0
) -> tuple[dict[str, Interval], float]:
    """80 % intervals of the target percentiles and of throughput, and how often targets hold.

    Every draw is a calibration from the posterior with its residual error, run on the same
    requests.  `setting` may hold fewer requests than `outcome` was simulated on: how far draws lie
    from the point on those is carried over, as a ratio, to the outcome's own figures.
    """
    rng = np.random.default_rng(seed + 1)
    candidate = outcome.candidate
    base = _figures(run(setting, candidate), setting.targets)
    point = _point(outcome, setting.targets)
    found: list[dict[str, float]] = []
    kept = 0
    for cal in setting.calibration.draws(draws, seed):
        factor = float(np.exp(rng.normal(0.0, cal.residual)))
        trace = run(setting, candidate, slower(cal, factor))
        found.append(_figures(trace, setting.targets))
        kept += not missed(trace, setting.targets)
    intervals = {}
    for name, value in point.items():
        ratios = [f[name] / base[name] if base[name] else 1.0 for f in found]
        intervals[name] = _central([value * r for r in ratios], value)
    return intervals, kept / draws


def _point(outcome: Outcome, targets: Targets) -> dict[str, float]:
    """The figures of an outcome that intervals are given of."""
    m = outcome.metrics
    return {
        "ttft_s": m.ttft[targets.percentile],
        "tpot_s": m.tpot[targets.percentile],
        "tokens_per_s": m.output_tokens_per_s,
    }


def _figures(trace: Trace, targets: Targets) -> dict[str, float]:
    """What intervals are given of."""
    values = latencies(trace)
    output = float(trace.output_tokens[trace.status == FINISHED].sum())
    return {
        "ttft_s": float(np.percentile(values["ttft"], targets.percentile)),
        "tpot_s": float(np.percentile(values["tpot"], targets.percentile)),
        "tokens_per_s": output / max(trace.end_ns * 1e-9, 1e-9),
    }


def slower(cal: Calibration, factor: float) -> Calibration:
    """A calibration under which everything takes `factor` times as long."""
    signs = np.array([-1.0 if p[2] else 1.0 for p in PARAMETERS.values()])
    signs[list(PARAMETERS).index("rows")] = 0.0
    return cal.at(cal.vector + signs * np.log(factor))


def _central(values: Sequence[float], point: float) -> Interval:
    """The central 80 % of draws; a mode at the edge of a skewed posterior is still inside."""
    low, high = np.quantile(values, [0.1, 0.9])
    return Interval(min(float(low), point), max(float(high), point))
