"""`maquette bench memory` as a document and as a table."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from maquette.bench.growth import Growth
from maquette.report.document import Document, stamp
from maquette.report.numbers import amount, digits, seconds
from maquette.report.tables import table


def document(found: Growth) -> Document:
    """Every length and the fitted power."""
    return {
        **stamp("bench memory"),
        "spelling": found.spelling,
        "power_of_seq": found.power,
        "bytes_per_position": found.bytes_per_position,
        "points": [
            {
                "seq": p.seq,
                "extra_memory_mb": p.extra_bytes / 1e6,
                "output_mb": p.output_bytes / 1e6,
                "naive_scores_mb": p.scores_bytes / 1e6,
                "time_ms": p.seconds * 1e3,
                "eager_fits": p.eager_fits,
            }
            for p in found.points
        ],
    }


def tables(found: Growth) -> Iterator[RenderableType]:
    """What a person reads."""
    heads = (">S", ">extra memory", ">of it output", ">naive scores", ">time", "eager")
    rows = [
        (f"{p.seq:,}", amount(p.extra_bytes, "B"), amount(p.output_bytes, "B"),
         amount(p.scores_bytes, "B"), seconds(p.seconds), "" if p.eager_fits else "does not fit")
        for p in found.points
    ]  # fmt: skip
    caption = f"extra memory grows with S^{digits(found.power)}"
    caption += f", {amount(found.bytes_per_position, 'B')} per position"
    yield table(f"{found.spelling}, beyond the inputs", heads, rows, caption=caption)
