"""The one price: walk a Schedule and say what every section takes, and on what.

A section takes ``max(matrix, vector, memory) + launches + collectives``.  Its work is split by
what it depends on: tokens, sequences, or attention (prefill chunks and decoding sequences apart),
and the parts add up.  The split makes a step additive over its sequences, so mixed batches are
priced exactly; it can only overestimate a roofline that would overlap them.

With `IDEAL` in place of a calibration the same walk is the speed of light.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from maquette.compiler.schedule import Collective, Schedule, Section
from maquette.errors import Fault, InputError, NotYet
from maquette.ir.dtypes import dtype
from maquette.ir.sizes import Size
from maquette.machines.facts import bandwidth, capacity
from maquette.machines.types import Machine
from maquette.plans.types import Precision
from maquette.price.calibration import Calibration, first_principles
from maquette.price.network import collective

RESOURCES = ("matrix", "vector", "memory", "link", "launch")
IDEAL = replace(
    first_principles("ideal", "ideal"),
    values={
        "matrix": 1.0, "rows": 0.0, "memory": 1.0, "attention": 1.0, "kv": 1.0, "vector": 1.0,
        "launch": 0.0, "step": 0.0, "seq": 0.0, "link": 1.0, "collective": 0.0,
    },
    source="speed of light of the machine's stated peaks",
)  # fmt: skip

Part = str  # "tokens", "seqs", "prefill", "decode"
Env = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One part of a section: what depends on the same features."""

    part: Part
    matrix: Size
    vector: Size
    bytes: Size


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
        return max(RESOURCES, key=lambda r: float(np.max(getattr(self, r))))


@lru_cache(maxsize=4096)
def split(section: Section) -> tuple[Work, ...]:
    """A section's work by what it depends on."""
    columns = [_by_part(section, poly) for poly in (section.matrix, section.vector, section.bytes)]
    parts = sorted({p for column in columns for p in column})
    none = Size(())
    return tuple(Work(p, *(column.get(p, none) for column in columns)) for p in parts)


def _by_part(section: Section, poly: Size) -> dict[Part, Size]:
    found: dict[Part, list[Any]] = {}
    home = "tokens" if _has(section, "tokens") else "seqs" if _has(section, "seqs") else "tokens"
    for mono, coeff in poly.terms:
        names = {n.split(":")[0] for n, _ in mono}
        if names & {"pairs", "context"}:
            part = "attention"
        elif "seqs" in names:
            part = "seqs"
        else:
            part = "tokens" if names & {"tokens", "hit"} else home
        found.setdefault(part, []).append((mono, coeff))
    return {part: Size(tuple(terms)) for part, terms in found.items()}


def _has(section: Section, feature: str) -> bool:
    return any(feature in poly.symbols for poly in (section.matrix, section.vector, section.bytes))


def formats(machine: Machine, precision: Precision, schedule: Schedule) -> dict[str, Any]:
    """Bytes per element by role, and the matrix peak these formats compute at.

    A checkpoint that mixes formats is left as it is when its narrowest one is asked for; any
    other format is given to all weights that may be quantised.
    """
    held = {name: dtype(name).bytes for name in schedule.weight_formats}
    asked = dtype(precision.weights).bytes
    as_published = precision.weights == min(held, key=held.__getitem__, default="")
    weights = {f"w:{n}": each if as_published else asked for n, each in held.items()}
    return {
        **weights,
        "ub": 2.0,
        # Narrow activations exist inside products only: between kernels and on links engines keep
        # 16 bits, and quantise (read two bytes, write one) in front of each product.
        "ab": 2.0,
        "cb": dtype(precision.kv).bytes,
        "peak": matrix_peak(machine, precision.activations),
        "full_peak": matrix_peak(machine, "bf16"),
        "reach": reach(machine, precision.activations),
    }


def priceable(machine: Machine) -> None:
    """Raise NotYet for styles this version cannot price, InputError for facts it lacks."""
    if machine.style != "kernel":
        raise NotYet(
            Fault(
                machine.name,
                f"machines of style {machine.style!r} are described but not priced yet",
                "a machine run kernel by kernel (GPU, TPU, Gaudi, Trainium, CPU)",
                f"see its facts with: maquette show machine {machine.name}",
            )
        )
    capacity(machine), bandwidth(machine)  # each raises when it is not published
    if not machine.compute.matrix:
        raise InputError(Fault(machine.name, "states no matrix rate", "at least one format"))


def matrix_peak(machine: Machine, fmt: str) -> float:
    """Dense peak of products in a format, bf16 where the machine has no faster path; flop/s."""
    matrix = machine.compute.matrix
    for name in (fmt, {"bf16": "f16", "f16": "bf16"}.get(fmt, "bf16"), "bf16", "f16", "f32"):
        if name in matrix:
            return float(matrix[name].value)
    return float(max(fact.value for fact in matrix.values()))


