"""The plan space: every mesh, precision and policy a system can carry, and why others cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from maquette.compile.schedule import Schedule
from maquette.ir.graph import Program
from maquette.machines.types import System
from maquette.plans.engine import Engine
from maquette.plans.legality import legal, supported
from maquette.plans.types import Infeasible, Mesh, Plan, Policy, Precision
from maquette.price.memory import Memory, fits

BUDGETS = (2048, 8192)  # small steps interrupt decoding less, large ones prefill faster


@dataclass(frozen=True)
class Option:
    """A plan of one replica that is legal and fits, with the memory it leaves."""

    plan: Plan
    memory: Memory


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
    policy: Policy | None = None,
) -> Space:
    """All one-replica plans of `system` under `engine`; `policy` fixes what is not to be varied."""
    options: list[Option] = []
    refused: Counter[str] = Counter()
    layers = max(schedule.layers, 1)
    for precision, mesh in product(precisions, meshes(system.devices, program)):
        policies = _policies(policy or engine.policy, vary=policy is None)
        no = supported(system, engine, precision) or legal(program, layers, mesh)
        for chosen in policies:
            plan = Plan(precision=precision, mesh=mesh, policy=chosen, engine=engine.name)
            found = no or fits(schedule, system.machine, engine, plan)
            if isinstance(found, Infeasible):
                refused[_kind(found)] += 1
            else:
                options.append(Option(plan, found))
    return Space(system, engine, tuple(options), dict(refused))


def meshes(devices: int, program: Program) -> Iterator[Mesh]:
    """Every mesh of at most `devices` devices: powers of two, and experts where there are any."""
    sizes = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= devices]
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


def _policies(base: Policy, vary: bool) -> tuple[Policy, ...]:
    if not vary or not base.chunked_prefill:
        return (base,)
    budgets = sorted({base.max_batched_tokens, *BUDGETS})
    return tuple(replace(base, max_batched_tokens=b) for b in budgets)


def _kind(no: Infeasible) -> str:
    """The reason without its numbers, so that like refusals count together."""
    if no.reason.startswith("weights"):
        return "weights, activations and reserve exceed the device's memory"
    return no.reason
