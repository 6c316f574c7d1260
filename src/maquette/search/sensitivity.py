"""What a deployment's figures owe to facts nobody vouches for: each of them a fifth up and down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maquette.machines.doubts import doubtful, scaled
from maquette.machines.types import Fact, System
from maquette.plans.types import Infeasible
from maquette.price.environment import (
    batch_environment,
    in_lane,
    mesh_environment,
    mesh_of,
    nothing,
    uniform,
)
from maquette.price.host import running
from maquette.price.memory import fits, placed
from maquette.price.rates import formats
from maquette.search.bounds import step_sides
from maquette.search.deployment import Deployment
from maquette.search.evaluate import figures
from maquette.serve.simulate import simulate
from maquette.traffic.describe import head
from maquette.traffic.types import Requests

SWING = 0.2
TRIED = 500  # requests that a simulated figure is compared on
Figures = Mapping[str, float]


@dataclass(frozen=True)
class Swing:
    """One fact, and by what factor figures change when it is a fifth less or a fifth more.

    A factor is NaN where the model then no longer fits.
    """

    path: str
    fact: Fact[Any]
    less: Figures
    more: Figures

    @property
    def moves(self) -> bool:
        """Whether any figure depends on the fact."""
        return any(x != 1.0 for x in (*self.less.values(), *self.more.values()))


def swings(deployment: Deployment, measure: Callable[[Deployment], Figures]) -> tuple[Swing, ...]:
    """Every doubtful fact that `measure` depends on, the most important first."""
    base = measure(deployment)
    found = []
    for path, fact in doubtful(deployment.system.machine).items():
        less, more = (
            _change(base, _with(deployment, path, factor), measure)
            for factor in (1 - SWING, 1 + SWING)
        )
        found.append(Swing(path, fact, less, more))
    return tuple(sorted((s for s in found if s.moves), key=_weight, reverse=True))


def doubts(deployment: Deployment) -> dict[str, Fact[Any]]:
    """The doubtful facts that steps, memory or cost of a deployment depend on, by path."""
    return {s.path: s.fact for s in swings(deployment, _everything)}


def step_figures(batch: int, context: int) -> Callable[[Deployment], Figures]:
    """A measure: seconds of a decode step and of a prompt of `context` tokens."""

    def measure(d: Deployment) -> Figures:
        return {
            "decode_s": _step(d, batch, 1, context),
            "prefill_s": _step(d, 1, context, context),
        }

    return measure


def simulated_figures(requests: Requests, percentile: float) -> Callable[[Deployment], Figures]:
    """A measure: latencies at a percentile and the rate sustained, on the first requests."""
    few = head(requests, TRIED)

    def measure(d: Deployment) -> Figures:
        held = d.fleet()
        trace = simulate(few, held.replicas, d.plan.policy, disaggregation=held.prefill)
        reached = figures(trace, percentile)
        rate = float(trace.sustainable_per_s)
        return {k: reached[k] for k in ("ttft_s", "tpot_s")} | {"sustainable_requests_per_s": rate}

    return measure


def _everything(d: Deployment) -> Figures:
    least = step_figures(1, 1024)(d)
    power = d.system.machine.power
    return {
        **least,
        "batch_s": _step(d, 64, 1, 1024),
        "kv_tokens": d.memory.kv_tokens if np.isfinite(d.memory.kv_tokens) else 0.0,
        "usd": d.usd_per_hour or 0.0,
        "watts": 0.0 if power is None else float(power.tdp.value),
    }


def _with(d: Deployment, path: str, factor: float) -> Deployment | None:
    """The deployment where a fact differs; None where the model then no longer fits."""
    changed = scaled(d.system.machine, path, factor)
    plan = d.plan if d.plan.cold == 0.0 else d.plan.but(cold=None)
    plan = placed(d.schedule, changed, d.engine, plan)
    held = fits(d.schedule, changed, d.engine, plan)
    if isinstance(held, Infeasible):
        return None
    return replace(d, system=System(changed, d.system.devices), plan=plan, memory=held)


def _change(
    base: Figures, changed: Deployment | None, measure: Callable[[Deployment], Figures]
) -> Figures:
    if changed is None:
        return dict.fromkeys(base, float("nan"))
    found = measure(changed)
    return {k: found[k] / v if v else 1.0 for k, v in base.items()}


def _weight(swing: Swing) -> float:
    values = np.array([*swing.less.values(), *swing.more.values()])
    return float(np.nan_to_num(np.abs(np.log(np.maximum(values, 1e-9))), nan=1e9).max())


def _step(d: Deployment, batch: int, new: int, context: int) -> float:
    """Seconds of one step of `batch` sequences with `new` tokens each."""
    schedule, mesh = d.schedule, mesh_of(d.plan)
    machine = d.system.machine
    fixed = {**mesh_environment(schedule, mesh), **formats(machine, d.plan.precision, schedule)}
    shape, none = uniform(schedule, in_lane(batch, mesh), new, context), nothing(schedule)
    prefill, decode = (none, shape) if new == 1 else (shape, none)
    skew = d.plan.policy.expert_skew
    env = batch_environment(schedule, mesh, prefill=prefill, decode=decode, skew=skew)
    how = running(d.engine, machine, [d.plan])
    chunk = prefill is not none
    return float(max(step_sides(schedule, machine, d.calibration, mesh, fixed, env, how, chunk)))
