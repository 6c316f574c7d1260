"""Execution styles: how sections overlap, what their latency is paid for, where bytes live.

Every style is priced by the same walk over the same Schedule.  They differ in six answers:

- **pipelined**: are the sections of a part one pipeline, which takes what its busiest resource
  takes (a spatial chip), or do they follow one another (all others)?
- **event**: what costs the calibration's ``launch`` seconds that nothing hides: a launched kernel,
  a placed part (a layer), or a reduction over the cores of a wafer, which also pays its hops;
- **regions**: does every layer keep cores of its own, so that a token is in one region at a time
  and a step never takes less than a full pipeline of regions (weights resident on a wafer)?
- **streams**: does every sequence start streams of its own in each placed part, so that the
  calibration's ``seq`` is paid part by part for all but the first, whose start is the launch's?
- **even**: are the stages of a pipeline over devices cut anywhere, so that each has the same work
  (what a compiler places ahead of time), or between layers?
- **spill**: may weights stay in the tier for what is cold and be streamed in every step, as many
  as do not fit, or all of them?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from maquette.compiler.schedule import Schedule, Section
from maquette.ir.patterns import Reduce, Scan, Value
from maquette.machines.facts import bandwidth
from maquette.machines.types import Machine, Style
from maquette.price.calibration import Calibration
from maquette.price.rates import narrow
from maquette.price.work import Env, Work, active, split

Event = Literal["kernel", "part", "reduction", "none"]
Spill = Literal["none", "some", "all"]


@dataclass(frozen=True)
class Execution:
    """What sets one execution style apart from another."""

    event: Event
    pipelined: bool = False
    regions: bool = False
    streams: bool = False
    even: bool = False
    spill: Spill = "none"


EXECUTIONS: Mapping[Style, Execution] = {
    "kernel": Execution(event="kernel"),
    "spatial": Execution(pipelined=True, event="part", streams=True, spill="some"),
    "wafer": Execution(event="reduction", regions=True, even=True, spill="all"),
    "in-memory": Execution(event="part", spill="some"),
    "deterministic": Execution(event="none", even=True),
}


def execution(machine: Machine) -> Execution:
    """How a machine runs sections.

    >>> from maquette.catalogue.machines import machine
    >>> execution(machine("sn40l")).pipelined, execution(machine("h100")).pipelined
    (True, False)
    """
    return EXECUTIONS[machine.style]


def cold_tier(machine: Machine) -> str | None:
    """The tier beside the main one that keeps what is cold, where the style streams from it."""
    if execution(machine).spill == "none":
        return None
    names = (n for n, t in machine.tiers.items() if "cold" in t.holds and n != machine.main)
    return next((n for n in names if machine.tiers[n].bandwidth is not None), None)


def regions(machine: Machine, cal: Calibration, env: Env) -> Any:
    """Into how many regions a device is cut: 1 but where layers keep cores of their own."""
    if not execution(machine).regions or cal.ideal:
        return 1.0
    return np.where(np.asarray(env.get("cold", 0.0)) > 0, 1.0, env.get("regions", 1.0))


def filled(env: Env, count: Any) -> Env:
    """Features of a step in which none of `count` regions is idle.

    Fewer tokens than regions leave some idle, which takes as long as if they were not: a token
    passes through all of them, in each at that region's share of the device.
    """
    if np.all(np.asarray(count) <= 1):
        return env
    return {
        **env,
        "tokens": np.maximum(env["tokens"], count),
        "seqs": np.maximum(env["seqs"], count),
    }


def waiting(phase: str, env: Env, count: Any) -> Any:
    """How much longer decode attention takes for regions that wait: at fewer sequences than those.

    1 where regions are full, and for prompts, which have more tokens than there are regions.
    """
    if phase != "decode" or np.all(np.asarray(count) <= 1):
        return 1.0
    seqs = np.maximum(np.asarray(env["decode.seqs"], dtype=float), 1.0)
    return np.maximum(seqs, count) / seqs


def stream_seconds(
    section: Section,
    work: Work,
    phase: str,
    machine: Machine,
    cal: Calibration,
    env: Env,
    count: Any,
) -> Any:
    """Seconds that the bytes of one part of a section take: of the tier that takes longest.

    Between kernels everything goes through the main tier.  Other styles keep activations on chip:
    the main tier gives weights (to each region's turn again) and the KV cache, the tier for what
    is cold the share ``env["cold"]`` of the weights.
    """
    reached = cal["kv"] if phase == "decode" else cal["memory"]
    main = float(bandwidth(machine)) * reached
    if machine.style == "kernel":
        return work.bytes(env) / main
    weights = _bytes(section, work.part, ("weight",), env)
    kept = _bytes(section, work.part, ("state", "index"), env)
    cold = np.asarray(env.get("cold", 0.0))
    near = (weights * (1 - cold) * count + kept) / main
    tier = cold_tier(machine)
    if tier is None or not np.any(cold > 0):
        return near
    return np.maximum(near, weights * cold / (float(bandwidth(machine, tier)) * cal["memory"]))


def _bytes(section: Section, part: str, roles: tuple[str, ...], env: Env) -> Any:
    return next((w.bytes(env) for w in split(section, roles) if w.part == part), 0.0)


def serial_seconds(
    section: Section, beside: int, machine: Machine, cal: Calibration, env: Env, count: Any
) -> Any:
    """Latency of one occurrence of a section that nothing hides; `beside` sections share a part."""
    event = execution(machine).event
    if event == "none" or cal.ideal:
        return 0.0
    if event == "kernel":
        return kernels(section, env) * cal["launch"] * active(section, env)
    if event == "part":  # told of every section alike
        return 0.0 if section.phase == "prefill" else cal["launch"] / max(beside, 1)
    return reductions(section) * (cal["launch"] + across(machine, count)) * active(section, env)


def kernels(section: Section, env: Env) -> Any:
    """Kernels a section launches: its own, and one that quantises what a narrow product reads."""
    quantised = env.get("quantised", 0.0)
    if section.kind not in ("product", "grouped") or not np.any(quantised):
        return section.launches
    held = narrow(section, env)
    return section.launches if held is None else section.launches + quantised * held


def host_seconds(schedule: Schedule, machine: Machine, cal: Calibration, seqs: Any) -> Any:
    """Seconds of a step that no section holds: the host's own, and what each of `seqs` adds.

    >>> from maquette.catalogue.engines import engine
    >>> from maquette.catalogue.machines import machine
    >>> from maquette.catalogue.models import model
    >>> from maquette.compiler.lower import lower
    >>> from maquette.models.decoder import program
    >>> from maquette.price.calibration import first_principles
    >>> layers = lower(program(model("llama-3.1-8b")), engine("vendor"))
    >>> cal = first_principles("sn40l", "vendor", "spatial")
    >>> bool(host_seconds(layers, machine("sn40l"), cal, 3) == cal["step"] + cal["seq"] * 32 * 2)
    True
    """
    if execution(machine).streams:
        return cal["step"] + cal["seq"] * schedule.layers * np.maximum(np.subtract(seqs, 1), 0)
    return cal["step"] + cal["seq"] * seqs


def across(machine: Machine, count: Any) -> Any:
    """Seconds from edge to edge of one of `count` square regions of a wafer: a hop per core.

    0 where the machine states neither cores nor hops.
    """
    if machine.compute.units is None or "hop" not in machine.serial:
        return 0.0
    cores = float(machine.compute.units.value)
    return np.sqrt(cores / np.asarray(count)) * float(machine.serial["hop"].value)


@lru_cache(maxsize=4096)
def reductions(section: Section) -> int:
    """The longest chain of reductions in a section, each of which waits for the one before."""
    depth: dict[Value, int] = {}
    for value in section.stages:
        before = max((depth.get(o, 0) for o in value.operands), default=0)
        depth[value] = before + isinstance(value, Reduce | Scan)
    return max(depth.values(), default=0)
