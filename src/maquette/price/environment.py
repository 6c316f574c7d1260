"""The values behind a Schedule's symbols, for one plan or arrays of plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.plans.sharding import shards
from maquette.plans.types import Plan
from maquette.price.experts import imbalance, touched
from maquette.price.network import copies

Env = dict[str, Any]


def mesh_environment(schedule: Schedule, mesh: Mapping[str, Any]) -> Env:
    """Shard symbols, collective groups and stage unevenness of meshes ``tp, pp, dp, ep``.

    ``widest`` is the number of layers of the longest stage; without it stages are even.
    """
    env: Env = dict(shards(schedule.symbols, mesh))
    tp, pp, dp, ep = (np.asarray(mesh[k]) for k in ("tp", "pp", "dp", "ep"))
    env["group:tp"] = tp
    # With one attention group every device holds every token: experts leave partial sums.  With
    # several, tokens travel to the experts and back.
    env["group:ep"] = np.where(dp > 1, 1, ep)
    env["group:tp+ep"] = np.where(dp > 1, tp, np.maximum(tp, ep))
    env["group:exchange"] = np.where(dp > 1, tp * dp, 1)
    if schedule.experts is not None:  # a device gets a token once, however many experts it chose
        env["chosen"] = float(schedule.experts[1])
        env["once"] = copies(ep, schedule.experts[1]) / schedule.experts[1]
    layers = max(schedule.layers, 1)
    env["pp"] = pp * 1.0
    widest = np.asarray(mesh.get("widest", np.ceil(layers / pp)))
    env["pp_stretch"] = pp * widest / layers
    env["cold"] = mesh.get("cold", 0.0)
    asked = np.asarray(mesh.get("regions", 0))  # 0: every layer of a stage has its own
    env["regions"] = np.where(asked > 0, np.minimum(asked, layers / pp), layers / pp)
    return env


def mesh_of(plan: Plan) -> dict[str, Any]:
    """The numbers of a plan's mesh, of where its weights are, and of its stages where given."""
    mesh: dict[str, Any] = {
        "tp": plan.mesh.tp,
        "pp": plan.mesh.pp,
        "dp": plan.mesh.dp,
        "ep": plan.mesh.ep,
    }
    mesh |= {"cold": plan.cold or 0.0, "regions": plan.regions or 0}
    return mesh | ({"widest": max(plan.stages)} if plan.stages else {})


def batch_environment(
    schedule: Schedule,
    mesh: Mapping[str, Any],
    *,
    prefill: Mapping[str, Any],
    decode: Mapping[str, Any],
    skew: float = 0.0,
    mean: bool = False,
) -> Env:
    """Features of a step on the busiest device, which the others wait for; or of a mean one.

    `prefill` and `decode` hold ``tokens``, ``seqs`` and, for every window class of the schedule,
    ``pairs:NAME`` and ``context:NAME`` of one attention group: of the whole replica where `dp` is
    1.  Groups step together; the experts see the tokens of all, taken to be as many in each.
    """
    env: Env = {name: prefill[name] + decode[name] for name in ("tokens", "seqs")}
    for phase, features in (("prefill", prefill), ("decode", decode)):
        env |= {f"{phase}.{name}": value for name, value in features.items()}
    env["imbalance"] = 1.0
    if schedule.experts is not None:
        total = np.asarray(env["tokens"], dtype=float) * np.asarray(mesh["dp"], dtype=float)
        experts, chosen = schedule.experts
        ep = np.asarray(mesh["ep"])
        if not mean:
            env["imbalance"] = imbalance(total, experts, chosen, ep, skew)
        # A device with more tokens has more experts to read as well.
        busy = touched(total * env["imbalance"], experts, chosen, ep, skew)
        env["hit"] = np.maximum(busy, 1e-9)
    return env


def in_lane(batch: Any, mesh: Mapping[str, Any]) -> Any:
    """Sequences of the fullest lane when a replica runs `batch`: a lane for every pipeline stage
    of every attention group.

    >>> in_lane(9, {"dp": 4, "pp": 1}), in_lane(9, {"dp": 2, "pp": 4})
    (3.0, 2.0)
    """
    lanes = np.asarray(mesh["dp"]) * np.asarray(mesh["pp"])
    return _plain(np.ceil(np.asarray(batch, dtype=float) / lanes))


def uniform(schedule: Schedule, batch: Any, new: Any, context: Any) -> dict[str, Any]:
    """Features of `batch` sequences with `new` tokens each, `context` tokens after the step.

    Pairs are those a causal mask (and a window) leaves: each new token sees itself and what
    precedes it.

    >>> from types import SimpleNamespace
    >>> uniform(SimpleNamespace(windows={"t": 0}), 1, 4, 4)["pairs:t"]
    10.0
    """
    batch, new, context = (np.asarray(x, dtype=float) for x in (batch, new, context))
    features: dict[str, Any] = {"tokens": _plain(batch * new), "seqs": _plain(batch)}
    for name, window in schedule.windows.items():
        features[f"pairs:{name}"] = _plain(batch * causal_pairs(new, context, window))
        reach = np.minimum(context, window + new - 1) if window else context
        features[f"context:{name}"] = _plain(batch * reach)
    return features


def causal_pairs(new: Any, context: Any, window: int) -> Any:
    """Query-key pairs of `new` tokens ending at `context`, each seeing at most `window` keys."""
    past = context - new
    if not window:
        return new * past + new * (new + 1) / 2
    growing = np.clip(window - past, 0, new)  # tokens whose reach is still below the window
    return growing * past + growing * (growing + 1) / 2 + (new - growing) * window


def nothing(schedule: Schedule) -> dict[str, float]:
    """Features of no sequences at all."""
    features = {"tokens": 0.0, "seqs": 0.0}
    for name in schedule.windows:
        features[f"pairs:{name}"] = features[f"context:{name}"] = 0.0
    return features


def _plain(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value
