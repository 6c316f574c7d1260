"""`maquette plan` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType

from maquette.report.anatomy import parallel
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
from maquette.report.numbers import digits, dollars, percent, seconds
from maquette.report.tables import pairs, table
from maquette.search.types import Answer, Explanation, FrontierPoint, Gain, Outcome, Share

LISTED = 12  # plans in a table


def document(answer: Answer) -> Document:
    """Everything `plan` knows."""
    question = answer.question
    others = [o for o in answer.outcomes if o is not answer.winner]
    at = question.targets.percentile
    return {
        **stamp("plan"),
        "model": question.model.name,
        "systems": [s.name for s in question.systems],
        "engines": list(question.engines),
        **target_keys(question.targets),
        "targets_assumed": question.assumed,
        "traffic": question.requests.source,
        "traffic_notes": list(question.requests.notes),
        "requests": len(question.requests),
        "winner": outcome(answer.winner, at) if answer.winner else None,
        "runner_up": outcome(others[0], at) if others else None,
        "explanation": _explanation(answer.explanation) if answer.explanation else None,
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
    if answer.winner is None:
        yield "No plan keeps the targets." if answer.outcomes else nothing(answer)
    else:
        yield pairs("The winner", best(answer, answer.winner))
    if answer.outcomes:
        yield ""
        yield table("Simulated plans, best first", PLAN_HEADS, plan_rows(answer))
    if answer.explanation is not None:
        yield ""
        yield from why(answer.explanation)
    yield ""
    yield pairs("The search", search_lines(answer))
    if answer.launch:
        yield ""
        yield pairs("To start a replica", [("", t) for t in answer.launch.values()][:1])


def asked(answer: Answer) -> list[tuple[str, str]]:
    """The question."""
    q = answer.question
    aims = [f"{name} p{q.targets.percentile:g} {seconds(value)}"
            for name, value in (("TTFT", q.targets.ttft), ("TPOT", q.targets.tpot))
            if value is not None]  # fmt: skip
    return [
        ("model", q.model.name),
        ("on", ", ".join(s.name for s in q.systems) + f" with {', '.join(q.engines)}"),
        ("traffic", q.requests.source),
        ("targets", ", ".join(aims) + " (assumed: none were given)" * q.assumed),
    ]


def nothing(answer: Answer) -> str:
    """Why nothing was simulated, most frequent reason first."""
    reasons = sorted({**answer.infeasible, **answer.pruned}.items(), key=lambda r: -r[1])
    words = "; ".join(f"{reason} ({n:,} plans)" for reason, n in reasons[:5])
    return f"No plan is left to simulate: {words or 'none was enumerated'}."


def best(answer: Answer, found: Outcome) -> list[tuple[str, str]]:
    """The winner in lines."""
    q, m = answer.question, found.metrics
    where = found.candidate.system
    dates = ", ".join(f"{k} {v}" for k, v in answer.price_dates.items()) or "unknown date"
    cost = f"{dollars(found.usd_per_mtok_output)} per million output tokens, "
    cost += f"{dollars(found.candidate.usd_per_hour)} per hour (prices of {dates})"
    rows = [
        ("plan", f"{parallel(found.plan)} on {where.name}, {found.plan.precision}, "
                 f"{found.plan.engine}, {found.plan.policy.max_batched_tokens:,} tokens per step"),
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
        rows.append(("how sure", f"{percent(found.probability, 0)} of draws keep the targets"))
    rows.append(("energy", energy(found.joules_per_token)))
    if answer.explanation is not None:
        rows.append(("why", answer.explanation.binding))
        headroom = answer.explanation.saturation
        if headroom is not None:
            rows.append(("headroom", f"the rate can grow {digits(headroom)} times"))
    return rows


PLAN_HEADS = ("plan", "system", "formats", ">tokens/step", ">$/h", ">$/Mtok out", ">TTFT", ">TPOT",
              ">tokens/s/user", "~verdict")  # fmt: skip


def plan_rows(answer: Answer) -> list[tuple[str, ...]]:
    """A row of text per simulated plan."""
    at = answer.question.targets.percentile
    return [_plan_row(o, at) for o in answer.outcomes[:LISTED]]


def _plan_row(o: Outcome, at: float) -> tuple[str, ...]:
    m = o.metrics
    verdict = "keeps the targets" if o.meets else "; ".join(o.misses)
    user = digits(1 / m.tpot.mean) if m.tpot.mean == m.tpot.mean else ""
    return (
        parallel(o.plan),
        o.candidate.system.name,
        str(o.plan.precision.weights),
        f"{o.plan.policy.max_batched_tokens:,}",
        digits(o.candidate.usd_per_hour),
        digits(o.usd_per_mtok_output),
        seconds(m.ttft.percentiles.get(at)),
        seconds(m.tpot.percentiles.get(at)),
        user,
        verdict,
    )


def why(found: Explanation) -> Iterator[RenderableType]:
    """What binds, what more would buy, and the next best plan."""
    heads = ("decode step", ">time", ">share", "bound")
    yield table("What a decode step waits for", heads, share_rows(found.decode))
    yield ""
    heads = ("ten percent more", ">TTFT", ">TPOT", ">sustained rate")
    yield table("What more would buy", heads, gain_rows(found.gains))
    if found.runner_up:
        yield ""
        yield pairs("Against the runner-up", [("", line) for line in found.runner_up])


def share_rows(found: Sequence[Share], n: int = 6) -> list[tuple[str, ...]]:
    """The largest shares of a step."""
    rows: list[tuple[str, ...]] = []
    rows += [(s.section, seconds(s.seconds), percent(s.share), s.resource) for s in found[:n]]
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

    cals = [f"{name}: {c.basis} ({c.source})" for name, c in answer.calibrations.items()]
    return [
        ("enumerated", f"{answer.enumerated:,} plans of a replica"),
        ("infeasible", reasons(dict(answer.infeasible))),
        ("ruled out", reasons(dict(answer.pruned))),
        ("simulated", f"{len(answer.outcomes)} plans" + " (interrupted)" * answer.interrupted),
        *(("priced by", line) for line in cals),
        ("seed", str(answer.question.seed)),
    ]
