"""What a device must hold, and how many KV blocks are left; short by how much when it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.compile.schedule import Schedule
from maquette.machines.facts import capacity
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.plans.legality import staged
from maquette.plans.types import Infeasible, Plan
from maquette.price.environment import mesh_environment, mesh_of
from maquette.price.seconds import formats


@dataclass(frozen=True)
class Memory:
    """Bytes of one device of one replica, by use."""

    capacity: float
    usable: float
    weights: float
    activations: float
    reserve: float
    kv_per_token: float  # of the whole context kept, per device
    state_per_seq: float
    kv_tokens: float  # tokens of KV cache one replica can hold
    seqs: int  # sequences one replica can hold: the policy's, or as many states as fit

    @property
    def kv(self) -> float:
        return max(0.0, self.usable - self.weights - self.activations - self.reserve)


def memory(schedule: Schedule, machine: Machine, engine: Engine, plan: Plan) -> Memory:
    """The fullest device of a replica under a plan."""
    mesh = mesh_of(plan)
    env = {**mesh_environment(schedule, mesh), **formats(machine, plan.precision, schedule)}
    pp, dp = plan.mesh.pp, plan.mesh.dp
    layers = max(schedule.layers, 1)
    share = float(mesh.get("widest") or np.ceil(layers / pp)) / layers
    edges = float(schedule.edges(env))
    weights = (float(schedule.weights(env)) - edges) * share + edges / min(pp, 2)
    per_token = sum(float(s(env)) for s in schedule.kv_per_token.values()) * share
    state = float(schedule.state_per_seq(env)) * share
    usable = float(capacity(machine)) * plan.policy.memory_utilisation
    activations = activation_peak(schedule, env, plan)
    reserve = float(engine.reserve)
    left = usable - weights - activations - reserve
    seqs = plan.policy.max_seqs / dp
    if state:  # states may take all that is left, or half of it beside a KV cache
        seqs = max(0.0, min(seqs, left * (0.5 if per_token else 1.0) / state // 1))
    left -= state * seqs
    tokens = dp * left / per_token if per_token else np.inf
    return Memory(
        capacity=float(capacity(machine)),
        usable=usable,
        weights=weights,
        activations=activations,
        reserve=reserve,
        kv_per_token=per_token,
        state_per_seq=state,
        kv_tokens=float(tokens) if left > 0 else float(dp * left / max(per_token, 1.0)),
        seqs=int(seqs * dp),
    )


def activation_peak(schedule: Schedule, env: Mapping[str, Any], plan: Plan) -> float:
    """Bytes the widest section reads and writes of activations at the full token budget.

    Engines profile exactly this: one step of `max_batched_tokens`, and the logits of every
    sequence in single precision.
    """
    dp = plan.mesh.dp
    tokens = plan.policy.max_batched_tokens / dp
    seqs = plan.policy.max_seqs / dp
    values = {**env, "tokens": tokens, "seqs": seqs, "imbalance": 1.0}
    values |= {f"{k}:{n}": 0.0 for n in schedule.windows for k in ("pairs", "context")}
    if schedule.experts is not None:
        values["hit"] = float(schedule.experts[0]) / plan.mesh.ep
    widest = 0.0
    for section in schedule.sections:
        moved = [m for m in (*section.reads, *section.writes) if m.role == "activation"]
        widest = max(widest, sum(float(m.bytes(values)) for m in moved))
    logits = seqs * schedule.vocabulary * 4.0 / plan.mesh.tp
    return max(widest, logits) + float(schedule.width(values)) * tokens


def fits(schedule: Schedule, machine: Machine, engine: Engine, plan: Plan) -> Memory | Infeasible:
    """The memory of a plan, or what it is short of."""
    uneven = staged(plan, schedule.layers)
    if uneven is not None:
        return uneven
    held = memory(schedule, machine, engine, plan)
    need = held.weights + held.activations + held.reserve
    if need > held.usable:
        parts = (
            f"weights {held.weights / 1e9:.1f} GB + activations {held.activations / 1e9:.1f} GB + "
            f"reserve {held.reserve / 1e9:.1f} GB exceed the {held.usable / 1e9:.1f} GB usable "
            f"per device"
        )
        return Infeasible(parts, (need - held.usable) / 1e9, "GB per device")
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
