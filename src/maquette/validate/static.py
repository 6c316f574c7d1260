"""Seconds of static batches: prompts of one length, answers of one length, nothing joins.

All rows of one model and precision on one machine and engine are priced in one walk.  A batch is
prefilled in steps of the engine's token budget and then decoded one token a step; when its
sequences do not all fit the KV cache they run in waves, one after another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.schedule import Schedule
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.plans.types import Infeasible, Mesh, Plan, Precision
from maquette.price.calibration import Calibration
from maquette.price.environment import batch_environment, causal_pairs, mesh_environment
from maquette.price.host import Running, beside, running
from maquette.price.memory import fits
from maquette.price.network import collective
from maquette.price.rates import formats
from maquette.price.replica import stages
from maquette.price.seconds import walk_seconds
from maquette.validate.uncertainty import spread

Floats = NDArray[np.float64]
AXES = ("tp", "pp", "dp", "ep")


@dataclass(frozen=True, eq=False)
class Batches:
    """Static batches as columns: sequences, tokens in and out, and the mesh of each."""

    machine: Machine
    engine: Engine
    schedule: Schedule
    precision: Precision
    batch: Floats
    inputs: Floats
    outputs: Floats
    mesh: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.batch)

    def where(self, keep: Any) -> Batches:
        """Some of the rows."""
        return replace(
            self,
            batch=self.batch[keep],
            inputs=self.inputs[keep],
            outputs=self.outputs[keep],
            mesh={k: v[keep] for k, v in self.mesh.items()},
        )


@dataclass(frozen=True, eq=False)
class Prepared:
    """All of a price that no calibration changes: features of steps and how many there are.

    Arrays are (phase, wave, row): phase 0 prefills and 1 decodes; wave 0 is a full wave and 1
    what is left over.
    """

    batches: Batches
    env: dict[str, Any]
    seqs: Floats  # sequences of one step
    steps: Floats  # how often the step is run
    sequences: Floats  # running at once, (row,)
    why: NDArray[np.object_]  # why a row cannot run, "" when it can
    how: Running  # arrays are (row,)


@dataclass(frozen=True, eq=False)
class Seconds:
    """What the rows take."""

    ttft: Floats  # until every sequence has its first token
    tpot: Floats  # seconds after the first token for each token after it, over all waves
    e2e: Floats


def prepare(batches: Batches) -> Prepared:
    """Steps and features of every row."""
    fitting, why = capacity(batches)
    dp = batches.mesh["dp"]  # attention groups, each with its own sequences and limits
    at_once = np.clip(np.minimum(batches.batch, fitting), 1, batches.engine.policy.max_seqs * dp)
    waves = np.floor(batches.batch / at_once)
    left = batches.batch - waves * at_once
    size = np.ceil(np.stack([at_once, np.maximum(left, 1)]) / dp)  # (wave, row)
    count = np.stack([waves, (left > 0) * 1.0])
    prefill, prefill_steps = _prefill(batches, size)
    decode, how = _decode(batches, size), _running(batches)
    for features in (prefill, decode):
        features["tokens"] = how.size(features["tokens"])
    after = np.broadcast_to(np.maximum(batches.outputs - 1, 0), size.shape)
    steps = np.stack([prefill_steps * count, after * count])
    none = {k: np.zeros_like(size) for k in prefill}
    env = {
        **formats(batches.machine, batches.precision, batches.schedule),
        **mesh_environment(batches.schedule, batches.mesh),
        **batch_environment(
            batches.schedule,
            batches.mesh,
            prefill={k: np.stack([prefill[k], none[k]]) for k in prefill},
            decode={k: np.stack([none[k], decode[k]]) for k in prefill},
            skew=batches.engine.policy.expert_skew,
        ),
    }
    seqs = np.stack([prefill["seqs"], decode["seqs"]])
    return Prepared(batches, env, seqs, steps, at_once, why, how)


def _running(batches: Batches) -> Running:
    """How the rows' steps are run: what depends on the mesh is an array over rows."""
    layouts = np.stack([batches.mesh[a] for a in AXES], axis=1).astype(int)
    meshes, row = np.unique(layouts, axis=0, return_inverse=True)
    policy = batches.engine.policy
    plans = [Plan(batches.precision, Mesh(*map(int, m)), policy) for m in meshes]
    each = [running(batches.engine, batches.machine, [p]) for p in plans]
    most, stretch = (np.array([getattr(h, k) for h in each])[row] for k in ("most", "stretch"))
    return replace(each[0], most=most, stretch=stretch)


