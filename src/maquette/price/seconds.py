"""The one price: walk a Schedule and say what every section takes, and on what.

Sections that follow one another take ``max(matrix, vector, memory) + link + serial`` each.  Those
of a pipeline run at once: a part takes what the busiest resource takes over all of them, and each
section answers for its share of that.  Work is split by what it depends on: tokens, sequences, or
attention (prefill chunks and decoding sequences apart), and these add up.  The split makes a step
additive over its sequences, so mixed batches are priced exactly; it can only overestimate a
roofline that would overlap them.  How styles differ is in `price.styles`.

With `IDEAL` in place of a calibration the same walk is the speed of light.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np

from maquette.compiler.schedule import Collective, Schedule, Section
from maquette.errors import Fault, InputError
from maquette.machines.facts import bandwidth, capacity
from maquette.machines.types import Machine
from maquette.price.calibration import Calibration, first_principles
from maquette.price.launched import launched, looked_up
from maquette.price.network import collective, exchange
from maquette.price.rates import matrix_rate, vector_peak
from maquette.price.styles import (
    execution,
    filled,
    regions,
    serial_seconds,
    stream_seconds,
    waiting,
)
from maquette.price.work import Busy, Env, active, phases, split

RESOURCES = ("matrix", "vector", "memory", "link", "launch")  # launch: all serial latency
IDEAL = replace(
    first_principles("ideal", "ideal"),
    values={
        "matrix": 1.0, "rows": 0.0, "memory": 1.0, "attention": 1.0, "kv": 1.0, "vector": 1.0,
        "launch": 0.0, "step": 0.0, "seq": 0.0, "link": 1.0, "collective": 0.0,
        "draw": 0.0, "keys": 0.0, "grouped": 1.0, "dispatch": 0.0, "token": 0.0,
        "request": 0.0, "accept": 0.0, "stream": 0.0,
    },
    source="speed of light of the machine's stated peaks",
)  # fmt: skip


def binding(seconds: Sequence[float], total: float) -> str:
    """The resource that takes longest, of `seconds` in the order of RESOURCES.

    What takes longer than `total` is hidden behind other sections of a pipeline.

    >>> binding([3.0, 0.0, 2.0, 0.0, 1.0], 3.0), binding([3.0, 0.0, 2.0, 0.0, 1.0], 2.5)
    ('matrix', 'memory')
    """
    seen = [s if s <= total * (1 + 1e-9) else -1.0 for s in seconds]
    return RESOURCES[max(range(len(RESOURCES)), key=seen.__getitem__)]


@dataclass(frozen=True)
class Seconds:
    """Seconds of one section over all its occurrences, by resource; arrays broadcast."""

    section: Section
    matrix: Any
    vector: Any
    memory: Any
    link: Any
    launch: Any
    total: Any

    @property
    def bound(self) -> str:
        """The resource that takes longest (of a scalar price)."""
        return binding([float(np.max(getattr(self, r))) for r in RESOURCES], np.max(self.total))


def priceable(machine: Machine) -> None:
    """Raise InputError where a machine lacks facts without which nothing can be served on it."""
    capacity(machine), bandwidth(machine)  # each raises when it is not published
    if not machine.compute.matrix:
        raise InputError(Fault(machine.name, "states no matrix rate", "at least one format"))


def busy(section: Section, machine: Machine, cal: Calibration, env: Env) -> Iterator[Busy]:
    """The parts of a section under features and formats `env` (scalars or arrays)."""
    runs = active(section, env)
    if machine.style == "kernel":
        yield from (b.times(runs) for b in launched(section, machine, cal, env))
        return
    count = regions(machine, cal, env)
    env = filled(env, count)
    for work in split(section):
        for phase, values in phases(section, work.part, env):
            wait = waiting(phase, values, count)
            m = work.matrix(values) / matrix_rate(section, work, cal, values, count)
            v = work.vector(values) / (vector_peak(machine) * cal["vector"])
            y = stream_seconds(section, work, phase, machine, cal, values, count)
            yield Busy(work.part, phase, m, v, y).times(runs * wait)


def section_seconds(
    section: Section, times: Any, machine: Machine, cal: Calibration, env: Env, beside: int = 1
) -> Seconds:
    """What one section takes that nothing overlaps; `beside` sections share its part."""
    matrix: Any = 0.0
    vector: Any = 0.0
    memory: Any = 0.0
    total: Any = 0.0
    for b in busy(section, machine, cal, env):
        matrix, vector, memory = matrix + b.matrix, vector + b.vector, memory + b.memory
        total = total + b.longest
    link = _link_seconds(section, machine, cal, env)
    count = regions(machine, cal, env)
    launch = serial_seconds(section, beside, machine, cal, env, count)
    total = (total + link + launch) * times
    return Seconds(
        section, matrix * times, vector * times, memory * times, link * times,
        launch * times, total,
    )  # fmt: skip


def _link_seconds(
    section: Section, machine: Machine, cal: Calibration, env: Env, latency: bool = False
) -> Any:
    """Seconds of a section's collectives; only the latency of them, as if nothing were sent."""
    total: Any = 0.0
    for c in section.collectives:
        total = total + sending(c, machine, cal, env, latency)
    return total


