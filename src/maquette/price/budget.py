"""How an engine divides the memory of a device: the share it takes, and what the cache gets."""

from __future__ import annotations

from dataclasses import dataclass

from maquette.plans.engine import Engine
from maquette.plans.types import Plan
from maquette.price.captured import largest

SHARE = 0.90  # of an engine that has no rule and a policy that names no share


@dataclass(frozen=True)
class Division:
    """Bytes of one device: what weights, steps, reserve and cache may fill, and what is left."""

    share: float
    usable: float
    left: float  # for the KV cache and states; below 0 by what is short
    rule: str  # in words


def divided(
    engine: Engine, plan: Plan, size: float, weights: float, activations: float, reserve: float
) -> Division:
    """The division of `size` bytes by the engine's rule (`plans.engine.Budget`).

    >>> from maquette.catalogue.engines import engine
    >>> divided(engine("tensorrt-llm"), Plan(), 80e9, 16e9, 2e9, 2e9).left
    54000000000.0
    """
    of = share(engine, plan, size)
    told = plan.policy.memory_utilisation is not None
    named = f"{of:.3g}" if told else f"{of:.3g}, by {engine.name}'s formula,"
    if engine.budget == "static":
        usable = of * (size - reserve)
        # Steps run in the rest; a step that needs more than that takes it from the cache.
        beyond = max(0.0, activations - (1 - of) * (size - reserve))
        rule = f"{named} of what the reserve leaves, less weights; steps run in the rest"
        return Division(of, usable, usable - weights - beyond, rule)
    if engine.budget == "free":
        free = size - reserve - weights - activations
        rule = f"{named} of what weights, activations and reserve leave"
        return Division(of, size - max(free, 0.0) * (1 - of), of * free if free > 0 else free, rule)
    rule = f"{named} of the device, less weights, activations and reserve"
    usable = of * size
    return Division(of, usable, usable - weights - activations - reserve, rule)


def share(engine: Engine, plan: Plan, size: float) -> float:
    """The share of memory that `Engine.budget` speaks of: as given, else the engine's own.

    >>> from maquette.catalogue.engines import engine
    >>> share(engine("sglang"), Plan(), 80 * 2**30)
    0.836
    """
    policy, rule = plan.policy, engine.headroom
    if policy.memory_utilisation is not None:
        return policy.memory_utilisation
    if rule is None:
        return SHARE
    mesh = plan.mesh
    kept = rule.base + rule.per_token * max(policy.max_batched_tokens, rule.tokens)
    kept += rule.per_captured * largest(engine, policy, mesh.tp * mesh.dp, size)
    kept += rule.per_device * mesh.devices
    if size > rule.above:
        kept = max(kept, float(rule.floor))
    return round(max(0.0, size - kept) / size, 3)
