"""`maquette calibrate --machine this` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType

from maquette.report.document import Document, stamp
from maquette.report.numbers import amount, percent, seconds
from maquette.report.tables import pairs, table
from maquette.run.ceilings import Ceiling, Ceilings

_KEYS = {"FlopPerSecond": "flop_per_s", "BytesPerSecond": "byte_per_s", "Seconds": "s"}
_SHOWN = {"FlopPerSecond": "FLOP/s", "BytesPerSecond": "B/s"}


def document(found: Ceilings, path: str, kept: str) -> Document:
    """Every ceiling with its quartiles, in SI units."""
    own = found.processor
    return {
        **stamp("calibrate"),
        "processor": own.name,
        "threads": own.threads,
        "vector_lanes_f32": own.lanes,
        "date": found.date,
        "matmul_library": found.library,
        "written": path,
        "kept": kept or None,
        "ceilings": [_ceiling(c) for c in found.found],
    }


def _ceiling(c: Ceiling) -> Document:
    key, value = _KEYS[c.unit], c.value
    return {
        "name": c.name,
        "threads": c.threads,
        f"median_{key}": value.median,
        f"quartile_low_{key}": value.low,
        f"quartile_high_{key}": value.high,
        "samples": value.n,
        "samples_disturbed": value.rejected,
    }


def tables(found: Ceilings, path: str, kept: str) -> Iterator[RenderableType]:
    """What a person reads."""
    heads = ("ceiling", ">threads", ">median", ">quartiles", ">spread", ">samples", ">disturbed")
    caption = "disturbed: samples that other work on this machine took part of, left out"
    yield table(found.processor.name, heads, [_row(c) for c in found.found], caption=caption)
    yield ""
    yield pairs(
        "",
        [
            ("matmul", f"by {found.library}"),
            ("machine", path),
            ("for compile", kept or "not kept: the machine was busy"),
        ],
    )


def _row(c: Ceiling) -> tuple[str, ...]:
    v = c.value
    low, high = _shown(v.low, c.unit), _shown(v.high, c.unit)
    return (
        c.name, str(c.threads), _shown(v.median, c.unit), f"{low} to {high}",
        percent(v.relative), str(v.n), str(v.rejected),
    )  # fmt: skip


def _shown(value: float, unit: str) -> str:
    return seconds(value) if unit == "Seconds" else amount(value, _SHOWN[unit])
