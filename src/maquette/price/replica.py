"""From a Schedule and a plan to what the clock needs: the `Replica` of `price.step`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.plans.types import Infeasible, Plan
from maquette.price.calibration import Calibration
from maquette.price.environment import batch_environment, mesh_environment, mesh_of, nothing
from maquette.price.host import Running, launching, own, running
from maquette.price.memory import Memory, fits
from maquette.price.network import hand_over
from maquette.price.rates import formats
from maquette.price.seconds import priceable, walk_seconds
from maquette.price.step import Attention, Floats, Floor, Replica, StepModel
from maquette.price.styles import regions
from maquette.price.work import Env

Features: TypeAlias = dict[str, Any]
Priced: TypeAlias = Callable[[Features, Features], list[Any]]
UNIT = 1e6  # pairs or tokens that slopes are read off at


def replica(
    schedule: Schedule, machine: Machine, engine: Engine, plan: Plan, calibration: Calibration
) -> Replica | Infeasible:
    """One replica of a plan, priced for every batch it can form, or why it cannot be."""
    priceable(machine)
    held = fits(schedule, machine, engine, plan)
    if isinstance(held, Infeasible):
        return held
    step = step_model(schedule, machine, engine, plan, calibration)
    return Replica(
        step=_streamed(step, calibration["stream"] * plan.mesh.lanes),
        kv_blocks=kv_blocks(held, plan),
        block_size=plan.policy.block_size,
        max_seqs=held.seqs,
        max_batched_tokens=plan.policy.max_batched_tokens,
        kv_bytes_per_token=held.kv_per_token * plan.mesh.devices / plan.mesh.dp,
        state_bytes_per_seq=held.state_per_seq * plan.mesh.devices / plan.mesh.dp,
        request=calibration["request"],
        accept=calibration["accept"],
        lanes=plan.mesh.lanes,
    )


def _streamed(step: StepModel, each: float) -> StepModel:
    """Steps that a server keeps up with, which sends a token in `each` seconds beside them."""
    if not each:
        return step
    none = np.zeros(step.max_seqs + 1)
    sent = np.arange(step.max_seqs + 1, dtype=np.float64) * each
    floor = step.floor or Floor(none, np.zeros_like(step.tokens), none)
    least = replace(floor, decoding=np.maximum(floor.decoding, sent), sent=sent)
    return replace(step, floor=least)


def kv_blocks(held: Memory, plan: Plan) -> int:
    """KV blocks of the whole replica; 0 when the model keeps no KV cache."""
    if plan.policy.kv_blocks is not None:
        return plan.policy.kv_blocks
    if not np.isfinite(held.kv_tokens):
        return 0
    return int(held.kv_tokens // plan.policy.block_size)


def step_model(
    schedule: Schedule, machine: Machine, engine: Engine, plan: Plan, cal: Calibration
) -> StepModel:
    """Seconds of a step by tokens, by sequences and by attention class."""
    mesh, how = mesh_of(plan), running(engine, machine, [plan])
    fixed: dict[str, Any] = {
        **mesh_environment(schedule, mesh),
        **formats(machine, plan.precision, schedule),
    }
    tokens = np.arange(plan.policy.max_batched_tokens + 1, dtype=float)
    seqs = np.arange(plan.policy.max_seqs + 1, dtype=float)

    def priced(prefill: Features, decode: Features) -> tuple[list[Any], Any]:
        env = fixed | batch_environment(
            schedule, mesh, prefill=prefill, decode=decode, skew=plan.policy.expert_skew
        )
        found = walk_seconds(schedule, machine, cal, env)
        return [s.total for s in found], stages(schedule, machine, cal, mesh, env)

    def total(prefill: Features, decode: Features) -> Floats:
        sections, between = priced(prefill, decode)
        return np.asarray(sum(sections) + between)

    none = nothing(schedule)
    one = {**none, "seqs": 1.0}
    by_tokens = total({**none, "tokens": how.size(tokens)}, none)
    by_seqs = total(none, {**none, "seqs": seqs}) - total(none, none)
    # Slopes are read off one sequence; with more of them fewer regions are idle.
    count = regions(machine, cal, fixed)
    idle = np.maximum(seqs, count) / np.maximum(seqs, 1) / np.maximum(count, 1.0)
    attention = [
        a
        for name in schedule.windows
        for a in _attention(schedule, name, lambda p, d: priced(p, d)[0], idle)
    ]
    device = StepModel(
        overhead=0.0,
        prefill=float(total(one, none) - total(none, one)),
        tokens=np.ascontiguousarray(np.broadcast_to(by_tokens, tokens.shape)),
        seqs=np.ascontiguousarray(np.broadcast_to(by_seqs, seqs.shape)),
        attention=tuple(attention),
    ).scaled(how.stretch)
    return _hosted(device, schedule, machine, cal, how, {**fixed, **mesh})


def _hosted(
    device: StepModel,
    schedule: Schedule,
    machine: Machine,
    cal: Calibration,
    how: Running,
    env: Env,
) -> StepModel:
    """The steps of a device with what the host adds to them, and its floor under all of a step.

    With ``work`` of the host's own a step takes ``work + max(device, launching)``, or where the
    work overlaps ``max(device, work + launching)``: either way no less than both add up to.
    """
    tokens, n = np.arange(device.max_tokens + 1.0), np.arange(device.max_seqs + 1.0)
    base = float(own(schedule, machine, cal, 0.0, 0.0))
    per_seq = own(schedule, machine, cal, n, 0.0) - base
    per_token = own(schedule, machine, cal, 0.0, tokens) - base

    def launch(count: Floats, prefill: bool) -> Floats:
        step = {**env, "tokens": count, "prefill.seqs": float(prefill)}
        took = launching(schedule, machine, cal, how, step, prefill)
        return np.asarray(np.broadcast_to(took, count.shape))

    once, filling = launch(n, False), launch(tokens, True)
    shown = 0.0 if how.overlap else 1.0
    least = None
    if how.overlap or once.any() or filling.any():
        decoding = base + per_seq + np.interp(n, tokens, per_token) + once
        least = Floor(decoding, base + per_token + filling, per_seq)
    return replace(
        device,
        overhead=base * shown,
        tokens=device.tokens + per_token * shown,
        seqs=device.seqs + per_seq * shown,
        floor=least,
    )


def _attention(schedule: Schedule, name: str, priced: Priced, idle: Floats) -> Iterator[Attention]:
    """Slopes of the attention of one window class; prices are linear in pairs and context.

    A decoding sequence has one query, so its pairs are its context: compute and memory are two
    lines through the origin and the steeper one is the price.  Sections that see the context but
    no pairs (latents expanded for prompts) come beside the attention, not under it.
    """
    # Six steps in one walk: a prompt and a decoding sequence; bare, with pairs, with context.
    prompt = np.repeat([1.0, 0.0], 3)
    pairs, context = np.tile(np.eye(3)[1:], 2) * UNIT

    def alone(where: Floats) -> Features:
        more = {f"pairs:{name}": pairs * where, f"context:{name}": context * where}
        return {**nothing(schedule), "seqs": where, **more}

    rows = [np.broadcast_to(p, prompt.shape) for p in priced(alone(prompt), alone(1.0 - prompt))]
    slopes = [np.delete(r - np.repeat(r[::3], 3), [0, 3]) / UNIT for r in rows]
    attends = [f"pairs:{name}" in s.matrix.symbols for s in schedule.sections]
    for chosen in (True, False):
        pair, read, compute, stream = (
            sum(float(x) for x, a in zip(row, attends, strict=True) if a is chosen)
            for row in np.array(slopes).T
        )
        if chosen or read or stream:
            slope = (max(compute, stream) * idle)[None, :]
            slope[:, 0] = 0.0
            yield Attention(schedule.windows[name], pair, read, np.zeros_like(slope), slope)


def stages(
    schedule: Schedule, machine: Machine, cal: Calibration, mesh: dict[str, Any], env: Env
) -> Any:
    """Seconds to hand activations from stage to stage of a pipeline."""
    pp = np.asarray(mesh["pp"])
    if np.all(pp <= 1):
        return 0.0
    tp, dp = np.asarray(mesh["tp"]), np.asarray(mesh["dp"])
    nbytes = schedule.width(env) * env["tokens"] / tp
    return hand_over(machine, nbytes, pp, tp * dp, cal["link"], cal["collective"])
