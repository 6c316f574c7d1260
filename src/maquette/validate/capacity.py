"""KV capacities that engines logged at their start, beside what the memory of a plan says.

A row is one line of a log in a public issue: the device, what it had, the settings that divide its
memory, and the tokens of KV cache that were left.  Nothing is fitted to a row.  The rows that a
term of the model was worked out from are told apart by `use`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from maquette.compiler.lower import lower
from maquette.machines.types import Fact, Machine
from maquette.plans.legality import PRECISIONS
from maquette.plans.types import Mesh, Plan
from maquette.price.memory import memory
from maquette.units import Bytes
from maquette.validate.shelf import Shelf


@dataclass(frozen=True)
class Held:
    """One logged capacity and the settings it was logged under."""

    machine: str
    total_gib: float | None  # of the device as the log has it; None: the machine's own
    engine: str
    version: str
    model: str
    precision: str
    tp: int
    memory_utilisation: float | None
    max_batched_tokens: int
    max_seqs: int
    kv_tokens: int  # of one replica
    use: str
    evidence: str
    source: str


def held(path: str | Path) -> list[Held]:
    """The rows of a table of logged capacities."""
    with Path(path).open(newline="", encoding="utf-8") as stream:
        return [_held(row) for row in csv.DictReader(stream)]


def _held(row: dict[str, str]) -> Held:
    numbers = {n: int(row[n]) for n in ("tp", "max_batched_tokens", "max_seqs", "kv_tokens")}
    shares = {n: float(row[n]) if row[n] else None for n in ("total_gib", "memory_utilisation")}
    words = {n: v for n, v in row.items() if n not in numbers and n not in shares}
    return Held(**words, **numbers, **shares)  # type: ignore[arg-type]


def predicted(row: Held, shelf: Shelf) -> float:
    """Tokens of KV cache that one replica has by the engine's rule; 0 where it does not fit."""
    machine, engine = shelf.machines[row.machine], shelf.engines[row.engine]
    if row.total_gib is not None:
        machine = _with(machine, row.total_gib * 2**30)
    policy = replace(
        engine.policy, max_batched_tokens=row.max_batched_tokens, max_seqs=row.max_seqs,
        memory_utilisation=row.memory_utilisation,
    )  # fmt: skip
    plan = Plan(PRECISIONS[row.precision], Mesh(tp=row.tp), policy, engine=engine.name)
    schedule = lower(shelf.program(row.model), engine)
    return max(0.0, memory(schedule, machine, engine, plan).kv_tokens)


def _with(machine: Machine, size: float) -> Machine:
    tier = machine.tiers[machine.main]
    fact = Fact(Bytes(size), "measured", "the log")
    changed = replace(tier, capacity=fact, visible=fact)
    return replace(machine, tiers={**machine.tiers, machine.main: changed})
