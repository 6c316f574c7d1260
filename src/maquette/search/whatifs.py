"""What-ifs that change nothing: facts that were set and that no figure of an answer depends on.

Nobody lists which facts prices read.  Each that was set is moved far up and far down, and what
answers are made of is counted again: prices of replicas, memory, dollars and joules.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.catalogue import calibrations, engines
from maquette.compiler.lower import lower
from maquette.errors import InputError
from maquette.machines.checks import facts
from maquette.machines.doubts import scaled
from maquette.machines.types import Machine, System
from maquette.models.decoder import program
from maquette.plans.legality import PRECISIONS
from maquette.plans.types import Plan
from maquette.price.calibration import Calibration
from maquette.price.memory import fits
from maquette.search.deployment import Deployment
from maquette.search.plan import tried
from maquette.search.space import Option, space
from maquette.search.types import Question
from maquette.serve.energy import joules
from maquette.serve.simulate import simulate
from maquette.traffic.spec import generate, synthetic

FAR = (1e-6, 1e6)  # so that whatever reads a fact shows it, were it hidden behind another
Floats = NDArray[np.float64]


def idle(
    deployments: Iterable[Deployment],
    systems: Sequence[System],
    own: Sequence[Calibration] = (),
    energy: bool = True,
) -> list[str]:
    """A warning for every fact set on `systems` that none of the deployments depends on.

    `own` are calibrations that go before those that ship; `energy` is whether joules are told.
    """
    left = dict.fromkeys(path for s in systems for path in _set(s.machine))
    for d in deployments if left else ():
        try:
            known = _figures(d, own, energy)
        except InputError:  # it cannot be, with or without
            continue
        for path in [p for p in _set(d.system.machine) if p in left]:
            if any(_moved(known, _with(d, path, factor), own, energy) for factor in FAR):
                del left[path]
        if not left:
            break
    return [f"--set machine.{p} changes nothing: no figure here depends on it" for p in left]


def searched(question: Question) -> Iterator[Deployment]:
    """Of the deployments that a search prices those that read all that any of them reads."""
    model = program(question.model)
    for system, name, formats in tried(question):
        chosen = engines.engine(name)
        chosen = replace(chosen, policy=engines.policy(chosen, system.machine))
        schedule = lower(model, chosen)
        cal = calibrations.find(system.machine, name, question.calibrations)
        asked = tuple(PRECISIONS[f] for f in formats)
        found = space(model, schedule, system, chosen, asked, question.policy, question.wish)
        corners = _corners(found.options)
        for o in corners:
            yield Deployment(question.model, system, chosen, o.plan, schedule, cal, o.memory)
        for o in corners[:1]:
            for plan in _apart(o.plan, system.devices):
                yield Deployment(question.model, system, chosen, plan, schedule, cal, o.memory)


def _corners(options: Iterable[Option]) -> list[Option]:
    """Of options cut along the same axes the one of the fewest devices and the one of the most.

    Between them are no other links; the smallest of all comes first.
    """
    alike: dict[object, list[Option]] = {}
    for o in sorted(options, key=lambda o: o.plan.devices):
        mesh = o.plan.mesh
        cut = tuple(n > 1 for n in (mesh.tp, mesh.pp, mesh.dp, mesh.ep))
        alike.setdefault((o.plan.precision, cut), []).append(o)
    return [o for group in alike.values() for o in (*group[:1], *group[1:][-1:])]


def _apart(plan: Plan, devices: int) -> Iterator[Plan]:
    """The plan with replicas that prefill: with one, and with as many as there is room for."""
    for n in {1, devices // plan.mesh.devices - 1} - {0}:
        if plan.mesh.devices * (1 + n) <= devices:
            yield plan.but(mode="disaggregated", prefill_mesh=plan.mesh, prefill_replicas=n)


def _set(machine: Machine) -> list[str]:
    return [path for path, fact in facts(machine) if fact.source == "--set"]


def _with(d: Deployment, path: str, factor: float) -> Deployment:
    return replace(d, system=replace(d.system, machine=scaled(d.system.machine, path, factor)))


def _moved(known: Floats, d: Deployment, own: Sequence[Calibration], energy: bool) -> bool:
    try:
        return not np.array_equal(known, _figures(d, own, energy), equal_nan=True)
    except InputError:  # it no longer can be
        return True


def _figures(d: Deployment, own: Sequence[Calibration], energy: bool) -> Floats:
    """All numbers that an answer about a deployment is made of."""
    machine, fleet = d.system.machine, d.fleet()
    known = calibrations.find(machine, d.engine.name, own)
    held = fits(d.schedule, machine, d.engine, d.plan)
    found: list[Any] = [known.values, held, d.usd_per_hour, fleet.replicas[0], fleet.prefill]
    if energy:
        few = generate(synthetic(concurrency=1, input_tokens=8, output_tokens=4), 2)
        trace = simulate(few, fleet.replicas, d.plan.policy, disaggregation=fleet.prefill)
        found.append(joules(d.schedule, machine, d.plan, trace))
    return np.concatenate([np.ravel(x) for x in _numbers(found)])


def _numbers(value: Any) -> Iterator[Floats]:
    """Every number inside dataclasses, mappings and sequences."""
    if is_dataclass(value):
        yield from _numbers([getattr(value, f.name) for f in fields(value)])
    elif isinstance(value, Mapping):
        yield from _numbers(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, int | float | np.ndarray):
        yield np.asarray(value, dtype=float)
