"""Systems that host experts: their models timed, their tiers filled, as nodes for the clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from maquette.catalogue import calibrations, engines, machines, models
from maquette.catalogue.fleet_file import FleetFile, Where
from maquette.compiler.lower import lower
from maquette.compiler.schedule import Schedule
from maquette.errors import Fault, InputError
from maquette.ir.graph import Program
from maquette.machines.types import System
from maquette.models.decoder import program
from maquette.plans.engine import Engine
from maquette.plans.legality import PRECISIONS, joined, legal, supported
from maquette.plans.types import Infeasible, Mesh, Plan
from maquette.price.calibration import Calibration, unserved
from maquette.price.memory import memory
from maquette.price.replica import replica
from maquette.serve.composition.closed import Cliffs, cliffs
from maquette.serve.composition.tiers import Tiers, place, tiers
from maquette.serve.composition.timing import Priced, Stated, Timing
from maquette.serve.composition.types import Node, Swapping
from maquette.traffic.types import Requests


@dataclass(frozen=True)
class Hosted:
    """One system of a deployment: its tiers, what is set aside, and where its limits are."""

    system: System
    tiers: Tiers
    tp: int  # devices that an expert is sharded over
    groups: int  # of so many devices, each with an expert of its own
    reserve: float  # bytes of router and KV cache, of all groups
    cliffs: Cliffs  # of the largest expert it hosts
    basis: str  # what the times of its models are: priced, or stated
    source: str  # and where they are from


class Models:
    """The models of a fleet, each lowered once for every engine."""

    def __init__(self, fleet: FleetFile, own: Sequence[Calibration]) -> None:
        self.fleet = fleet
        self.precision = PRECISIONS[fleet.precision]
        self._own = own
        self._lowered: dict[tuple[str, str], tuple[Program, Schedule]] = {}
        self._priced: dict[tuple[Any, ...], Timing | Infeasible] = {}
        self._drawn: Callable[[Calibration], Calibration] = lambda cal: cal

    def of(self, fleet: FleetFile) -> Models:
        """The models of another fleet of the same precision, sharing what is known already."""
        other = copy(self)
        other.fleet = fleet
        return other

    def drawn(self, change: Callable[[Calibration], Calibration]) -> Models:
        """The same models under other calibrations."""
        other = copy(self)
        other._priced, other._drawn = {}, change
        return other

    def engine(self, where: Where, system: System) -> Engine:
        """What serves on a system: as it says, as the fleet says, or what does by default."""
        return engines.engine(where.engine or self.fleet.engine or engines.default(system.machine))

    def lowered(self, name: str, engine: Engine) -> tuple[Program, Schedule]:
        """A model as a program and as sections."""
        key = (name, engine.name)
        if key not in self._lowered:
            made = program(models.model(name))
            self._lowered[key] = made, lower(made, engine)
        return self._lowered[key]

    def stored(self, name: str, where: Where, system: System) -> tuple[int, float]:
        """Bytes of the weights, and of the KV cache per token, of all devices together."""
        engine = self.engine(where, system)
        plan = Plan(self.precision, engine=engine.name)
        found = memory(self.lowered(name, engine)[1], system.machine, engine, plan)
        return round(found.weights), found.kv_per_token

    def basis(self, where: Where, system: System) -> tuple[str, str]:
        """What the times of the models on a system are, and their sources."""
        used = {self.fleet.router.model, *(e.model for e in self.fleet.experts)}
        sources = list(dict.fromkeys(t.source for t in where.times.values()))
        said = ["stated"] * bool(sources)
        if used - where.times.keys():
            cal = self.calibration(where, system)
            said.append(f"priced: {cal.basis}")
            sources.append(cal.source)
        return ", ".join(said), "; ".join(sources)

    def calibration(self, where: Where, system: System) -> Calibration:
        """What prices the engine of a system."""
        found = calibrations.find(system.machine, self.engine(where, system).name, self._own)
        return self._drawn(found)

    def timing(self, name: str, where: Where, system: System, tp: int) -> Timing | Infeasible:
        """How long a model takes on `tp` devices of a system: as stated, else as priced."""
        engine = self.engine(where, system)
        if (known := where.times.get(name)) is not None:
            layers = max(self.lowered(name, engine)[1].layers, 1)
            return Stated(known.prefill, known.step, known.source, layers)
        key = (name, engine.name, where.on, where.set, tp)
        if key not in self._priced:
            self._priced[key] = self._price(name, engine, where, system, Mesh(tp=tp))
        return self._priced[key]

    def _price(
        self, name: str, engine: Engine, where: Where, system: System, mesh: Mesh
    ) -> Timing | Infeasible:
        machine, (made, schedule) = system.machine, self.lowered(name, engine)
        layers = max(schedule.layers, 1)
        no = (
            supported(system, engine, self.precision)
            or legal(made, layers, mesh)
            or joined(system, mesh)
        )
        if no is not None:
            return no
        plan = Plan(self.precision, mesh, engines.policy(engine, machine), engine=engine.name)
        cal = unserved(self.calibration(where, system).of(name))  # inside the node
        found = replica(schedule, machine, engine, plan, cal)
        return found if isinstance(found, Infeasible) else Priced(found, layers)


def hosted(
    made: Models, where: Where, requests: Requests, swapping: Swapping, routes: bool
) -> Hosted:
    """What a system offers to the fleet's experts.  Raises InputError."""
    system = machines.system(where.on, where.set)
    held = tiers(system, where.host)
    tp = where.tp or system.devices
    if not 1 <= tp <= system.devices or system.devices % tp:
        what = f"{tp} devices per expert on {system.devices}"
        raise InputError(Fault("tp", what, "a divisor of the system's devices"))
    groups = system.devices // tp
    if where.host.links is not None and where.host.links % groups:
        what = f"{where.host.links} links for {groups} groups of devices"
        raise InputError(Fault("host.links", what, "as many for each group"))
    largest = max(made.stored(name, where, system)[0] for name in _hosted_models(made.fleet, where))
    needs = _needs(made, where, system, requests, swapping, routes) * groups
    needs += made.stored(made.fleet.router.model, where, system)[0] if routes else 0
    reserve = needs if where.reserve is None else float(where.reserve)
    basis, source = made.basis(where, system)
    return Hosted(
        system=system,
        tiers=held,
        tp=tp,
        groups=groups,
        reserve=reserve,
        cliffs=cliffs(held.fast, held.cold, largest, reserve),
        basis=basis,
        source=source,
    )


