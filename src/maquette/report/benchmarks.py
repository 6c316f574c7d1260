"""`maquette bench` as documents and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import RenderableType

from maquette.bench.contest import OURS, Held, Standing
from maquette.compiler.processor import Processor
from maquette.report.document import Document, plain, stamp
from maquette.report.numbers import NONE, amount, digits, seconds
from maquette.report.tables import table
from maquette.run.timing import Spread


def document(
    name: str, held: Iterable[Held], processor: Processor, versions: Mapping[str, str]
) -> Document:
    """Every case with everyone who took part, times in milliseconds."""
    return {
        **about(name, processor, versions),
        "cases": [
            {**plain(h.facts), "name": h.name, "turns": h.turns,
             "speedup_over": _speedups(h), "contenders": [_standing(s) for s in h.standings]}
            for h in held
        ],
    }  # fmt: skip


def about(name: str, processor: Processor, versions: Mapping[str, str]) -> Document:
    """What every document of a benchmark starts with."""
    return {
        **stamp(f"bench {name}"),
        "processor": processor.name,
        "threads": processor.threads,
        "versions": dict(versions),
    }


def _speedups(held: Held) -> Document:
    """Medians of paired ratios: how many times as long the others take as ours."""
    return {
        s.name: s.slower.median for s in held.standings if s.slower is not None and s.name != OURS
    }


def _standing(s: Standing) -> Document:
    if s.failed or s.seconds is None:
        return {"name": s.name, "failed": s.failed}
    return {
        "name": s.name,
        **milliseconds(s.seconds),
        **_ratio(s.slower),
        "extra_memory_mb": None if s.extra_bytes is None else s.extra_bytes / 1e6,
        "max_error_abs": s.max_error,
        "max_error_relative": s.relative_error,
        "preparation_s": s.prepared_s,
    }


def milliseconds(value: Spread) -> Document:
    """A duration with its quartiles."""
    return {
        "median_ms": value.median * 1e3,
        "quartile_low_ms": value.low * 1e3,
        "quartile_high_ms": value.high * 1e3,
        "samples": value.n,
    }


def _ratio(value: Spread | None) -> Document:
    if value is None:
        return {}
    return {
        "times_as_long_as_ours": value.median,
        "times_quartile_low": value.low,
        "times_quartile_high": value.high,
        "paired_samples": value.n,
    }


HEADS = (
    "",
    "",
    ">time",
    ">± %",
    ">times ours",
    ">quartiles",
    ">extra memory",
    ">error",
    ">prepared",
)
CAPTION = (
    "times ours: median of ratios of calls made in turns; extra memory: peak beyond the inputs; "
    "error: largest, beside double precision; prepared: compiling and the first call"
)


def tables(title: str, held: Sequence[Held]) -> Iterator[RenderableType]:
    """What a person reads."""
    rows = [(h.name if i == 0 else "", *_cells(s)) for h in held for i, s in enumerate(h.standings)]
    yield table(title, HEADS, rows, caption=CAPTION)
    failed = [(h.name, s.name, s.failed) for h in held for s in h.standings if s.failed]
    if failed:
        yield ""
        yield table("Took no part", ("", "", "~why"), failed)


def _cells(s: Standing) -> tuple[str, ...]:
    if s.seconds is None:
        return (s.name, *[NONE] * 7)
    ratio = s.slower
    return (
        s.name,
        seconds(s.seconds.median),
        digits(s.seconds.relative * 100, 2),
        NONE if ratio is None or s.name == OURS else f"{digits(ratio.median)}×",
        NONE if ratio is None or s.name == OURS else f"{digits(ratio.low)} – {digits(ratio.high)}",
        amount(s.extra_bytes, "B"),
        NONE if s.max_error is None else f"{s.max_error:.1e}",
        seconds(s.prepared_s),
    )
