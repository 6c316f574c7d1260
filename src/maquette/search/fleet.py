"""From a plan to what the clock runs: its replicas, and those that only prefill."""

from __future__ import annotations

from dataclasses import dataclass

from maquette.compiler.schedule import Schedule
from maquette.errors import Fault, InputError
from maquette.machines.facts import link
from maquette.machines.types import System
from maquette.plans.engine import Engine
from maquette.plans.types import Infeasible, Mesh, Plan
from maquette.price.calibration import Calibration
from maquette.price.memory import placed
from maquette.price.network import latency
from maquette.price.replica import replica
from maquette.price.step import Replica
from maquette.serve.types import Disaggregation
from maquette.units import BytesPerSecond, Seconds


@dataclass(frozen=True, eq=False)
class Fleet:
    """All replicas of a plan; when prefill has its own, `replicas` are those that decode."""

    replicas: tuple[Replica, ...]
    prefill: Disaggregation | None


def fleet(
    schedule: Schedule, system: System, engine: Engine, plan: Plan, cal: Calibration
) -> Fleet:
    """The replicas of `plan`, priced.  Raises InputError when it cannot be, with what is short."""
    decode = (one(schedule, system, engine, plan, cal),) * plan.replicas
    if plan.prefill_mesh is None:
        return Fleet(decode, None)
    mesh = plan.prefill_mesh
    way = link(system.machine, plan.devices)
    assert way is not None  # two meshes are two devices at least
    split = Disaggregation(
        prefill=(one(schedule, system, engine, plan, cal, mesh),) * plan.prefill_replicas,
        bandwidth=BytesPerSecond(float(way.bandwidth.value) * mesh.devices),
        latency=Seconds(latency(way, "scale_up")),
    )
    return Fleet(decode, split)


def one(
    schedule: Schedule,
    system: System,
    engine: Engine,
    plan: Plan,
    cal: Calibration,
    mesh: Mesh | None = None,
) -> Replica:
    """One replica, priced; of another mesh, with weights where they fit there, where given."""
    chosen = plan
    if mesh is not None:
        other = plan.but(mesh=mesh, stages=(), cold=None)
        chosen = placed(schedule, system.machine, engine, other)
    found = replica(schedule, system.machine, engine, chosen, cal)
    if isinstance(found, Infeasible):
        raise InputError(Fault(f"{system.name} {chosen.mesh}", f"cannot be: {found}"))
    return found
