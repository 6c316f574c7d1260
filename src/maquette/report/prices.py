"""`maquette bench price` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from maquette.bench.prices import Errors, Judged
from maquette.compiler.processor import Processor
from maquette.price.kernel import Constants, light, price
from maquette.report.document import Document, plain, stamp
from maquette.report.numbers import percent, seconds
from maquette.report.tables import pairs, table


def document(found: Judged, processor: Processor, constants: Constants, measured: str) -> Document:
    """Errors in percent, and every schedule."""
    return {
        **stamp("bench price"),
        "processor": processor.name,
        "threads": processor.threads,
        "ceilings_measured": measured or None,
        "constants": plain(constants),
        **_errors(found.price),
        **_errors(found.null, "null_"),
        "null_model": "work over the rate of the median schedule",
        **_errors(found.floor, "repeat_"),
        **({} if found.fitted is None else _errors(found.fitted, "fitted_")),
        "beat_the_light": list(found.beaten_light),
        "schedules_failed": [{"name": n, "why": why} for n, why in found.failed],
        "schedules": [
            {
                "name": o.schedule.name,
                "kind": o.schedule.kind,
                "strategy": o.schedule.candidate.tiling.strategy,
                "measured_ms": o.seconds * 1e3,
                "price_ms": p * 1e3,
                "light_ms": light(o.counts, processor) * 1e3,
                "bound": price(o.counts, processor, constants).bound,
            }
            for o, p in zip(found.observations, found.priced, strict=True)
        ],
    }


def _errors(e: Errors, prefix: str = "") -> Document:
    return {
        f"{prefix}n": e.n,
        f"{prefix}median_ape_percent": e.median * 100,
        f"{prefix}p90_ape_percent": e.p90 * 100,
        f"{prefix}bias_percent": e.bias * 100,
    }


def tables(found: Judged, processor: Processor, constants: Constants) -> Iterator[RenderableType]:
    """What a person reads."""
    heads = ("schedule", ">measured", ">price", ">error", "bound by", ">light")
    rows = [
        (o.schedule.name, seconds(o.seconds), seconds(p), percent(p / o.seconds - 1, 0, True),
         price(o.counts, processor, constants).bound, seconds(light(o.counts, processor)))
        for o, p in zip(found.observations, found.priced, strict=True)
    ]  # fmt: skip
    yield table(f"Our schedules on {processor.name}", heads, rows)
    yield ""
    named: tuple[tuple[str, Errors], ...] = (
        ("price", found.price),
        ("one rate for all", found.null),
        ("repeating", found.floor),
    )
    if found.fitted is not None:
        named = (*named, ("price, where it was fitted", found.fitted))
    few = ("", ">n", ">median error", ">p90", ">bias")
    yield table("", few, [(name, *_cells(e)) for name, e in named], caption=constants.source)
    notes = [("beat the light", name) for name in found.beaten_light]
    notes += [("failed", f"{name}: {why}") for name, why in found.failed]
    if notes:
        yield ""
        yield pairs("", notes)


def _cells(e: Errors) -> tuple[str, ...]:
    return (str(e.n), percent(e.median), percent(e.p90), percent(e.bias, signed=True))
