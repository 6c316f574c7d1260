"""Why: what binds a plan, what more of each resource would buy, and what the next plan lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from maquette.compiler.schedule import Schedule
from maquette.machines.types import Fact, Machine, Style, System
from maquette.plans.engine import Engine
from maquette.plans.types import Plan
from maquette.price.besides import HOST, RESOURCE_OF, SERVER, besides
from maquette.price.calibration import OUTSIDE, Calibration
from maquette.price.environment import (
    batch_environment,
    mesh_environment,
    mesh_of,
    nothing,
    uniform,
)
from maquette.price.host import running
from maquette.price.rates import formats
from maquette.price.seconds import RESOURCES, Seconds, walk_seconds
from maquette.price.seconds import binding as bound
from maquette.search.assurance import knee
from maquette.search.bounds import Load
from maquette.search.contest import rivals
from maquette.search.evaluate import Setting, figures, missed, run
from maquette.search.forecast import doubts, forecast
from maquette.search.types import Candidate, Explanation, Gain, Outcome, Share
from maquette.traffic.describe import head, scale

EXPLAINING = 1000  # requests that what-ifs of the winner are run on
RISE = 1.10
LAUNCHING = ("launch", "step", "seq", "collective", "dispatch", "token")
LESS = {"host and launches": LAUNCHING, "server": OUTSIDE}  # constants that a boost divides
BOOSTS = ("memory bandwidth", "compute", "link bandwidth", "memory capacity", *LESS)


def sections(
    schedule: Schedule,
    machine: Machine,
    engine: Engine,
    plan: Plan,
    cal: Calibration,
    *,
    batch: float,
    new: float,
    context: float,
) -> tuple[tuple[Seconds, ...], Mapping[str, float]]:
    """Every section of one step of a lane, and what no section holds (`price.besides`).

    `batch` sequences have `new` tokens each, at `context`.
    """
    mesh, how = mesh_of(plan), running(engine, machine, [plan])
    env: dict[str, Any] = {
        **mesh_environment(schedule, mesh),
        **formats(machine, plan.precision, schedule),
    }
    shape, none = uniform(schedule, batch, new, context), nothing(schedule)
    shape["tokens"] = how.size(shape["tokens"])
    prefill, decode = (none, shape) if new == 1 else (shape, none)
    skew = plan.policy.expert_skew
    env |= batch_environment(schedule, mesh, prefill=prefill, decode=decode, skew=skew)
    found = walk_seconds(schedule, machine, cal, env)
    device = sum(float(s.total) for s in found)
    more = besides(schedule, machine, cal, plan, how, env, device, prefill is not none)
    return found, {name: float(seconds) for name, seconds in more.items()}


def shares(priced: tuple[Seconds, ...], more: Mapping[str, float]) -> tuple[Share, ...]:
    """Where a step's seconds go, largest first; what several parts have as one."""
    seconds: dict[str, np.ndarray[Any, Any]] = {}
    for s in priced:
        row = np.array([float(getattr(s, r)) for r in RESOURCES] + [float(s.total)])
        seconds[s.section.name] = seconds.get(s.section.name, 0.0) + row
    total = sum(float(row[-1]) for row in seconds.values()) + sum(more.values())
    found = [
        Share(
            name, bound(row[:-1].tolist(), float(row[-1])), float(row[-1]), float(row[-1]) / total
        )
        for name, row in seconds.items()
    ]
    found += [
        Share(name, RESOURCE_OF[name], took, took / total)
        for name, took in more.items()
        if took or name == HOST
    ]
    return tuple(sorted(found, key=lambda s: -s.seconds))


def binding(found: tuple[Share, ...], style: Style = "kernel") -> str:
    """The resource a step waits for most, in one sentence."""
    if any(s.section == SERVER for s in found):
        return (
            "a decode step lasts until its server has sent the tokens, whatever else it waits for"
        )
    by_resource: dict[str, float] = {}
    for s in found:
        by_resource[s.resource] = by_resource.get(s.resource, 0.0) + s.share
    name, share = max(by_resource.items(), key=lambda item: item[1])
    first = next(s for s in found if s.resource == name).section
    name = "serial latency" if name == "launch" and style != "kernel" else name
    return f"{100 * share:.0f} % of a decode step waits for {name}, most of it in {first!r}"


def boosted(candidate: Candidate, cal: Calibration, what: str) -> tuple[Candidate, Calibration]:
    """The same plan where one resource is 10 % better."""
    machine = candidate.system.machine
    if what in LESS:
        faster = {n: cal[n] / RISE for n in LESS[what]}
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


