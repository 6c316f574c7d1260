"""`maquette simulate` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from maquette.report.document import Document, milliseconds, stamp
from maquette.report.doubts import swings_table
from maquette.report.explained import deployed, heading, memory_lines, sensitivity
from maquette.report.measures import (
    batches,
    bounds,
    energy,
    energy_keys,
    interval_keys,
    latency_rows,
    load,
    metric_keys,
    rates,
    served,
    target_keys,
)
from maquette.report.numbers import digits, dollars, percent, seconds
from maquette.report.tables import pairs, table
from maquette.search.evaluate import figures
from maquette.search.forecast import Forecast
from maquette.search.simulation import Simulation
from maquette.search.types import Interval
from maquette.serve.metrics import Metrics


def document(found: Simulation, seed: int = 0) -> Document:
    """Everything `simulate` knows."""
    requests = found.requests
    return {
        **stamp("simulate"),
        **metric_keys(found.metrics),
        **interval_keys(found.intervals, found.targets.percentile),
        "forecast": forecast_keys(found.forecast, found.targets.percentile),
        **target_keys(found.targets),
        "meets_targets": not found.misses,
        "misses": list(found.misses),
        "probability_of_meeting_targets": found.probability,
        "usd_per_mtok_output": found.usd_per_mtok_output,
        "usd_per_mtok": found.usd_per_mtok,
        **energy_keys(found.joules_per_output_token),
        "requests_per_cpu_s": found.requests_per_cpu_s,
        "cpu_s": found.cpu_s,
        "steps": found.trace.steps,
        "events": found.trace.events,
        **deployed(found.deployment),
        "traffic": requests.source,
        "traffic_notes": list(requests.notes),
        "concurrency": requests.concurrency or None,
        "mean_input_tokens": float(requests.input_tokens.mean()),
        "mean_output_tokens": float(requests.output_tokens.mean()),
        "seed": seed,
        "warnings": list(found.metrics.warnings),
        **sensitivity(found.swings, found.deployment),
    }


def tables(found: Simulation) -> Iterator[RenderableType]:
    """What a person reads."""
    lines = [*heading(found.deployment), *memory_lines(found.deployment)]
    yield pairs("", [*lines, ("traffic", found.requests.source)])
    yield ""
    percentiles = (f">p{p:g}" for p in found.metrics.ttft.percentiles)
    heads = ("latency", ">mean", *percentiles, "~of finished requests")
    yield table("", heads, latency_rows(found.metrics))
    yield ""
    yield pairs("", summary(found))
    if found.swings is not None:
        yield ""
        yield swings_table(found.swings, found.deployment)


def summary(found: Simulation) -> list[tuple[str, str]]:
    """Served, rates, targets, cost, energy: a line each."""
    m, targets = found.metrics, found.targets
    rows = [("served", served(m)), ("output", rates(m, found.intervals)), ("load", load(m))]
    if found.forecast is not None:
        rows += knee(found.forecast, m)
    for name, target in (("ttft", targets.ttft), ("tpot", targets.tpot)):
        label = f"{name.upper()} p{targets.percentile:g}"
        aim = f", target {seconds(target)}" if target is not None else ""
        rows.append((label, reached(found, name) + aim))
    if found.forecast is not None:
        rows.append(("spread", sources(found.forecast, targets.percentile)))
    if targets.ttft is not None or targets.tpot is not None:
        verdict = "kept" if not found.misses else f"missed: {'; '.join(found.misses)}"
        sure = (
            f" (kept with a chance of {percent(found.probability, 0)})"
            if found.probability is not None
            else ""
        )
        rows.append(("targets", verdict + sure))
    rows.append(("batches", batches(m)))
    cost = f"{dollars(found.usd_per_mtok_output)} per million output tokens, "
    rows.append(("cost", cost + f"{dollars(found.usd_per_mtok)} per million of all"))
    rows.append(("energy", energy(found.joules_per_output_token)))
    work = f"{found.trace.steps:,} steps in {found.trace.events:,} events"
    speed = digits(found.requests_per_cpu_s)
    return [*rows, ("simulator", f"{speed} requests per CPU second; {work}")]


def at(found: Simulation, name: str) -> float:
    """A latency at the targets' percentile."""
    return figures(found.trace, found.targets.percentile)[f"{name}_s"]


def reached(found: Simulation, name: str) -> str:
    """A latency with its interval; where overload is likely its distribution before its point."""
    likely, held, drawn = at(found, name), bounds(found.intervals, f"{name}_s"), found.forecast
    if drawn is None or not drawn.material or held is None:
        return seconds(likely, held)
    median = seconds(drawn.medians[f"{name}_s"])
    return (
        f"{median} in the median, {seconds(held[0])} at 10 %, {seconds(held[1])} at 90 % "
        f"(most likely constants: {seconds(likely)})"
    )


def knee(drawn: Forecast, m: Metrics) -> list[tuple[str, str]]:
    """How far the rate is from where the queue grows without bound, and how sure that is."""
    low, high = drawn.sustainable.low, drawn.sustainable.high
    able = f"the queue grows without bound from {digits(m.sustainable_per_s)} "
    able += f"[{digits(low)}, {digits(high)}] requests/s"
    if drawn.overload is None:
        return [("knee", f"{able} in an open loop")]
    room = m.sustainable_per_s / m.offered_per_s if m.offered_per_s > 0 else float("nan")
    sure = f"overload in {percent(drawn.overload, 0)} of what the constants may be"
    return [("knee", f"{able}, {digits(room)} times the rate; {sure}")]


def sources(drawn: Forecast, percentile: float) -> str:
    """What of the spread is of the constants, of the requests that happen to come, of clients."""
    parts = []
    for name in ("ttft", "tpot"):
        key = f"{name}_s"
        if key in drawn.constants and drawn.constants[key].low == drawn.constants[key].low:
            own, luck = (_range(x[key]) for x in (drawn.constants, drawn.requests))
            by = f", other requests {luck}" if drawn.streams > 1 else ""
            if drawn.clients[key].low < drawn.clients[key].high:
                by += f", what no simulation knows of clients {_range(drawn.clients[key])}"
            parts.append(f"{name.upper()} p{percentile:g}: constants {own}{by}")
    drawn_of = f"{drawn.draws} calibrations"
    drawn_of += f", {drawn.streams} streams" if drawn.streams > 1 else ""
    return "; ".join([*parts, f"80 % of {drawn_of}"])


def _range(found: Interval) -> str:
    return f"{seconds(found.low)} to {seconds(found.high)}"


def forecast_keys(drawn: Forecast | None, percentile: float) -> Document | None:
    """What was drawn, and what of the intervals is of constants, of requests and of clients."""
    if drawn is None:
        return None
    keys: Document = {
        "draws": drawn.draws,
        "streams": drawn.streams,
        "overload_probability": drawn.overload,
        "sustainable_requests_per_s_low_80": drawn.sustainable.low,
        "sustainable_requests_per_s_high_80": drawn.sustainable.high,
    }
    causes = {"constants": drawn.constants, "requests": drawn.requests, "clients": drawn.clients}
    for what, held in causes.items():
        keys |= {f"{what}_{k}": v for k, v in interval_keys(held, percentile).items()}
    for name, value in drawn.medians.items():
        short = name.removesuffix("_s")
        label = name if name.endswith("_per_s") else f"{short}_p{percentile:g}_ms"
        keys[f"{label}_median"] = value if name.endswith("_per_s") else milliseconds(value)
    return keys
