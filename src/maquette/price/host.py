"""What a step takes beside the device: the host's own work, and launching what no graph replays.

The host launches kernels ahead of the device, so launching costs a step only what it takes beyond
the device: ``max(device, launching)``.  Its own work (choosing the batch, preparing inputs, reading
what was sampled) comes in between steps, or, where an engine overlaps it, beside the step as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.machines.facts import capacity
from maquette.machines.types import Machine
from maquette.plans.engine import Capture, Engine
from maquette.plans.types import Graphs, Plan
from maquette.price.calibration import Calibration
from maquette.price.captured import captured, largest
from maquette.price.skew import stretch
from maquette.price.styles import execution, host_seconds, kernels
from maquette.price.work import Env, active

BETWEEN = ("attention", "scan")  # kinds of sections that piecewise graphs leave out


@dataclass(frozen=True, eq=False)
class Running:
    """How steps are run: what is replayed, what overlaps, what waits.  Arrays stand for plans."""

    rule: Capture | None
    graphs: Graphs
    most: Any  # largest captured size
    overlap: bool
    stretch: Any  # device time over that of one rank alone

    def size(self, tokens: Any) -> Any:
        """The tokens that the kernels of a step of `tokens` tokens compute."""
        return tokens if self.rule is None else captured(self.rule, tokens, self.most)[0]


def running(engine: Engine, machine: Machine, plans: Sequence[Plan]) -> Running:
    """How an engine runs the steps of plans with like policies: scalars of one, columns of more."""
    policy = plans[0].policy
    size, kernels = float(capacity(machine)), execution(machine).event == "kernel"
    rule = engine.capture if kernels else None
    most = [largest(engine, p.policy, p.mesh.tp * p.mesh.dp, size) if rule else 0 for p in plans]
    devices = [p.mesh.devices for p in plans]
    one = len(plans) == 1
    return Running(
        rule=rule,
        graphs=policy.graphs if kernels else "full",
        most=most[0] if one else np.array(most)[:, None],
        overlap=policy.overlap,
        stretch=stretch(policy.jitter, devices[0] if one else np.array(devices)[:, None]),
    )


def launches(schedule: Schedule, env: Env) -> tuple[Any, Any]:
    """Launches of a step: of every kernel and collective; and of what piecewise graphs leave.

    That is what lies between the pieces, and the pieces.  Stages of a pipeline follow each other,
    as in `walk_seconds`.
    """
    every: Any = 0.0
    between: Any = 1.0
    for section in schedule.sections:
        times = schedule.times[section.part] * _stretch(schedule, section.part, env)
        each = kernels(section, env) + sum(env["group:" + c.group] > 1 for c in section.collectives)
        own = times * each * active(section, env)
        every = every + own
        if section.kind in BETWEEN:
            between = between + own + times * active(section, env)
    return every, between


def _stretch(schedule: Schedule, part: str, env: Env) -> Any:
    if part in schedule.layered:
        return env.get("pp_stretch", 1.0)
    return env.get("pp", 1.0) if part in schedule.after else 1.0


def launching(
    schedule: Schedule,
    machine: Machine,
    cal: Calibration,
    how: Running,
    env: Env,
    prefill: bool,
    bound: bool = False,
) -> Any:
    """Seconds the host takes to launch a step: every kernel, or what graphs leave of them.

    A `bound` never counts a decoding batch as larger than the largest captured size.
    """
    if execution(machine).event != "kernel" or cal.ideal:
        return 0.0
    if how.rule is None and how.graphs != "none":  # a compiled plan, launched as one
        return 0.0
    every, between = launches(schedule, env)
    replayed: Any = bound and not prefill
    if not replayed:
        replayed = captured(how.rule, env["tokens"], how.most)[1]
    of = {"none": every, "piecewise": between, "decode": every if prefill else 1.0,
          "full": between if prefill else 1.0}[how.graphs]  # fmt: skip
    return np.where(replayed, of, every) * cal["dispatch"]


def own(schedule: Schedule, machine: Machine, cal: Calibration, seqs: Any, tokens: Any) -> Any:
    """Seconds of the host's own work on a step."""
    return host_seconds(schedule, machine, cal, seqs) + cal["token"] * tokens


def sides(device: Any, work: Any, launch: Any, overlap: bool) -> tuple[Any, Any]:
    """The two of which a step takes the longer: what is seen of the device, and the host's floor.

    A host with `work` of its own and `launch` to launch takes both at least; its work also comes
    between the device's steps, unless it overlaps them.

    >>> sides(5.0, 1.0, 7.0, False), sides(5.0, 1.0, 7.0, True)
    ((6.0, 8.0), (5.0, 8.0))
    """
    return (device if overlap else work + device), work + launch


def beside(
    schedule: Schedule,
    machine: Machine,
    cal: Calibration,
    how: Running,
    env: Env,
    device: Any,
    prefill: bool,
    bound: bool = False,
) -> Any:
    """What waiting for ranks and the host add to a step of `device` seconds of a rank alone."""
    work = own(schedule, machine, cal, env["seqs"], env["tokens"])
    launch = launching(schedule, machine, cal, how, env, prefill, bound)
    return np.maximum(*sides(device * how.stretch, work, launch, how.overlap)) - device
