"""Why: what binds a plan, what more of each resource would buy, and what the next plan lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from maquette.compile.schedule import Schedule
from maquette.machines.types import Fact, Machine, System
from maquette.plans.types import Plan
from maquette.price.calibration import Calibration
from maquette.price.environment import (
    batch_environment,
    mesh_environment,
    mesh_of,
    nothing,
    uniform,
)
from maquette.price.seconds import RESOURCES, Seconds, formats, walk_seconds
from maquette.search.evaluate import Setting, run
from maquette.search.types import Candidate, Gain, Outcome, Share
from maquette.serve.metrics import latencies

RISE = 1.10
BOOSTS = ("memory bandwidth", "compute", "link bandwidth", "memory capacity", "host and launches")


def sections(
    schedule: Schedule,
    machine: Machine,
    plan: Plan,
    cal: Calibration,
    *,
    batch: float,
    new: float,
    context: float,
) -> tuple[Seconds, ...]:
    """Every section of one step of `batch` sequences with `new` tokens each at `context`."""
    mesh = mesh_of(plan)
    env: dict[str, Any] = {
        **mesh_environment(schedule, mesh),
        **formats(machine, plan.precision, schedule),
    }
    shape, none = uniform(schedule, batch, new, context), nothing(schedule)
    prefill, decode = (none, shape) if new == 1 else (shape, none)
    env |= batch_environment(schedule, mesh, prefill=prefill, decode=decode)
    return walk_seconds(schedule, machine, cal, env)


def shares(priced: tuple[Seconds, ...], cal: Calibration, seqs: float) -> tuple[Share, ...]:
    """Where a step's seconds go, largest first; sections that occur in several parts together."""
    seconds: dict[str, np.ndarray[Any, Any]] = {}
    for s in priced:
        row = np.array([float(getattr(s, r)) for r in RESOURCES] + [float(s.total)])
        seconds[s.section.name] = seconds.get(s.section.name, 0.0) + row
    host = cal["step"] + cal["seq"] * seqs
    total = sum(float(row[-1]) for row in seconds.values()) + host
    found = [
        Share(name, RESOURCES[int(np.argmax(row[:-1]))], float(row[-1]), float(row[-1]) / total)
        for name, row in seconds.items()
    ]
    found.append(Share("host", "host", host, host / total))
    return tuple(sorted(found, key=lambda s: -s.seconds))


def binding(found: tuple[Share, ...]) -> str:
    """The resource a step waits for most, in one sentence."""
    by_resource: dict[str, float] = {}
    for s in found:
        by_resource[s.resource] = by_resource.get(s.resource, 0.0) + s.share
    name, share = max(by_resource.items(), key=lambda item: item[1])
    first = next(s for s in found if s.resource == name)
    return f"{share:.0%} of a decode step waits for {name}, most of it in {first.section!r}"


def boosted(candidate: Candidate, cal: Calibration, what: str) -> tuple[Candidate, Calibration]:
    """The same plan where one resource is 10 % better."""
    machine = candidate.system.machine
    if what == "host and launches":
        faster = {n: cal[n] / RISE for n in ("launch", "step", "seq", "collective")}
        return candidate, replace(cal, values={**cal.values, **faster})
    changed = _more(machine, what)
    return replace(candidate, system=System(changed, candidate.system.devices)), cal


def _more(machine: Machine, what: str) -> Machine:
    main = machine.tiers[machine.main]
    if what == "memory bandwidth":
        tier = replace(main, bandwidth=_up(main.bandwidth))
        return replace(machine, tiers={**machine.tiers, machine.main: tier})
    if what == "memory capacity":
        tier = replace(main, capacity=_up(main.capacity), visible=_up(main.visible))
        return replace(machine, tiers={**machine.tiers, machine.main: tier})
    if what == "compute":
        compute = replace(
            machine.compute,
            matrix={k: _up(v) for k, v in machine.compute.matrix.items()},
            vector=_up(machine.compute.vector),
        )
        return replace(machine, compute=compute)
    links = {
        k: replace(v, bandwidth=_up(v.bandwidth), pair_bandwidth=_up(v.pair_bandwidth))
        for k, v in machine.links.items()
    }
    return replace(machine, links=links)


def _up(fact: Fact[Any] | None) -> Any:
    if fact is None:
        return None
    return Fact(fact.value * RISE, "what-if", f"{RISE - 1:.0%} more than: {fact.source}")


def gains(setting: Setting, outcome: Outcome) -> tuple[Gain, ...]:
    """What 10 % more of each resource does to the targeted latencies and the sustainable rate."""
    at = setting.targets.percentile
    base = _figures(setting, outcome.candidate, setting.calibration, at)
    found = []
    for what in BOOSTS:
        candidate, cal = boosted(outcome.candidate, setting.calibration, what)
        better = _figures(setting, candidate, cal, at)
        change = {k: better[k] / base[k] - 1 if base[k] else 0.0 for k in base}
        found.append(Gain(what, change["ttft"], change["tpot"], change["rate"]))
    return tuple(sorted(found, key=lambda g: g.tpot + g.ttft - g.max_rate))


def _figures(
    setting: Setting, candidate: Candidate, cal: Calibration, at: float
) -> Mapping[str, float]:
    trace = run(setting, candidate, cal)
    values = latencies(trace)
    return {
        "ttft": float(np.percentile(values["ttft"], at)),
        "tpot": float(np.percentile(values["tpot"], at)),
        "rate": float(trace.sustainable_per_s),
    }


def saturation(setting: Setting, outcome: Outcome, holds: Any, most: float = 8.0) -> float | None:
    """By what factor the rate can grow before the targets break, to 5 %.

    `holds(factor)` simulates the same requests that much faster.  None: a closed loop has no rate.
    """
    if setting.requests.concurrency:
        return None
    if setting.targets.ttft is None and setting.targets.tpot is None:
        return 1 / outcome.metrics.load  # nothing breaks before the queue grows for ever
    low, high = 1.0, 1.25
    while high < most and holds(high):
        low, high = high, high * 1.25
    if high >= most:
        return most
    while high / low > 1.05:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def compare(winner: Outcome, other: Outcome) -> tuple[str, ...]:
    """Sentences on what sets the winner apart from another outcome."""
    a, b = winner.candidate, other.candidate
    name = f"{b.plan.mesh} × {b.plan.replicas} on {b.system.name}"
    lines = []
    if not other.meets:
        lines.append(f"{name} misses: {'; '.join(other.misses)}")
    else:
        if np.isfinite(other.margin):
            margins = f"{other.margin:.2f}× against {winner.margin:.2f}×"
            lines.append(f"{name} keeps the targets with a margin of {margins}")
        theirs, ours = (o.metrics.tpot.mean * 1e3 for o in (other, winner))
        lines.append(f"its mean TPOT is {theirs:.3g} ms against {ours:.3g} ms")
    dearer = b.usd_per_hour / a.usd_per_hour - 1 if a.usd_per_hour else 0.0
    if np.isfinite(dearer) and abs(dearer) > 1e-9:
        lines.append(f"{name} costs {dearer:+.0%} ({b.usd_per_hour:.2f} $/h)")
    rate = b.max_rate / a.max_rate - 1
    lines.append(f"its sustainable rate (bound) is {rate:+.0%}: {b.max_rate:.3g} requests/s")
    lines.append(
        f"its decode step (bound) is {b.tpot_s * 1e3:.3g} ms against {a.tpot_s * 1e3:.3g} ms "
        f"at {b.batch:.0f} and {a.batch:.0f} sequences per replica"
    )
    return tuple(lines)
