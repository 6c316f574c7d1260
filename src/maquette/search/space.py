"""The plan space: every mesh, precision and policy a system can carry, and why others cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from maquette.compiler.schedule import Schedule
from maquette.ir.graph import Program
from maquette.machines.types import System
from maquette.plans.engine import Engine
from maquette.plans.legality import adjusted, capturable, joined, legal, supported
from maquette.plans.types import Infeasible, Mesh, Plan, Policy, Precision
from maquette.price.memory import Memory, fits, placed
from maquette.price.replica import kv_blocks
from maquette.search.types import ANY, Wish

BUDGETS = (2048, 8192)  # small steps interrupt decoding less, large ones prefill faster


@dataclass(frozen=True)
class Option:
    """A plan of one replica that is legal and fits, with the memory it leaves."""

    plan: Plan
    memory: Memory

    @cached_property
    def longest(self) -> float:
        """Tokens of the longest sequence that a lane can hold."""
        blocks = kv_blocks(self.memory, self.plan)
        each = blocks // self.plan.mesh.lanes * self.plan.policy.block_size
        return float(each) if blocks else float("inf")

    def most(self, kept: float) -> float:
        """Sequences that a lane can hold when each keeps so many tokens."""
        each = self.memory.seqs / self.plan.mesh.lanes
        return max(1.0, min(each, self.longest / kept))


@dataclass(frozen=True)
class Space:
    """Everything one engine can do with one system."""

    system: System
    engine: Engine
    options: tuple[Option, ...]
    infeasible: Mapping[str, int]

    @property
    def enumerated(self) -> int:
        return len(self.options) + sum(self.infeasible.values())


def space(
    program: Program,
    schedule: Schedule,
    system: System,
    engine: Engine,
    precisions: tuple[Precision, ...],
    policy: Mapping[str, Any],
    wish: Wish = ANY,
) -> Space:
    """All one-replica plans of `system` under `engine` with a mesh as wished.

    `policy` holds what is said of the engine's policy: that is not varied.
    """
    options: list[Option] = []
    refused: Counter[str] = Counter()
    layers = max(schedule.layers, 1)
    base = adjusted(engine.policy, policy)
    capturable(engine, base)
    policies = _policies(base, vary="max_batched_tokens" not in policy)
    asked = [m for m in meshes(system.devices, program) if wish.allows(m)]
    for precision, mesh in product(precisions, asked):
        no = supported(system, engine, precision) or legal(program, layers, mesh)
        no = no or joined(system, mesh)
        for chosen in policies:
            plan = Plan(precision=precision, mesh=mesh, policy=chosen, engine=engine.name)
            plan = plan if no else placed(schedule, system.machine, engine, plan)
            found = no or fits(schedule, system.machine, engine, plan)
            if isinstance(found, Infeasible):
                refused[_kind(found)] += 1
            else:
                options.append(Option(plan, found))
    return Space(system, engine, tuple(options), dict(refused))


def meshes(devices: int, program: Program) -> Iterator[Mesh]:
    """Every mesh of at most `devices` devices that is worth a look.

    Sizes are powers of two and what divides the devices evenly; experts, where there are any, are
    whole on each device of a stage or cut over all of them.
    """
    sizes = [n for n in range(1, devices + 1) if n & (n - 1) == 0 or devices % n == 0]
    for tp, pp in product(sizes, sizes):
        if tp * pp > devices:
            continue
        yield Mesh(tp, pp)
        if program.experts is None:
            continue
        for dp in sizes:
            if tp * pp * dp > devices:
                continue
            if tp * dp > 1:  # experts whole on each device, over all devices of the stage
                yield Mesh(tp, pp, dp, tp * dp)
            if dp > 1:
                yield Mesh(tp, pp, dp, 1)


def room(system: System, mesh: Mesh) -> int:
    """How many replicas a system holds.  A stage that fits in a node is not spread over two."""
    stage, node = mesh.tp * mesh.dp, system.machine.node
    if stage > node:
        return system.devices // mesh.devices
    whole, rest = divmod(system.devices, node)
    return (whole * (node // stage) + rest // stage) // mesh.pp


def _policies(base: Policy, vary: bool) -> tuple[Policy, ...]:
    """The engine's own first."""
    if not vary or not base.chunked_prefill:
        return (base,)
    budgets = [base.max_batched_tokens, *BUDGETS]
    budgets = [b for b in dict.fromkeys(budgets) if b >= base.max_seqs]
    return tuple(replace(base, max_batched_tokens=b) for b in budgets)


def _kind(no: Infeasible) -> str:
    """The reason without its numbers, so that like refusals count together."""
    if no.reason.startswith("weights"):
        return "weights, activations and reserve exceed the device's memory"
    return no.reason