def sending(
    c: Collective, machine: Machine, cal: Calibration, env: Env, latency: bool = False
) -> Any:
    """Seconds of one collective; only the latency of it, as if nothing were sent."""
    n, nbytes = env["group:" + c.group], 0.0 if latency else 1.0
    if c.group == "exchange" and machine.style == "kernel":
        sends, chosen = nbytes * c.bytes(env), env["chosen"]
        return exchange(machine, sends, n, chosen, cal["link"], cal["collective"])
    took = collective(machine, c.kind, nbytes * sent(c, env), n, cal["link"], cal["collective"])
    if cal.tables is None or latency:
        return took
    known = cal.tables.collective(c.kind, n, sent(c, env))
    return np.where(np.isnan(known), took, known)


def measured_seconds(schedule: Schedule, machine: Machine, cal: Calibration, env: Env) -> Any:
    """Of what a step takes, the seconds that were looked up and not modelled."""
    total: Any = 0.0
    if cal.tables is None or machine.style != "kernel":
        return total
    for section in schedule.sections:
        times = schedule.times[section.part] * active(section, env)
        for work in split(section):
            took = looked_up(section, work, cal, env)
            total = total + times * np.nan_to_num(0.0 if took is None else took)
        for c in (c for c in section.collectives if c.group != "exchange"):
            known = cal.tables.collective(c.kind, env["group:" + c.group], sent(c, env))
            total = total + times * np.nan_to_num(known)
    return total


def sent(c: Collective, env: Env) -> Any:
    """Bytes of a collective on one device; an exchange brings a token to a device only once."""
    return c.bytes(env) * (env["once"] if c.group == "exchange" else 1.0)


def pipeline_seconds(
    sections: Sequence[Section], times: Any, machine: Machine, cal: Calibration, env: Env
) -> Iterator[Seconds]:
    """What each section of one part answers for when all of them run at once.

    What binds is found for each kind of work apart, over all sections; bytes on links overlap with
    the work on tokens, latencies with nothing.
    """
    parts = [list(busy(s, machine, cal, env)) for s in sections]
    links = [_link_seconds(s, machine, cal, env) for s in sections]
    waits = [_link_seconds(s, machine, cal, env, latency=True) for s in sections]
    sums: dict[tuple[str, str], list[Any]] = {}
    for own, link, wait in zip(parts, links, waits, strict=True):
        for b in (*own, Busy("tokens", "tokens", 0.0, 0.0, 0.0)):
            row = sums.setdefault((b.part, b.phase), [0.0] * 4)
            row[:3] = (row[0] + b.matrix, row[1] + b.vector, row[2] + b.memory)
        sums["tokens", "tokens"][3] += link - wait
    beside = sum(s.phase != "prefill" for s in sections)
    count = regions(machine, cal, env)
    for section, own, link, wait in zip(sections, parts, links, waits, strict=True):
        launch = serial_seconds(section, beside, machine, cal, env, count) + wait
        matrix, vector, memory = (
            sum((getattr(b, r) for b in own), start=0.0) for r in ("matrix", "vector", "memory")
        )
        total = launch + _answered(sums["tokens", "tokens"], (0.0, 0.0, 0.0, link - wait))
        for b in own:
            mine = (b.matrix, b.vector, b.memory, 0.0)
            total = total + _answered(sums[b.part, b.phase], mine)
        yield Seconds(
            section, matrix * times, vector * times, memory * times, (link - wait) * times,
            launch * times, total * times,
        )  # fmt: skip


def _answered(sums: Sequence[Any], mine: Sequence[Any]) -> Any:
    """One section's seconds on the resource that takes longest over all sections."""
    longest = np.maximum.reduce(np.broadcast_arrays(*sums))
    found: Any = mine[-1]
    for total, own in zip(sums[-2::-1], mine[-2::-1], strict=True):
        found = np.where(np.asarray(total) >= longest, own, found)
    return found


def walk_seconds(
    schedule: Schedule, machine: Machine, cal: Calibration, env: Env
) -> tuple[Seconds, ...]:
    """Every section of a step, in order.

    A step of a pipeline of stages is one batch's turn while all stages are busy: what its longest
    stage takes, as often as there are stages.  ``env["pp_stretch"]`` is that over the layers' own
    time, and what the last stage does besides (the head) keeps the others waiting as well.  Even
    stages wait for none.
    """
    style = execution(machine)
    stretch: dict[str, Any] = {}
    if not style.even:
        stretch = {n: env.get("pp_stretch", 1.0) for n in schedule.layered}
        stretch |= {n: env.get("pp", 1.0) for n in schedule.after}
    found: list[Seconds] = []
    for part, group in groupby(schedule.sections, key=lambda s: s.part):
        sections, times = list(group), schedule.times[part] * stretch.get(part, 1.0)
        if style.pipelined:
            found.extend(pipeline_seconds(sections, times, machine, cal, env))
            continue
        beside = sum(s.phase != "prefill" for s in sections)
        found.extend(section_seconds(s, times, machine, cal, env, beside) for s in sections)
    return tuple(found)
