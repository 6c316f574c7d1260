"""`maquette bench memory` as a document and as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from maquette.bench.growth import Growth, Weighed
from maquette.report.document import Document, stamp
from maquette.report.numbers import NONE, amount, digits, percent, seconds
from maquette.report.tables import table


def document(found: Growth) -> Document:
    """Every length, the fitted line and the fitted power."""
    return {
        **stamp("bench memory"),
        "spelling": found.spelling,
        "power_of_seq": found.power,
        "bytes_per_position": found.bytes_per_position,
        "fixed_mb": found.fixed_bytes / 1e6,
        "away_from_line_percent": found.away * 100,
        "points": [
            {
                "seq": p.seq,
                **_weighed(p.ours),
                "output_mb": p.output_bytes / 1e6,
                "naive_scores_mb": p.scores_bytes / 1e6,
                "eager_fits": p.eager is not None,
                **({} if p.eager is None else _weighed(p.eager, "eager_")),
            }
            for p in found.points
        ],
    }


def _weighed(found: Weighed, prefix: str = "") -> Document:
    return {
        f"{prefix}extra_memory_mb": found.extra_bytes / 1e6,
        f"{prefix}time_ms": found.seconds * 1e3,
    }


def tables(found: Growth) -> Iterator[RenderableType]:
    """What a person reads."""
    heads = (
        ">S",
        ">extra memory",
        ">of it output",
        ">time",
        ">eager",
        ">time",
        ">one matrix of scores",
    )
    rows = [
        (f"{p.seq:,}", amount(p.ours.extra_bytes, "B"), amount(p.output_bytes, "B"),
         seconds(p.ours.seconds), *_eager(p.eager), amount(p.scores_bytes, "B"))
        for p in found.points
    ]  # fmt: skip
    caption = (
        f"extra memory is {amount(found.bytes_per_position, 'B')} per position and "
        f"{amount(found.fixed_bytes, 'B')}, within {percent(found.away)}; "
        f"as a power it grows with S^{digits(found.power)}"
    )
    yield table(f"{found.spelling}, beyond the inputs", heads, rows, caption=caption)


def _eager(found: Weighed | None) -> tuple[str, str]:
    if found is None:
        return "does not fit", NONE
    return amount(found.extra_bytes, "B"), seconds(found.seconds)