def _hosted_models(fleet: FleetFile, where: Where) -> list[str]:
    """The models of the experts that a system hosts, each once."""
    chosen = {*fleet.members(where.experts)}
    return sorted({e.model for e in fleet.experts if chosen & {*e.names}})


def _needs(
    made: Models,
    where: Where,
    system: System,
    requests: Requests,
    swapping: Swapping,
    routes: bool,
) -> float:
    """Bytes of the KV cache of the longest batch."""
    tokens = int((requests.input_tokens + requests.output_tokens).max())
    routing = int(requests.input_tokens.max()) + made.fleet.router.output_tokens
    mine = _hosted_models(made.fleet, where)
    each = [made.stored(name, where, system)[1] * tokens for name in mine]
    if routes:
        each.append(made.stored(made.fleet.router.model, where, system)[1] * routing)
    return max(each) * swapping.max_batch


def nodes(
    made: Models,
    where: Where,
    on: Hosted,
    chances: Sequence[float],
    swapping: Swapping,
    routes: bool,
) -> list[Node] | Infeasible:
    """The groups of a system as nodes, the first one routing if the system does."""
    fleet = made.fleet
    names, chosen = fleet.names, set(fleet.members(where.experts))
    by_name = {name: e.model for e in fleet.experts for name in e.names}
    mine = {i: by_name[name] for i, name in enumerate(names) if name in chosen}
    used = {*mine.values(), fleet.router.model} if routes else {*mine.values()}
    timings: dict[str, Timing] = {}
    for name in sorted(used):
        timing = made.timing(name, where, on.system, on.tp)
        if isinstance(timing, Infeasible):
            return replace(timing, reason=f"{name}: {timing.reason}")
        if isinstance(timing, Priced) and swapping.max_batch > timing.max_seqs:
            what = f"{swapping.max_batch} sequences of {name}, whose engine runs {timing.max_seqs}"
            raise InputError(Fault("policy.max_batch", what, f"at most {timing.max_seqs}"))
        timings[name] = timing
    nbytes = {i: made.stored(model, where, on.system)[0] for i, model in mine.items()}
    share = replace(on.tiers, fast=on.tiers.fast / on.groups)
    found = place(nbytes, chances, share, on.reserve / on.groups, swapping)
    if isinstance(found, Infeasible):
        return found
    return [
        Node(
            name=on.system.name if on.groups == 1 else f"{on.system.name}/{group}",
            hosted={i: timings[model] for i, model in mine.items()},
            pinned=found.pinned,
            room=found.room,
            copy_rate=on.tiers.copy_rate / on.groups,
            router=timings[fleet.router.model] if routes and group == 0 else None,
            warm=found.warm,
        )
        for group in range(on.groups)
    ]
