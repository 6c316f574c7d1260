"""What a device must hold, and how many KV blocks are left; short by how much when it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.machines.facts import capacity
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.plans.legality import staged
from maquette.plans.types import Infeasible, Plan
from maquette.price.budget import divided
from maquette.price.environment import mesh_environment, mesh_of
from maquette.price.rates import formats
from maquette.price.styles import cold_tier, execution

COLD_ROOM = 32_768  # tokens of KV cache beside weights that are streamed: a few sequences


@dataclass(frozen=True)
class Memory:
    """Bytes of one device of one replica, by use."""

    capacity: float
    usable: float
    weights: float  # beside those in the cold tier
    activations: float
    reserve: float
    kv_per_token: float  # of the whole context kept, per device
    state_per_seq: float
    window_per_seq: float  # of KV in layers with a window, where those are not per token
    kv_tokens: float  # tokens of KV cache one replica can hold
    seqs: int  # sequences one replica can hold: the policy's, or as many states as fit
    left: float  # for KV cache and states; below 0 by what is short
    rule: str  # how that was found, in words
    cold: float = 0.0  # bytes of weights in the cold tier

    @property
    def kv(self) -> float:
        return max(0.0, self.left)


def memory(schedule: Schedule, machine: Machine, engine: Engine, plan: Plan) -> Memory:
    """The fullest device of a replica under a plan.

    Sequences and tokens per step of the policy are those of each attention group, which engines
    run as a scheduler of its own.
    """
    mesh, dp = mesh_of(plan), plan.mesh.dp
    env = {**mesh_environment(schedule, mesh), **formats(machine, plan.precision, schedule)}
    layers = max(schedule.layers, 1)
    even = execution(machine).even
    widest = layers / plan.mesh.pp if even else np.ceil(layers / plan.mesh.pp)
    share = float(mesh.get("widest") or widest) / layers
    size, policy = float(capacity(machine)), plan.policy
    weights = _weights(schedule, env, share, even)
    cold = weights * (plan.cold or 0.0)
    weights -= cold
    activations = activation_peak(schedule, env, plan, engine)
    if machine.style == "spatial" and "activations" not in machine.tiers[machine.main].holds:
        activations = 0.0  # they stream through memory on chip, tile by tile
    if policy.activation_peak is not None:
        activations = float(policy.activation_peak)
    reserve = float(engine.reserve if policy.reserve is None else policy.reserve)
    division = divided(engine, plan, size, weights, activations, reserve)
    left = division.left
    per_token, window, state = _cached(schedule, engine, plan, env, share, left)
    seqs = float(policy.max_seqs)
    if state:  # states may take all that is left, or half of it beside a KV cache
        seqs = max(0.0, min(seqs, left * (0.5 if per_token else 1.0) / state // 1))
    left -= (state + window) * seqs
    tokens = dp * left / per_token if per_token else np.inf
    return Memory(
        capacity=size,
        usable=division.usable,
        weights=weights,
        activations=activations,
        reserve=reserve,
        kv_per_token=per_token,
        state_per_seq=state,
        window_per_seq=window,
        kv_tokens=float(tokens) if left > 0 else float(dp * left / max(per_token, 1.0)),
        seqs=int(seqs) * dp,
        left=division.left,
        rule=division.rule,
        cold=cold,
    )


def _weights(schedule: Schedule, env: Mapping[str, Any], share: float, even: bool) -> float:
    """Bytes of weights on the fullest stage: its share of the layers and what is at its end.

    A table that embedding and head share is on the first stage and on the last; `even` stages
    share everything.
    """
    if env["pp"] <= 1 or even:
        return float(schedule.weights(env)) / float(env["pp"])
    ends = max(float(schedule.first(env)), float(schedule.last(env)))
    return float(schedule.repeated(env)) * share + ends


def _cached(
    schedule: Schedule,
    engine: Engine,
    plan: Plan,
    env: Mapping[str, Any],
    share: float,
    left: float,
) -> tuple[float, float, float]:
    """Bytes on one device per token kept, per sequence for windows, per sequence for states.

    Layers that see a window need no more tokens than that of a sequence.  Engines that free the
    rest keep a window for every sequence where that leaves room for more tokens of the other
    layers; otherwise, and where no layer sees everything, all tokens count in every layer, which
    is never too little.
    """
    each = {n: float(s(env)) * share for n, s in schedule.kv_per_token.items()}
    state = float(schedule.state_per_seq(env)) * share
    bound = {n: w for n, w in schedule.windows.items() if w and n in each}
    whole = sum(each.values())
    full = whole - sum(each[n] for n in bound)
    window = sum(each[n] * (w + plan.policy.block_size) for n, w in bound.items())
    frees = engine.frees_windows and plan.mode == "colocated" and full > 0
    if frees and (left - window * plan.policy.max_seqs) / full > left / whole:
        return full, window, state
    return whole, 0.0, state


def activation_peak(
    schedule: Schedule, env: Mapping[str, Any], plan: Plan, engine: Engine
) -> float:
    """Bytes the widest section reads and writes of activations at the full token budget.

    Engines profile exactly this: one step of `max_batched_tokens`, or one pass of it, then sampling
    for every sequence, which takes `sampling` bytes for each word of the vocabulary on every
    device, or the sharded logits in single precision.
    """
    budget = plan.policy.max_batched_tokens
    tokens, seqs = float(min(budget, engine.pass_tokens or budget)), float(plan.policy.max_seqs)
    values = {**env, "tokens": tokens, "seqs": seqs, "imbalance": 1.0}
    values |= {f"{k}:{n}": 0.0 for n in schedule.windows for k in ("pairs", "context")}
    if schedule.experts is not None:
        values["hit"] = float(schedule.experts[0]) / plan.mesh.ep
    widest = 0.0
    for section in schedule.sections:
        moved = [m for m in (*section.reads, *section.writes) if m.role == "activation"]
        widest = max(widest, sum(float(m.bytes(values)) for m in moved))
    each = engine.sampling or 4.0 / plan.mesh.tp
    return max(widest, seqs * schedule.vocabulary * each) + float(schedule.width(values)) * tokens


def placed(schedule: Schedule, machine: Machine, engine: Engine, plan: Plan) -> Plan:
    """The plan with its share of cold weights decided: none where all stay, else what must go.

    Weights leave the main tier where the style streams them from the cold one, and only as many as
    make room for the activations and for `COLD_ROOM` tokens of KV cache; on a wafer all or none,
    since layers that are streamed take turns on the whole of it.
    """
    if plan.cold is not None:
        return plan
    whole = plan.but(cold=0.0)
    tier = cold_tier(machine)
    if tier is None or isinstance(fits(schedule, machine, engine, whole), Memory):
        return whole
    if execution(machine).spill == "all":
        return plan.but(cold=1.0)
    held = memory(schedule, machine, engine, whole)
    kept = held.kv_per_token * COLD_ROOM
    kept += (held.window_per_seq + held.state_per_seq) * plan.policy.max_seqs
    return plan.but(cold=min(1.0, max(0.0, (kept - held.left) / held.weights)))


def fits(schedule: Schedule, machine: Machine, engine: Engine, plan: Plan) -> Memory | Infeasible:
    """The memory of a plan, or what it is short of."""
    uneven = staged(plan, schedule.layers)
    if uneven is not None:
        return uneven
    held = memory(schedule, machine, engine, plan)
    if held.cold and (no := _cold(machine, held)) is not None:
        return no
    if held.left < 0:
        beside = (("activations", held.activations), ("reserve", held.reserve))
        parts = [("weights", held.weights), *(beside if engine.budget != "static" else ())]
        named = " + ".join(f"{name} {size / 1e9:.1f} GB" for name, size in parts)
        what = f"{named} exceed the {held.usable / 1e9:.1f} GB usable per device"
        return Infeasible(what, -held.left / 1e9, "GB per device")
    if held.seqs < 1:
        short = held.state_per_seq - held.kv
        return Infeasible(
            "no room for the recurrent state of a sequence", short / 1e9, "GB per device"
        )
    if held.kv_tokens < plan.policy.block_size:
        return Infeasible(
            "no room for a KV block after weights and activations",
            (plan.policy.block_size - held.kv_tokens) * held.kv_per_token / 1e9,
            "GB per device",
        )
    return held


def _cold(machine: Machine, held: Memory) -> Infeasible | None:
    """Why the cold weights cannot stay where the plan has them, or None."""
    tier = cold_tier(machine)
    if tier is None:
        return Infeasible(f"{machine.name} streams no weights from a tier beside {machine.main}")
    size = machine.tiers[tier].capacity
    if size is not None and held.cold > float(size.value):
        short = (held.cold - float(size.value)) / 1e9
        what = f"cold weights {held.cold / 1e9:.1f} GB exceed the {tier} of a device"
        return Infeasible(what, short, "GB per device")
    return None