def reach(machine: Machine, fmt: str) -> float:
    """How much less of its peak a large product in a format reaches than one in bf16.

    Calibrations are fractions of what bf16 products reach; where the ceilings of both formats were
    measured on a machine, their ratio carries the fraction over.  At most 1, and 1 where unknown.
    """
    ceiling, peak = machine.compute.ceiling, machine.compute.matrix
    if not {"bf16", fmt} <= set(ceiling) & set(peak):
        return 1.0
    own, full = (float(ceiling[f].value) / float(peak[f].value) for f in (fmt, "bf16"))
    return min(1.0, own / full)


def vector_peak(machine: Machine) -> float:
    """Peak of everything that is not a product; a sixteenth of the matrix peak where unstated."""
    if machine.compute.vector is not None:
        return float(machine.compute.vector.value)
    return matrix_peak(machine, "bf16") / 16


def section_seconds(
    section: Section, times: Any, machine: Machine, cal: Calibration, env: Env
) -> Seconds:
    """What one section takes under features and formats `env` (scalars or arrays)."""
    stream = float(bandwidth(machine))
    matrix: Any = 0.0
    vector: Any = 0.0
    memory: Any = 0.0
    busy: Any = 0.0
    active = _active(section, env)
    for work in split(section):
        for phase, values in phases(section, work.part, env):
            m = work.matrix(values) / _matrix_rate(section, work, cal, values)
            v = work.vector(values) / (vector_peak(machine) * cal["vector"])
            reached = cal["kv"] if phase == "decode" else cal["memory"]
            y = work.bytes(values) / (stream * reached) * active
            m, v = m * active, v * active
            matrix, vector, memory = matrix + m, vector + v, memory + y
            busy = busy + np.maximum(np.maximum(m, v), y)
    link = _link_seconds(section, machine, cal, env)
    launch = section.launches * cal["launch"] * active
    total = (busy + link + launch) * times
    return Seconds(
        section, matrix * times, vector * times, memory * times, link * times,
        launch * times, total,
    )  # fmt: skip


def _active(section: Section, env: Env) -> Any:
    """1 where a section runs, 0 where a step has no prompt for a section of prefill."""
    if section.phase != "prefill":
        return 1.0
    return np.where(np.asarray(env["prefill.seqs"]) > 0, 1.0, 0.0)


def phases(section: Section, part: Part, env: Env) -> list[tuple[str, Env]]:
    """Attention is evaluated for prefill chunks and for decoding sequences apart."""
    if section.phase == "prefill" and part != "attention":  # tokens are priced in the other form
        return [(part, {**env, "tokens": 0.0, "seqs": 0.0})]
    if part != "attention":
        return [(part, env)]
    found: list[tuple[str, Env]] = []
    for phase in (section.phase,) if section.phase else ("prefill", "decode"):
        prefix = phase + "."
        own = {k.removeprefix(prefix): v for k, v in env.items() if k.startswith(prefix)}
        found.append((phase, {**env, **own}))
    return found


def _matrix_rate(section: Section, work: Work, cal: Calibration, env: Env) -> Any:
    if section.kind == "attention":
        return env["full_peak"] * cal["attention"]
    ideal = cal["rows"] == 0.0
    peak = _product_peak(section, env, 1.0 if ideal else env["reach"])
    if not section.weights.terms or ideal or work.part == "attention":
        return peak * cal["matrix"]
    # Two flops for each weight and row: how often one read of the weights is used.
    rows = work.matrix(env) / np.maximum(2 * section.weights(env), 1e-9)
    rows = np.maximum(rows, 1e-9)
    return peak * cal["matrix"] * rows / (rows + cal["rows"])


def _product_peak(section: Section, env: Env, reached: float) -> Any:
    """The peak for the operands of a product: narrow only against weights held narrow.

    Scans, weights an engine leaves alone and those a checkpoint keeps in 16 bits compute in full.
    """
    held = [env[name] for name in section.bytes.symbols if name.startswith("w:")]
    if not held:
        return env["full_peak"]
    narrow = np.asarray(sum(held)) < 2.0 * len(held)
    return np.where(narrow, env["peak"] * reached, env["full_peak"])


def _link_seconds(section: Section, machine: Machine, cal: Calibration, env: Env) -> Any:
    total: Any = 0.0
    for c in section.collectives:
        n, nbytes = env["group:" + c.group], sent(c, env)
        total = total + collective(machine, c.kind, nbytes, n, cal["link"], cal["collective"])
    return total


def sent(c: Collective, env: Env) -> Any:
    """Bytes of a collective on one device; an exchange brings a token to a device only once."""
    return c.bytes(env) * (env["once"] if c.group == "exchange" else 1.0)


def walk_seconds(
    schedule: Schedule, machine: Machine, cal: Calibration, env: Env
) -> tuple[Seconds, ...]:
    """Every section of a step, in order.

    A step of a pipeline is one batch's turn while all stages are busy: what its longest stage
    takes, as often as there are stages.  ``env["pp_stretch"]`` is that over the layers' own time,
    and what the last stage does besides (the head) keeps the others waiting as well.
    """
    stretch = {n: env.get("pp_stretch", 1.0) for n in schedule.layered}
    stretch |= {n: env.get("pp", 1.0) for n in schedule.after}
    return tuple(
        section_seconds(s, schedule.times[s.part] * stretch.get(s.part, 1.0), machine, cal, env)
        for s in schedule.sections
    )
