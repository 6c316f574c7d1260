"""Joules of what a trace did: bytes and flops walked from the Schedule, and time at idle power.

Where board power was fitted (idle, per byte, per flop) energy is their sum; where only the board's
rated power is known it is an interval from a third of it (idle share of the fitted boards) to all
of it over the time devices were held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.schedule import Schedule
from maquette.machines.types import Machine
from maquette.plans.types import Plan
from maquette.price.environment import batch_environment, mesh_environment, mesh_of, nothing
from maquette.price.rates import formats
from maquette.price.work import phases, split
from maquette.serve.types import Segments, Trace

Floats = NDArray[np.float64]
IDLE_SHARE = 1 / 3


def joules(schedule: Schedule, machine: Machine, plan: Plan, trace: Trace) -> tuple[float, float]:
    """Energy of all devices over a trace, as an interval; (nan, nan) when no power is known."""
    power = machine.power
    if power is None:
        return float("nan"), float("nan")
    held = trace.end_ns * 1e-9 * plan.devices
    if power.per_byte is None or power.per_flop is None or power.idle is None:
        rated = float(power.tdp.value)
        return held * rated * IDLE_SHARE, held * rated
    flops, moved = work_done(schedule, machine, plan, trace)
    energy = held * float(power.idle.value) + (
        flops * float(power.per_flop.value) + moved * float(power.per_byte.value)
    )
    most = held * float(power.tdp.value)
    return min(energy, most), min(energy, most)


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps of the replicas of one mesh: how often so many tokens, and the sums of attention."""

    plan: Plan
    tokens: Floats
    times: Floats
    seqs: float  # of a step, in the mean
    prefill: Mapping[str, float]
    decode: Mapping[str, float]


def work_done(
    schedule: Schedule, machine: Machine, plan: Plan, trace: Trace
) -> tuple[float, float]:
    """Flops and bytes of all devices over a trace; what prefills apart does so on its own mesh."""
    total = np.zeros(2)
    for steps in _steps(schedule, plan, trace):
        total += np.array(_work(schedule, machine, steps)) * steps.plan.mesh.tp
    return float(total[0]), float(total[1])


def _steps(schedule: Schedule, plan: Plan, trace: Trace) -> list[Steps]:
    none = nothing(schedule)
    prefill, decode = dict(none), dict(none)
    for i, name in enumerate(schedule.windows):
        prefill[f"pairs:{name}"] = trace.prefill_pairs[i]
        prefill[f"context:{name}"] = trace.prefill_context[i]
        decode[f"pairs:{name}"] = decode[f"context:{name}"] = trace.decode_context[i]
    if plan.prefill_mesh is None:
        counts = np.asarray(trace.steps_by_tokens, dtype=float)
        by_seqs = np.asarray(trace.steps_by_seqs, dtype=float)
        seqs = float((by_seqs * np.arange(len(by_seqs))).sum() / max(by_seqs.sum(), 1.0))
        tokens = np.nonzero(counts)[0].astype(float)
        return [Steps(plan, tokens, counts[counts > 0], seqs, prefill, decode)]
    own = plan.but(mesh=plan.prefill_mesh, stages=())
    first = trace.segments.replica >= plan.replicas  # replicas are numbered decode first
    return [
        _of_segments(own, trace.segments, first, prefill, none),
        _of_segments(plan, trace.segments, ~first, none, decode),
    ]


def _of_segments(
    plan: Plan,
    segments: Segments,
    chosen: NDArray[np.bool_],
    prefill: Mapping[str, float],
    decode: Mapping[str, float],
) -> Steps:
    """From the timeline, whose stretches say whose they are."""
    times = segments.steps[chosen].astype(float)
    seqs = segments.running[chosen].astype(float)
    fresh = segments.prefill_tokens[chosen] / np.maximum(times, 1.0)
    mean = float((seqs * times).sum() / max(times.sum(), 1.0))
    return Steps(plan, np.where(fresh > 0, fresh, seqs), times, mean, prefill, decode)


def _work(schedule: Schedule, machine: Machine, steps: Steps) -> tuple[float, float]:
    """Flops and bytes of one device, all its layers; `tp` devices do as much for a batch.

    Both are linear in the features of a step but for the experts it touches, so steps are summed
    by their number of tokens.
    """
    mesh = mesh_of(steps.plan)
    formats_ = formats(machine, steps.plan.precision, schedule)
    fixed = {**mesh_environment(schedule, mesh), **formats_}
    none = nothing(schedule)
    batch = {**none, "tokens": steps.tokens, "seqs": steps.seqs}
    env = fixed | batch_environment(schedule, mesh, prefill=none, decode=batch, mean=True)
    sums = fixed | batch_environment(
        schedule, mesh, prefill=steps.prefill, decode=steps.decode, mean=True
    )
    flops = moved = 0.0
    for section in schedule.sections:
        times = schedule.times[section.part]
        for work in split(section):
            if work.part != "attention":
                if section.phase != "prefill":  # its tokens are counted in the other form
                    flops += times * _sum(work.matrix(env) + work.vector(env), steps)
                    moved += times * _sum(work.bytes(env), steps)
                continue
            for _, values in phases(section, work.part, sums):
                flops += times * float(work.matrix(values) + work.vector(values))
                moved += times * float(work.bytes(values))
    return flops, moved


def _sum(of_a_step: Any, steps: Steps) -> float:
    return float((np.broadcast_to(of_a_step, steps.times.shape) * steps.times).sum())
