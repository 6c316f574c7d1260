"""Where the time of a step goes: one decode step and one prefill of a deployment, in lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maquette.price.besides import HANDOFF, HOST, RESOURCE_OF, SERVER, besides
from maquette.price.calibration import Calibration
from maquette.price.environment import (
    batch_environment,
    in_lane,
    mesh_environment,
    mesh_of,
    nothing,
    uniform,
)
from maquette.price.host import Running, running
from maquette.price.interval import Estimate, estimate
from maquette.price.rates import formats
from maquette.price.replica import stages
from maquette.price.seconds import (
    IDEAL,
    RESOURCES,
    binding,
    measured_seconds,
    sending,
    sent,
    walk_seconds,
)
from maquette.price.work import Env
from maquette.search.deployment import Deployment
from maquette.search.sensitivity import Swing, step_figures, swings

BESIDE = (HOST, SERVER)  # lines whose bound is their name


@dataclass(frozen=True)
class Line:
    """Seconds of one section over a phase, by resource; `light` is what no machine can beat."""

    name: str
    times: int
    matrix: float
    vector: float
    memory: float
    link: float
    launch: float
    total: float
    light: float
    bound: str


@dataclass(frozen=True)
class Exchange:
    """One kind of collective: how often, over how many devices, how much, how long in all."""

    section: str
    kind: str
    devices: int
    times: int
    bytes: float
    seconds: float


@dataclass(frozen=True)
class Phase:
    """One decode step of a batch, or the prefill of one prompt in `steps` chunks."""

    name: str
    batch: int
    steps: int
    lines: tuple[Line, ...]  # in running order, what the host does last
    exchanges: tuple[Exchange, ...]
    seconds: Estimate
    light: float
    measured: float = 0.0  # of them looked up in tables of measured kernels

    @property
    def total(self) -> float:
        return self.seconds.point


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What `maquette explain` answers."""

    deployment: Deployment
    batch: int
    context: int
    decode: Phase
    prefill: Phase
    swings: tuple[Swing, ...] | None = None  # None: nobody asked for them

    @property
    def tokens_per_s(self) -> float:
        """Of one replica that only decodes this batch."""
        return self.batch / self.decode.total

    @property
    def usd_per_mtok_output(self) -> float | None:
        """Dollars per million tokens decoded at this batch, prefill not counted."""
        hourly, n = self.deployment.usd_per_hour, self.deployment.plan.replicas
        return None if hourly is None else hourly / n / (self.tokens_per_s * 3600) * 1e6

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        held, room = self.batch * self.context, self.deployment.memory.kv_tokens
        found = []
        if held > room:
            found.append(
                f"the batch keeps {held:,} tokens and the KV cache has room for {room:,.0f}"
            )
        limit = self.deployment.plan.policy.max_seqs * self.deployment.plan.mesh.dp
        if self.batch > limit:
            found.append(f"the batch is larger than the {limit} sequences the engine runs at once")
        longest = self.deployment.model.context
        if longest and self.context > longest:
            found.append(
                f"the context is longer than the {longest:,} tokens the model was made for"
            )
        return tuple(found)


def anatomy(deployment: Deployment, batch: int, context: int, sensitivity: bool = False) -> Anatomy:
    """A decode step of `batch` sequences at `context` tokens each, and the prefill of one prompt
    of `context` tokens, in as many chunks as the token budget makes of it."""
    budget = deployment.plan.policy.max_batched_tokens
    ends = np.append(np.arange(budget, context, budget), context)
    chunks = Shapes(np.ones(len(ends)), np.diff(ends, prepend=0), ends)
    step = Shapes(np.array([batch]), np.ones(1), np.array([context]))
    return Anatomy(
        deployment,
        batch,
        context,
        _phase("decode", deployment, step),
        _phase("prefill", deployment, chunks),
        swings(deployment, step_figures(batch, context)) if sensitivity else None,
    )


class Shapes(NamedTuple):
    """Steps, an element each: sequences, new tokens of each, context after them."""

    seqs: NDArray[Any]
    new: NDArray[Any]
    context: NDArray[Any]

    def sum(self, values: Any) -> float:
        """A price over all steps, from one value for each or one that all share."""
        return float(np.broadcast_to(np.asarray(values, dtype=float), self.seqs.shape).sum())