def explained(
    winner: Outcome,
    ranked: Sequence[Outcome],
    setting: Setting,
    asked: Load,
    seed: int,
    progress: Callable[[str, int, int], None],
) -> tuple[Outcome, Explanation]:
    """The winner with its intervals, and why it wins; what-ifs are run on `EXPLAINING` requests."""
    candidate, chosen = winner.candidate, winner.plan
    setting = replace(setting, requests=head(setting.requests, EXPLAINING))

    def step(batch: float, new: float, context: float) -> tuple[Share, ...]:
        cal, machine = setting.calibration, candidate.system.machine
        return shares(
            *sections(
                setting.schedule, machine, setting.engine, chosen, cal, batch=batch, new=new,
                context=context,
            )
        )  # fmt: skip

    progress("explaining", 0, 3)
    slope = knee(setting, candidate, run(setting, candidate))
    seen = forecast(
        lambda cal, sent: run(replace(setting, requests=sent), candidate, cal),
        slope,
        setting.calibration,
        setting.requests,
        _point(winner, setting.targets.percentile),
        setting.targets,
        seed=seed,
    )
    if winner.probability is None:
        winner = replace(winner, probability=seen.kept)
    winner = replace(winner, intervals=seen.intervals, overload=seen.overload)
    progress("explaining", 1, 3)
    prompt = float(asked.input.mean())
    decode = step(max(1.0, candidate.batch / chosen.mesh.lanes), 1.0, asked.held)
    prefill = step(1.0, min(prompt, chosen.policy.max_batched_tokens), prompt)
    bought = gains(setting, winner)
    progress("explaining", 2, 3)
    return winner, Explanation(
        decode=decode,
        prefill=prefill,
        binding=binding(decode, candidate.system.machine.style),
        gains=bought,
        runner_up=tuple(line for o in rivals(winner, ranked) for line in compare(winner, o)),
        saturation=saturation(setting, winner),
        doubts=doubts(slope, setting.calibration),
    )


def _point(outcome: Outcome, percentile: float) -> dict[str, float]:
    """`evaluate.figures` of an outcome."""
    m = outcome.metrics
    found = {f"{k}_s": float(getattr(m, k)[percentile]) for k in ("ttft", "tpot", "e2e")}
    return {**found, "output_tokens_per_s": m.output_tokens_per_s}


def gains(setting: Setting, outcome: Outcome) -> tuple[Gain, ...]:
    """What 10 % more of each resource does to the targeted latencies and the sustainable rate."""
    base = _aimed(setting, outcome.candidate, setting.calibration)
    found = []
    for what in BOOSTS:
        candidate, cal = boosted(outcome.candidate, setting.calibration, what)
        better = _aimed(setting, candidate, cal)
        change = {k: better[k] / base[k] - 1 if base[k] > 0 else 0.0 for k in base}
        found.append(Gain(what, change["ttft"], change["tpot"], change["rate"]))
    return tuple(sorted(found, key=lambda g: g.tpot + g.ttft - g.max_rate))


def _aimed(setting: Setting, candidate: Candidate, cal: Calibration) -> Mapping[str, float]:
    trace = run(setting, candidate, cal)
    reached = figures(trace, setting.targets.percentile)
    rate = float(trace.sustainable_per_s)
    return {"ttft": reached["ttft_s"], "tpot": reached["tpot_s"], "rate": rate}


def saturation(setting: Setting, outcome: Outcome, most: float = 8.0) -> float | None:
    """By what factor the rate can grow before the targets break, to 5 %, or the queue grows.

    The same requests are simulated that much faster.  A stretch of requests may pass at a rate
    that would not do for ever, so the answer is never above the fluid estimate of what is
    sustained.  None: a closed loop, or requests that all come at once, have no rate.
    """
    if not np.isfinite(outcome.metrics.load) or outcome.metrics.load <= 0:
        return None
    lasting = 1 / outcome.metrics.load
    if setting.targets.ttft is None and setting.targets.tpot is None:
        return lasting

    def holds(factor: float) -> bool:
        faster = replace(setting, requests=scale(setting.requests, factor=factor))
        return not missed(run(faster, outcome.candidate), setting.targets)

    low, high = 1.0, 1.25
    while high < most and low < lasting and holds(high):
        low, high = high, high * 1.25
    if high >= most:
        return min(most, lasting)
    while high / low > 1.05 and low < lasting:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return min(low, lasting)


def compare(winner: Outcome, other: Outcome) -> tuple[str, ...]:
    """Sentences on what sets the winner apart from another outcome."""
    a, b = winner.candidate, other.candidate
    part = f"{b.plan.devices} of " if b.plan.devices < b.system.devices else ""
    name = f"{b.plan.mesh} × {b.plan.replicas} on {part}{b.system.name}"
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
        f"its time per token (bound) is {b.tpot_s * 1e3:.3g} ms against {a.tpot_s * 1e3:.3g} ms "
        f"at {b.batch:.0f} and {a.batch:.0f} sequences per replica"
    )
    return tuple(lines)
