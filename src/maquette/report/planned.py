"""`maquette plan` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from maquette.machines.types import System
from maquette.report.document import Document, milliseconds, plain, stamp
from maquette.report.listing import calibration_document
from maquette.report.measures import (
    bounds,
    energy,
    energy_keys,
    interval_keys,
    metric_keys,
    of_output,
    rates,
    served,
    target_keys,
)
from maquette.report.names import devices, formats, occupied, parallel, resource, spoken
from maquette.report.numbers import digits, dollars, percent, seconds
from maquette.report.tables import listing, pairs, table
from maquette.search.forecast import MATERIAL
from maquette.search.types import (
    Answer,
    Doubt,
    Explanation,
    FrontierPoint,
    Gain,
    Outcome,
    Question,
    Share,
)

LISTED = 12  # plans in a table
POINTS = 7  # of the frontier in a terminal


def document(answer: Answer) -> Document:
    """Everything `plan` knows."""
    question = answer.question
    others = [o for o in answer.outcomes if o is not answer.winner]
    at = question.targets.percentile
    return {
        **stamp("plan"),
        "model": question.model.name,
        "systems": [s.name for s in question.systems],
        "engines": _engines(answer),
        **target_keys(question.targets),
        "pinned": _pinned(question),
        "targets_assumed": question.assumed,
        "confidence": question.confidence,
        "traffic": question.requests.source,
        "traffic_notes": list(question.requests.notes),
        "requests": len(question.requests),
        "winner": outcome(answer.winner, at) if answer.winner else None,
        "runner_up": outcome(others[0], at) if others else None,
        "explanation": _explanation(answer.explanation) if answer.explanation else None,
        "measure_first": [
            {"constant": d.name, "meaning": d.meaning, "variance_share": d.share, "sd_of_log": d.sd}
            for d in answer.doubts
        ],
        "launch": dict(answer.launch),
        "frontier": [_point(p) for p in answer.frontier],
        "outcomes": [outcome(o, at) for o in answer.outcomes],
        "plans_enumerated": answer.enumerated,
        "plans_infeasible": plain(answer.infeasible),
        "plans_pruned": plain(answer.pruned),
        "plans_simulated": len(answer.outcomes),
        "interrupted": answer.interrupted,
        "calibrations": {k: calibration_document(c) for k, c in answer.calibrations.items()},
        "price_dates": dict(answer.price_dates),
        "seed": question.seed,
        "warnings": list(answer.warnings),
    }


def _pinned(question: Question) -> Document:
    """What of the mesh and the replicas the search was not free to choose."""
    asked = {k: getattr(question.wish, k) for k in ("tp", "pp", "dp", "ep")}
    return {k: n for k, n in (asked | {"replicas": question.replicas}).items() if n is not None}


def outcome(found: Outcome, percentile: float) -> Document:
    """One simulated plan."""
    return {
        "system": found.candidate.system.name,
        "plan": {**plain(found.plan), "summary": parallel(found.plan)},
        "devices": found.plan.devices,
        "usd_per_hour": found.candidate.usd_per_hour,
        "meets_targets": found.meets,
        "misses": list(found.misses),
        "probability_of_meeting_targets": found.probability,
        "overload_probability": found.overload,
        "usd_per_mtok_output": found.usd_per_mtok_output,
        "usd_per_mtok": found.usd_per_mtok,
        **energy_keys(found.joules_per_token),
        **metric_keys(found.metrics),
        **interval_keys(of_output(found.intervals), percentile),
        "bound_ttft_ms": milliseconds(found.candidate.ttft_s),
        "bound_tpot_ms": milliseconds(found.candidate.tpot_s),
        "bound_requests_per_s": found.candidate.max_rate,
    }


def _point(p: FrontierPoint) -> Document:
    return {
        "tokens_per_s_per_user": p.tokens_per_s_user,
        "usd_per_mtok_output": p.usd_per_mtok_output,
        "system": p.system,
        "plan": parallel(p.plan),
        "precision": str(p.plan.precision),
        "sequences_per_replica": p.batch,
    }


def _engines(answer: Answer) -> list[str]:
    """Those that were tried, whether asked for or by default."""
    return list(dict.fromkeys(k.rpartition("/")[2] for k in answer.calibrations))


def _explanation(found: Explanation) -> Document:
    return {
        "binding": found.binding,
        "decode": [_share(s) for s in found.decode],
        "prefill": [_share(s) for s in found.prefill],
        "gains_of_ten_percent": [
            {"resource": g.resource, "ttft_change": g.ttft, "tpot_change": g.tpot,
             "sustained_rate_change": g.max_rate}
            for g in found.gains
        ],
        "against_runner_up": list(found.runner_up),
        "rate_headroom_factor": found.saturation,
    }  # fmt: skip


def _share(s: Share) -> Document:
    return {"section": s.section, "bound": s.resource, "ms": milliseconds(s.seconds),
            "share": s.share}  # fmt: skip


def tables(answer: Answer) -> Iterator[RenderableType]:
    """What a person reads."""
    yield pairs("", asked(answer))
    yield ""
    if answer.winner is not None:
        yield pairs("The winner", best(answer, answer.winner))
    elif answer.outcomes:
        yield pairs("No plan keeps the targets; the nearest", best(answer, answer.outcomes[0]))
    else:
        yield nothing(answer)
    if answer.outcomes:
        yield ""
        yield plan_table(answer)
    if answer.frontier:
        yield ""
        yield frontier_table(answer)
    if answer.explanation is not None:
        yield ""
        yield from why(answer, answer.explanation)
    yield ""
    yield pairs("The search", search_lines(answer))
    if answer.launch:
        yield ""
        first = next(iter(answer.launch))
        yield listing("To start a replica", answer.launch[first])
        options = f"{first}-options"
        if options in answer.launch:
            yield ""
            yield listing(f"launch-{options}.yaml, which it reads", answer.launch[options])


def asked(answer: Answer) -> list[tuple[str, str]]:
    """The question."""
    q = answer.question
    aims = [f"{name} p{q.targets.percentile:g} {seconds(value)}"
            for name, value in (("TTFT", q.targets.ttft), ("TPOT", q.targets.tpot))
            if value is not None]  # fmt: skip
    pinned = "".join(f", {k} {n} only" for k, n in _pinned(q).items())
    return [
        ("model", q.model.name),
        (
            "on",
            ", ".join(map(devices, q.systems)) + f" with {', '.join(_engines(answer))}" + pinned,
        ),
        ("traffic", q.requests.source),
        ("targets", ", ".join(aims) + " (assumed: none were given)" * q.assumed),
    ]


def nothing(answer: Answer) -> str:
    """Why nothing was simulated, most frequent reason first."""
    reasons = sorted({**answer.infeasible, **answer.pruned}.items(), key=lambda r: -r[1])
    words = "; ".join(f"{reason} ({n:,} plans)" for reason, n in reasons[:5])
    return f"No plan is left to simulate: {words or 'none was enumerated'}."


def best(answer: Answer, found: Outcome) -> list[tuple[str, str]]:
    """The winner, or the nearest to one, in lines."""
    q, m, where = answer.question, found.metrics, found.candidate.system
    cost, date = "no price known", answer.price_dates.get(where.machine.name)
    if date is not None:
        cost = f"{dollars(found.usd_per_mtok_output)} per million output tokens, "
        cost += f"{dollars(found.candidate.usd_per_hour)} per hour (prices of {date})"
    rows = [
        ("plan", f"{parallel(found.plan)} on {occupied(found.plan, where)}, "
                 f"{formats(found.plan.precision)}, {found.plan.engine}, steps of "
                 f"{found.plan.policy.max_batched_tokens:,} tokens"),
        *[("missing", miss) for miss in found.misses],
        ("cost", cost),
        ("served", served(m)),
        ("output", rates(m, of_output(found.intervals))),
    ]  # fmt: skip
    for name, target in (("ttft", q.targets.ttft), ("tpot", q.targets.tpot)):
        value = getattr(m, name).percentiles.get(q.targets.percentile)
        label = f"{name.upper()} p{q.targets.percentile:g}"
        if value is None:
            continue
        aim = f", target {seconds(target)}" if target is not None else ""
        rows.append((label, seconds(value, bounds(found.intervals, f"{name}_s")) + aim))
    if found.probability is not None:
        sure = f"these requests keep the targets with a chance of {percent(found.probability, 0)}"
        if q.confidence is not None:
            sure += f" ({percent(q.confidence, 0)} was asked for)"
        if found.overload is not None and found.overload >= MATERIAL:
            sure += f", more is asked than can last with one of {percent(found.overload, 0)}"
        rows.append(("how sure", f"{sure}; [brackets] hold 80 %"))
    if answer.doubts:
        rows.append(("measure first", measure_first(answer.doubts)))
    rows.append(("energy", energy(found.joules_per_token)))
    if answer.explanation is not None:
        rows.append(("why", answer.explanation.binding))
        rows += headroom(answer, found)
    return rows


def measure_first(doubts: Sequence[Doubt], n: int = 2) -> str:
    """The constants whose uncertainty matters most: what knowing them would take away."""
    parts = [f"{d.name} ({d.meaning}), {percent(d.share, 0)}" for d in doubts[:n]]
    return "of what makes the sustained rate uncertain: " + "; ".join(parts)


def headroom(answer: Answer, found: Outcome) -> list[tuple[str, str]]:
    """How far the rate is from where the targets break."""
    factor = answer.explanation.saturation if answer.explanation else None
    if factor is None:
        return []
    asked = found.metrics.offered_per_s
    rate = f"{digits(factor)} times the rate, {digits(factor * asked)} requests/s"
    if factor < 1:
        return [("headroom", f"none: for longer than this, about {rate} can be served")]
    return [("headroom", f"the targets hold to about {rate}")]


def plan_table(answer: Answer) -> RenderableType:
    """The simulated plans."""
    at, (heads, rows) = answer.question.targets.percentile, plan_rows(answer)
    caption = (
        f"step: most tokens in one; TTFT, TPOT: p{at:g}, ✗ misses its target; "
        "tok/s: for one user, on average"
    )
    return table("Simulated plans, best first", heads, rows, caption=caption)


def plan_rows(answer: Answer) -> tuple[list[str], list[tuple[str, ...]]]:
    """Heads, and a row for each simulated plan; engine and formats only where they differ."""
    shown = answer.outcomes[:LISTED]
    columns = {
        "plan": [parallel(o.plan) for o in shown],
        **_varying(answer),
        ">step": [f"{o.plan.policy.max_batched_tokens:,}" for o in shown],
        ">$/h": [digits(o.candidate.usd_per_hour) for o in shown],
        ">$/Mtok": [digits(o.usd_per_mtok_output) for o in shown],
        ">TTFT": _reached(answer, "ttft"),
        ">TPOT": _reached(answer, "tpot"),
        ">tok/s": [digits(1 / o.metrics.tpot.mean) for o in shown],
    }
    if any(o.metrics.finished < o.metrics.requests for o in shown):
        columns[">served"] = [f"{o.metrics.finished:,}" for o in shown]
    return list(columns), list(zip(*columns.values(), strict=True))


def _varying(answer: Answer) -> dict[str, list[str]]:
    """Columns of what the plans take, those left out in which all would be the same."""
    shown = answer.outcomes[:LISTED]
    several = len(answer.question.systems) > 1
    machines = [f" × {o.candidate.system.machine.name}" if several else "" for o in shown]
    found = {
        "engine": [o.plan.engine for o in shown],
        "formats": [formats(o.plan.precision) for o in shown],
    }
    took = [f"{o.plan.devices}{m}" for o, m in zip(shown, machines, strict=True)]
    differing = {k: v for k, v in found.items() if len(set(v)) > 1}
    return {"devices" if several else ">devices": took, **differing}


def _reached(answer: Answer, name: str) -> list[str]:
    """A latency of each plan at the targets' percentile, marked where it is above its target."""
    target, at = getattr(answer.question.targets, name), answer.question.targets.percentile
    values = [getattr(o.metrics, name).percentiles.get(at) for o in answer.outcomes[:LISTED]]
    over = [None not in (v, target) and v > target for v in values]
    marks = [" ✗" if x else "  " * any(over) for x in over]
    return [seconds(v) + mark for v, mark in zip(values, marks, strict=True)]


