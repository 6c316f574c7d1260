"""`maquette simulate` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from maquette.report.document import Document, stamp
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
from maquette.search.simulation import Simulation


def document(found: Simulation, seed: int = 0) -> Document:
    """Everything `simulate` knows."""
    requests = found.requests
    return {
        **stamp("simulate"),
        **metric_keys(found.metrics),
        **interval_keys(found.intervals, found.targets.percentile),
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
    for name, target in (("ttft", targets.ttft), ("tpot", targets.tpot)):
        label = f"{name.upper()} p{targets.percentile:g}"
        reached = seconds(at(found, name), bounds(found.intervals, f"{name}_s"))
        aim = f", target {seconds(target)}" if target is not None else ""
        rows.append((label, reached + aim))
    if targets.ttft is not None or targets.tpot is not None:
        verdict = "kept" if not found.misses else f"missed: {'; '.join(found.misses)}"
        sure = (
            f" (kept in {percent(found.probability, 0)} of calibration draws)"
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
