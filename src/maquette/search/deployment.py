"""One deployment, as it was asked for: what is left open is filled in, what cannot be is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from maquette.compiler.lower import lower
from maquette.compiler.schedule import Schedule
from maquette.errors import Fault, InputError
from maquette.ir.graph import Program
from maquette.machines.types import System
from maquette.models.config import ModelConfig
from maquette.models.decoder import program
from maquette.plans.engine import Engine
from maquette.plans.legality import capturable, joined, legal, supported
from maquette.plans.types import Infeasible, Mesh, Mode, Plan, Policy, Precision
from maquette.price.calibration import Calibration
from maquette.price.memory import Memory, fits, placed
from maquette.price.step import Replica
from maquette.price.styles import execution
from maquette.search.fleet import Fleet, fleet, one
from maquette.search.space import meshes, room
from maquette.search.types import ANY, Wish

ROOM = 64 * 4096  # tokens: enough sequences to batch, of an ordinary length


@dataclass(frozen=True, eq=False)
class Deployment:
    """A model on a system under a plan, with what prices it."""

    model: ModelConfig
    system: System
    engine: Engine
    plan: Plan
    schedule: Schedule
    known: Calibration  # of the engine on the machine, whatever it runs
    memory: Memory  # of one device of a replica

    @cached_property
    def calibration(self) -> Calibration:
        """What is known, of this model."""
        return self.known.of(self.model.name)

    @property
    def usd_per_hour(self) -> float | None:
        """Of the devices in use; None when nobody says what they cost."""
        price = self.system.machine.price
        return None if price is None else self.plan.devices * float(price.per_hour.value)

    def replica(self, mesh: Mesh | None = None, cal: Calibration | None = None) -> Replica:
        """One replica, priced; of another mesh, or under another calibration, where given."""
        used = cal or self.calibration
        return one(self.schedule, self.system, self.engine, self.plan, used, mesh)

    def fleet(self, cal: Calibration | None = None) -> Fleet:
        """All replicas."""
        used = cal or self.calibration
        return fleet(self.schedule, self.system, self.engine, self.plan, used)


def deploy(
    model: ModelConfig,
    system: System,
    engine: Engine,
    calibration: Calibration,
    *,
    wish: Wish = ANY,
    precision: Precision,
    policy: Policy,
    replicas: int | None = None,
    prefill: Wish | None = None,
    prefill_replicas: int = 0,
    stages: tuple[int, ...] = (),
    cold: float | None = None,
    regions: int | None = None,
) -> Deployment:
    """The deployment asked for.

    `stages` are the layers of each pipeline stage; () is even.  An open mesh becomes the smallest
    with room for a KV cache (`ROOM`), open replicas as many as the system holds; engines that
    spread a replica take the largest instead.  `cold` and `regions` are those of `Plan`.

    Raises:
        InputError: no such mesh is legal and fits, with what is short; or devices are missing.
    """
    made, schedule = program(model), lower(program(model), engine)
    wish = replace(wish, pp=wish.pp or len(stages) or None)
    mode: Mode = "colocated" if prefill is None else "disaggregated"
    plan = Plan(
        precision, policy=policy, engine=engine.name, stages=stages, mode=mode, cold=cold,
        regions=regions,
    )  # fmt: skip
    _supported(system, engine, precision)
    capturable(engine, policy)
    spread = system.machine.style in engine.spread and prefill is None
    most = system.devices // (replicas or 1) if spread else None
    plan, held = _first(made, schedule, system, engine, plan, wish, most)
    _layout(system, plan, schedule.layers)
    mesh = plan.mesh
    if prefill is not None:
        apart = Wish(prefill.tp or mesh.tp, prefill.pp or mesh.pp, mesh.dp, mesh.ep)
        own, _ = _first(made, schedule, system, engine, plan.but(stages=()), apart)
        plan = plan.but(prefill_mesh=own.mesh, prefill_replicas=prefill_replicas)
    taken = plan.but(replicas=0).devices
    left = min((system.devices - taken) // mesh.devices, room(system, mesh))
    plan = plan.but(replicas=replicas or max(left, 1))
    if plan.devices > system.devices:
        need = f"{plan.devices} devices are needed and {system.name} has {system.devices}"
        hint = f"{plan.replicas} replicas of {mesh}" + (f" and {taken} to prefill" * bool(taken))
        raise InputError(Fault("", need, hint=hint))
    return Deployment(model, system, engine, plan, schedule, calibration, held)


def _supported(system: System, engine: Engine, precision: Precision) -> None:
    no = supported(system, engine, precision)
    if no is not None:
        raise InputError(Fault(f"{engine.name} on {system.name}", str(no)))


def _layout(system: System, plan: Plan, layers: int) -> None:
    """Raise InputError where stages or regions are asked for that the machine does not have."""
    if plan.stages and execution(system.machine).even:
        what = f"work is cut evenly over the stages of {system.machine.name}"
        raise InputError(Fault("stages", what, "--pp alone"))
    if plan.regions is None:
        return
    if not execution(system.machine).regions:
        what = f"{system.machine.name} is not cut into regions"
        raise InputError(Fault("regions", what, "a wafer"))
    if plan.cold:
        raise InputError(Fault("regions", "streamed layers take turns on the whole wafer"))
    if plan.regions > layers / plan.mesh.pp:
        what = f"{plan.regions} for {layers / plan.mesh.pp:g} layers of a wafer"
        raise InputError(Fault("regions", what, "at most one for each"))


def _first(
    made: Program,
    schedule: Schedule,
    system: System,
    engine: Engine,
    plan: Plan,
    wish: Wish,
    most: int | None = None,
) -> tuple[Plan, Memory]:
    """The plan on the smallest mesh as wished that is legal, fits and leaves `ROOM` for the cache.

    The largest of at most `most` devices where that is said.  Where none leaves that much, the one
    that leaves most; weights are left in the main tier if any mesh can hold them there.
    """
    refused: list[tuple[Mesh, Infeasible]] = []
    tight: list[tuple[Plan, Memory]] = []
    meshes_ = list(_candidates(made, system, wish))
    if most is not None:
        meshes_ = sorted((m for m in meshes_ if m.devices <= most), key=lambda m: -m.devices)
    for mesh in meshes_:
        here = placed(schedule, system.machine, engine, replace(plan, mesh=mesh))
        found = (
            legal(made, max(schedule.layers, 1), mesh)
            or joined(system, mesh)
            or fits(schedule, system.machine, engine, here)
        )
        if isinstance(found, Infeasible):
            refused.append((mesh, found))
        elif not found.cold and (most is not None or found.kv_tokens >= ROOM):
            return here, found
        else:
            tight.append((here, found))
    if tight:
        return max(tight, key=lambda t: (-(t[0].cold or 0.0), t[1].kv_tokens))
    if not refused:
        need = f"{wish.mesh} needs {wish.mesh.devices} devices and {system.name} has"
        raise InputError(Fault("", f"{need} {system.devices}"))
    short = [r for r in refused if r[1].unit.startswith("GB")]  # of the largest, where spread
    mesh, no = refused[-1] if most is None else (short or refused)[0]
    where = f"{made.name} as {mesh} in {plan.precision} on {system.name}"
    hint = "more devices, or fewer bits per weight" if no.unit.startswith("GB") else ""
    raise InputError(Fault(where, f"cannot be: {no}", hint=hint))


def _candidates(made: Program, system: System, wish: Wish) -> Iterator[Mesh]:
    known = {m for m in meshes(system.devices, made) if wish.allows(m)}
    if wish.mesh.devices <= system.devices:
        known.add(wish.mesh)
    yield from sorted(known, key=lambda m: (m.devices, m.pp, m.dp, m.ep))