FRONTIER_HEADS = (">tok/s", ">$/Mtok", "plan", "devices", "formats", ">in flight")


def frontier_table(answer: Answer) -> RenderableType:
    """A few points of the frontier, from the fastest for one to the cheapest for all."""
    n = len(answer.frontier)
    few = [answer.frontier[i] for i in sorted({round(k * (n - 1) / (POINTS - 1))
                                               for k in range(POINTS)})]  # fmt: skip
    caption = "tok/s: for one user; bounds: full batches of so many in flight, no request waits"
    rows = [_point_row(answer, p) for p in few]
    return table("Interactivity against cost", FRONTIER_HEADS, rows, caption=caption)


def _point_row(answer: Answer, p: FrontierPoint) -> tuple[str, ...]:
    machine = next(s.machine.name for s in answer.question.systems if s.name == p.system)
    return (
        digits(p.tokens_per_s_user),
        digits(p.usd_per_mtok_output),
        f"{p.plan.mesh}",
        f"{p.plan.mesh.devices} × {machine}",
        formats(p.plan.precision),
        f"{p.batch:,}",
    )


def why(answer: Answer, found: Explanation) -> Iterator[RenderableType]:
    """What binds, what more would buy, and the next best plan."""
    heads = ("decode step", ">time", ">share", "bound")
    assert answer.winner is not None
    shares = share_rows(found.decode, answer.winner.candidate.system)
    yield table("What a decode step waits for", heads, shares)
    yield ""
    heads = ("ten percent more", ">TTFT", ">TPOT", ">sustained rate")
    caption = f"{answer.question.targets.percentile:g}th percentiles of the same requests, which "
    caption += "also move by chance"
    yield table("What more would buy", heads, gain_rows(found.gains), caption=caption)
    if found.runner_up:
        yield ""
        yield pairs("Against the runner-up", [("", line) for line in rivals(answer, found)])