def _phase(name: str, deployment: Deployment, shapes: Shapes) -> Phase:
    env, prefill = _environment(deployment, name, shapes), name == "prefill"

    def price(cal: Calibration) -> float:
        return sum(line.total for line in _lines(deployment, env, cal, shapes, prefill))

    lines = _lines(deployment, env, deployment.calibration, shapes, prefill)
    return Phase(
        name=name,
        batch=int(shapes.seqs[0]),
        steps=len(shapes.seqs),
        lines=lines,
        exchanges=_exchanges(deployment, env, shapes),
        seconds=estimate(price, deployment.calibration),
        light=sum(line.light for line in lines),
        measured=shapes.sum(
            measured_seconds(
                deployment.schedule, deployment.system.machine, deployment.calibration, env
            )
        ),
    )


def _environment(deployment: Deployment, phase: str, shapes: Shapes) -> Env:
    schedule, plan = deployment.schedule, deployment.plan
    mesh = mesh_of(plan)
    seqs = in_lane(shapes.seqs, mesh)
    features, none = uniform(schedule, seqs, shapes.new, shapes.context), nothing(schedule)
    features["tokens"] = _running(deployment).size(features["tokens"])
    prefill, decode = (none, features) if phase == "decode" else (features, none)
    env: dict[str, Any] = {
        **mesh_environment(schedule, mesh),
        **formats(deployment.system.machine, plan.precision, schedule),
    }
    skew = plan.policy.expert_skew
    return env | batch_environment(schedule, mesh, prefill=prefill, decode=decode, skew=skew)


def _running(deployment: Deployment) -> Running:
    return running(deployment.engine, deployment.system.machine, [deployment.plan])


def _lines(
    deployment: Deployment, env: Env, cal: Calibration, shapes: Shapes, prefill: bool
) -> tuple[Line, ...]:
    """Sections by name, summed over the parts they occur in and over the chunks."""
    schedule, machine = deployment.schedule, deployment.system.machine
    seconds: dict[str, list[float]] = {}
    times: dict[str, int] = {}
    real = walk_seconds(schedule, machine, cal, env)
    light = walk_seconds(schedule, machine, IDEAL, env)
    for r, ideal in zip(real, light, strict=True):
        row = [shapes.sum(x) for x in (*(getattr(r, k) for k in RESOURCES), r.total, ideal.total)]
        name = r.section.name
        seconds[name] = [a + b for a, b in zip(seconds.get(name, [0.0] * 7), row, strict=True)]
        times[name] = times.get(name, 0) + schedule.times[r.section.part]
    found = [_line(n, times[n], row) for n, row in seconds.items()]
    device = sum(r.total for r in real)
    return (*found, *_besides(deployment, env, cal, shapes, device, prefill))


def _line(name: str, times: int, row: Sequence[float]) -> Line:
    matrix, vector, memory, link, launch, total, light = row
    bound = binding(row[:-2], total)
    return Line(name, times, matrix, vector, memory, link, launch, total, light, bound)


def _besides(
    deployment: Deployment, env: Env, cal: Calibration, shapes: Shapes, device: Any, prefill: bool
) -> Iterator[Line]:
    """What no section holds; the host's line always, others where there is something."""
    schedule, machine, plan = deployment.schedule, deployment.system.machine, deployment.plan
    more = besides(schedule, machine, cal, plan, _running(deployment), env, device, prefill)
    for name, each in more.items():
        took, bound = shapes.sum(each), RESOURCE_OF[name]
        way, alone = (took, 0.0) if bound == "link" else (0.0, took)
        times, light = 1, 0.0
        if name == HANDOFF:
            times = plan.mesh.pp - 1
            light = shapes.sum(stages(schedule, machine, IDEAL, mesh_of(plan), env))
        if took or name == HOST:
            yield Line(name, times, 0.0, 0.0, 0.0, way, alone, took, light, bound)


def _exchanges(deployment: Deployment, env: Env, shapes: Shapes) -> tuple[Exchange, ...]:
    schedule, cal = deployment.schedule, deployment.calibration
    found: dict[tuple[str, str, int], list[float]] = {}
    for section in schedule.sections:
        times = schedule.times[section.part]
        for c in section.collectives:
            n, size = int(env["group:" + c.group]), sent(c, env)
            if n <= 1:
                continue
            took = sending(c, deployment.system.machine, cal, env)
            row = found.setdefault((section.name, c.kind, n), [0.0, 0.0, 0.0])
            row[0] += times * len(shapes.seqs)
            row[1] += times * shapes.sum(size)
            row[2] += times * shapes.sum(took)
    return tuple(
        Exchange(section, kind, n, int(times), size / times, took)
        for (section, kind, n), (times, size, took) in found.items()
    )
