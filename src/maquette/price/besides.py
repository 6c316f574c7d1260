"""What a step takes that no section of its program holds, by what is waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.machines.types import Machine
from maquette.plans.types import Plan
from maquette.price.calibration import Calibration
from maquette.price.environment import mesh_of
from maquette.price.host import Running, beside
from maquette.price.replica import stages
from maquette.price.work import Env

HANDOFF, WAITING, HOST = "to the next stage", "for the slowest rank", "host"
SERVER = "server"  # which sends tokens beside the step, where it takes longer
RESOURCE_OF: Mapping[str, str] = {HANDOFF: "link", WAITING: "link", HOST: HOST, SERVER: SERVER}


def besides(
    schedule: Schedule, machine: Machine, cal: Calibration, plan: Plan, how: Running, env: Env,
    device: Any, prefill: bool,
) -> dict[str, Any]:  # fmt: skip
    """Seconds beside the `device` seconds of all sections of a step of a lane, by name."""
    handed = stages(schedule, machine, cal, mesh_of(plan), env)
    device = device + handed
    added = beside(schedule, machine, cal, how, env, device, prefill)
    slowest = device * (how.stretch - 1.0)
    sending = cal["stream"] * plan.mesh.lanes * env["seqs"]
    late = np.maximum(sending - device - added, 0.0)
    return {HANDOFF: handed, WAITING: slowest, HOST: added - slowest, SERVER: late}