def rivals(answer: Answer, found: Explanation) -> list[str]:
    """What sets the next best plans apart, in sentences."""
    return [spoken(line, answer.question.systems) for line in found.runner_up]


def share_rows(found: Sequence[Share], system: System, n: int = 6) -> list[tuple[str, ...]]:
    """The largest shares of a step."""
    rows: list[tuple[str, ...]] = []
    for s in found[:n]:
        bound = resource(s.resource, system)
        rows.append((s.section, seconds(s.seconds), percent(s.share), bound))
    rest = sum(s.seconds for s in found[n:])
    if rest:
        rows.append(("the rest", seconds(rest), percent(sum(s.share for s in found[n:])), ""))
    return rows


def gain_rows(found: Sequence[Gain]) -> list[tuple[str, ...]]:
    """Changes by resource."""
    return [
        (g.resource, *(percent(x, signed=True) for x in (g.ttft, g.tpot, g.max_rate)))
        for g in found
    ]


def search_lines(answer: Answer) -> list[tuple[str, str]]:
    """How many plans there were and what became of them."""

    def reasons(counts: dict[str, int]) -> str:
        parts = [f"{n:,} {reason}" for reason, n in sorted(counts.items(), key=lambda r: -r[1])]
        return "; ".join(parts) or "none"

    cals = [f"{name}: {c.basis}; {c.source}" for name, c in answer.calibrations.items()]
    return [
        ("enumerated", f"{answer.enumerated:,} plans of a replica"),
        ("infeasible", reasons(dict(answer.infeasible))),
        ("ruled out", reasons(dict(answer.pruned))),
        ("simulated", f"{len(answer.outcomes)} plans" + " (interrupted)" * answer.interrupted),
        *(("priced by", line) for line in cals),
        ("seed", str(answer.question.seed)),
    ]
