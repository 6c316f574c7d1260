"""Joules of what a trace did: bytes and flops walked from the Schedule, and time at idle power.

Where board power was fitted (idle, per byte, per flop) energy is their sum; where only the board's
rated power is known it is an interval from a third of it (idle share of the fitted boards) to all
of it over the time devices were held.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maquette.compile.schedule import Schedule
from maquette.machines.types import Machine
from maquette.plans.types import Plan
from maquette.price.environment import batch_environment, mesh_environment, mesh_of, nothing
from maquette.price.seconds import formats, split
from maquette.serve.types import Trace

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
    devices = plan.mesh.devices / plan.mesh.pp
    energy = held * float(power.idle.value) + devices * (
        flops * float(power.per_flop.value) + moved * float(power.per_byte.value)
    )
    most = held * float(power.tdp.value)
    return min(energy, most), min(energy, most)


def work_done(
    schedule: Schedule, machine: Machine, plan: Plan, trace: Trace
) -> tuple[float, float]:
    """Flops and bytes of one device of a stage over all steps of a trace.

    Both are linear in the features of a step but for the experts it touches, so steps are summed
    by their number of tokens.
    """
    mesh = mesh_of(plan)
    fixed = {**mesh_environment(schedule, mesh), **formats(machine, plan.precision, schedule)}
    none = nothing(schedule)
    counts = np.asarray(trace.steps_by_tokens, dtype=float)
    tokens = np.nonzero(counts)[0].astype(float)
    weight = counts[counts > 0]
    seqs = np.asarray(trace.steps_by_seqs, dtype=float)
    mean_seqs = float((seqs * np.arange(len(seqs))).sum() / max(seqs.sum(), 1.0))
    flops, moved = _walk(schedule, mesh, fixed, {**none, "tokens": tokens, "seqs": mean_seqs})
    total = np.array([(flops * weight).sum(), (moved * weight).sum()])
    base = np.array(_walk(schedule, mesh, fixed, none))
    attention: dict[str, Any] = dict(none)
    for i, name in enumerate(schedule.windows):
        attention[f"pairs:{name}"] = trace.prefill_pairs[i] + trace.decode_context[i]
        attention[f"context:{name}"] = trace.prefill_context[i] + trace.decode_context[i]
    total += np.array(_walk(schedule, mesh, fixed, attention)) - base
    return float(total[0]), float(total[1])


def _walk(schedule: Schedule, mesh: Any, fixed: Any, features: Any) -> tuple[Any, Any]:
    batch = batch_environment(schedule, mesh, prefill=features, decode=nothing(schedule))
    values = {**fixed, **batch}
    own = {k.removeprefix("prefill."): v for k, v in batch.items() if k.startswith("prefill.")}
    flops: Any = 0.0
    moved: Any = 0.0
    for section in schedule.sections:
        times = schedule.times[section.part]
        for work in split(section):
            env = {**values, **own} if work.part == "attention" else values
            flops = flops + times * (work.matrix(env) + work.vector(env))
            moved = moved + times * work.bytes(env)
    return flops, moved
