"""Names of systems, plans and formats as people say them; documents keep those that parse."""

from __future__ import annotations

from collections.abc import Iterable

from maquette.machines.types import System
from maquette.plans.types import Mesh, Plan, Precision


def devices(system: System) -> str:
    """A system in words.

    >>> from maquette.catalogue.machines import system
    >>> devices(system("mi300xx8")), devices(system("h100"))
    ('8 × mi300x', 'h100-sxm')
    """
    return f"{system.devices} × {system.machine.name}" if system.devices > 1 else system.name


def occupied(plan: Plan, system: System) -> str:
    """The devices of a system that a plan takes: ``4 of 8 × h100-sxm``."""
    part = f"{plan.devices} of " if plan.devices < system.devices else ""
    return part + devices(system)


def spoken(text: str, systems: Iterable[System]) -> str:
    """A sentence with its systems' names as people say them."""
    for system in sorted(systems, key=lambda s: -len(s.name)):
        text = text.replace(system.name, devices(system)) if system.devices > 1 else text
    return text


def resource(name: str, system: System) -> str:
    """A resource as people say it: what nothing hides is launched only where kernels are.

    >>> from maquette.catalogue.machines import system
    >>> resource("launch", system("h100")), resource("launch", system("cs-3"))
    ('launch', 'serial')
    """
    return "serial" if name == "launch" and system.machine.style != "kernel" else name


def formats(precision: Precision) -> str:
    """One format where all roles share it: ``bf16``, else ``w:fp8 a:fp8 kv:bf16``."""
    roles = {precision.weights, precision.activations, precision.kv}
    return precision.weights if len(roles) == 1 else str(precision)


def parallel(plan: Plan) -> str:
    """A plan's meshes and their replicas in words: ``tp4 × 2 + pp2 prefill``."""
    text = _times(plan.mesh, plan.replicas)
    if plan.prefill_mesh is not None:
        text += f" + {_times(plan.prefill_mesh, plan.prefill_replicas)} prefill"
    if plan.regions is not None:
        text += f", {plan.regions} regions"
    return text + (f", {plan.cold:.0%} of the weights streamed" if plan.cold else "")


def _times(mesh: Mesh, replicas: int) -> str:
    return f"{mesh} × {replicas}" if replicas > 1 else str(mesh)