def capacity(batches: Batches) -> tuple[Floats, NDArray[np.object_]]:
    """Sequences whose KV fits at once, and why a row cannot run at all."""
    fitting = np.full(len(batches), np.inf)
    why = np.full(len(batches), "", dtype=object)
    policy = batches.engine.policy
    layouts = np.stack([batches.mesh[a] for a in AXES], axis=1).astype(int)
    for layout in np.unique(layouts, axis=0):
        rows = np.all(layouts == layout, axis=1)
        plan = Plan(batches.precision, Mesh(*map(int, layout)), policy, engine=batches.engine.name)
        held = fits(batches.schedule, batches.machine, batches.engine, plan)
        if isinstance(held, Infeasible):
            why[rows] = "does not fit: " + str(held)
            continue
        total = batches.inputs[rows] + batches.outputs[rows]
        blocks = np.floor(held.kv_tokens / policy.block_size)
        need = np.ceil(total / policy.block_size)
        fitting[rows] = np.floor(blocks / need) if np.isfinite(blocks) else np.inf
    why[(fitting < 1) & (why == "")] = "does not fit: one sequence exceeds the KV cache"
    joined = collective(batches.machine, "all-reduce", 1.0, batches.mesh["tp"], 1.0, 0.0)
    why[~np.isfinite(joined) & (why == "")] = "no link joins so many devices"
    return np.maximum(fitting, 1), why


def _prefill(batches: Batches, size: Floats) -> tuple[dict[str, Floats], Floats]:
    """Features of one prefill step, and how many prefill a wave."""
    policy, inputs = batches.engine.policy, batches.inputs
    budget = policy.max_batched_tokens
    if policy.scheduler == "static":
        steps = np.ones_like(size)
    elif policy.chunked_prefill:
        steps = np.ceil(size * inputs / budget)
    else:  # whole prompts
        steps = np.ceil(size / np.maximum(np.floor(budget / inputs), 1))
    features = {"tokens": size * inputs / steps, "seqs": size / steps}
    for name, window in batches.schedule.windows.items():
        features[f"pairs:{name}"] = size * causal_pairs(inputs, inputs, window) / steps
        features[f"context:{name}"] = size * inputs / steps
    return features, steps


def _decode(batches: Batches, size: Floats) -> dict[str, Floats]:
    """Features of the mean decode step; prices are linear in context, so the mean is exact."""
    features = {"tokens": size, "seqs": size}
    after = np.maximum(batches.outputs - 1, 1)
    for name, window in batches.schedule.windows.items():
        reach = _mean_reach(batches.inputs + 1, batches.inputs + after, window)
        features[f"pairs:{name}"] = features[f"context:{name}"] = size * reach
    return features


def _mean_reach(first: Floats, last: Floats, window: int) -> Floats:
    """Mean of ``min(context, window)`` over contexts ``first, first + 1, …, last``."""
    if not window:
        return (first + last) / 2
    count = last - first + 1
    growing = np.clip(window - first + 1, 0, count)  # contexts of at most `window`
    total = growing * (2 * first + growing - 1) / 2 + (count - growing) * window
    return total / count


def seconds(prepared: Prepared, cal: Calibration) -> Seconds:
    """The price of every row under a calibration; infinite where a row cannot run.

    A calibration of many values of each constant (`price.calibration.stacked`) gives a first axis.
    """
    b = prepared.batches
    priced = walk_seconds(b.schedule, b.machine, cal, prepared.env)
    step = sum(s.total for s in priced) + stages(b.schedule, b.machine, cal, b.mesh, prepared.env)
    step = step + np.concatenate([_beside(prepared, cal, p, step) for p in (0, 1)], axis=-3)
    step = np.where(prepared.why == "", step, 1.0)
    total = (step * prepared.steps).sum(axis=-2)  # (phase, row)
    prefill, decode = total[..., 0, :], total[..., 1, :]
    out = np.where(prepared.why == "", 0.0, np.inf)
    after = np.maximum(b.outputs - 1, 1)
    # What a client derives from a whole run and a run of one token: over all waves.
    tpot = np.where(b.outputs > 1, decode / after, step[..., 1, 0, :])
    return Seconds(ttft=prefill + out, tpot=tpot + out, e2e=prefill + decode + out)


def _beside(prepared: Prepared, cal: Calibration, phase: int, step: Floats) -> Floats:
    """What steps of a phase take beside the device."""
    b, one = prepared.batches, slice(phase, phase + 1)
    env = {k: v[one] if np.ndim(v) == 3 else v for k, v in prepared.env.items()}
    device = step[..., one, :, :]
    found: Floats = beside(b.schedule, b.machine, cal, prepared.how, env, device, phase == 0)
    return found


def typical(
    schedule: Schedule, machine: Machine, engine: Engine, plan: Plan, batch: float = 16.0
) -> Prepared:
    """A batch of prompts of 960 tokens and answers of 128, as `plan` has it."""
    one = np.ones(1)
    mesh = {a: one * getattr(plan.mesh, a) for a in AXES}
    return prepare(
        Batches(machine, engine, schedule, plan.precision, batch * one, 960 * one, 128 * one, mesh)
    )


def step_spread(
    schedule: Schedule,
    machine: Machine,
    engine: Engine,
    plan: Plan,
    cal: Calibration,
    batch: float = 16.0,
) -> float:
    """Standard deviation of the logarithm of a decode step at about 1,024 tokens of context."""
    step = typical(schedule, machine, engine, plan, batch)
    found = float(spread(lambda c: seconds(step, c).tpot, cal)[0])
    return found if np.isfinite(found) else cal.residual
