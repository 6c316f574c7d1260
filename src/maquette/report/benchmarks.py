"""`maquette bench` as documents and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import RenderableType

from maquette.bench.contest import OURS, Held, Standing
from maquette.compiler.processor import Processor
from maquette.report.document import Document, plain, stamp
from maquette.report.numbers import NONE, amount, digits, percent, seconds
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
             "others_percent": None if h.others is None else h.others * 100,
             "speedup_over": _speedups(h), "contenders": [_standing(s, h) for s in h.standings]}
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


def _standing(s: Standing, held: Held) -> Document:
    if s.failed or s.seconds is None:
        return {"name": s.name, "failed": s.failed}
    rate = _rate(s, held)
    return {
        "name": s.name,
        **milliseconds(s.seconds),
        **_ratio(s.slower),
        "extra_memory_mb": None if s.extra_bytes is None else s.extra_bytes / 1e6,
        "max_error_abs": s.max_error,
        "max_error_relative": s.relative_error,
        "preparation_s": s.prepared_s,
        **({} if rate is None else {"gflop_per_s": rate}),
        **({} if s.priced is None else {"price_ms": s.priced * 1e3}),
        **({"tiling": s.how} if s.how else {}),
    }


def _rate(s: Standing, held: Held) -> float | None:
    """Billions of operations a second, where a case says how many it takes."""
    if s.seconds is None or "gflop" not in held.facts:
        return None
    return float(held.facts["gflop"]) / s.seconds.median


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


_QUIET = 0.03  # of all processors that other work may have, and be left unsaid
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
    disturbed = [h for h in held if (h.others or 0.0) > _QUIET]
    if disturbed:
        shares = [(h.name, percent(h.others or 0.0, 0)) for h in disturbed]
        yield ""
        yield table("Other work on this machine", ("", ">of all processors"), shares,
                    caption="times beside it are not to be trusted; repeat them")  # fmt: skip
    yield from _own(held)
    failed = [(h.name, s.name, s.failed) for h in held for s in h.standings if s.failed]
    if failed:
        yield ""
        yield table("Took no part", ("", "", "~why"), failed)


def _own(held: Sequence[Held]) -> Iterator[RenderableType]:
    """Of what we compiled: what the price expected, how fast it computes, how it is tiled."""
    rows = []
    for h in held:
        for s in h.standings:
            if s.seconds is None or s.priced is None:
                continue
            rate, away = _rate(s, h), s.priced / s.seconds.median - 1
            rows.append((h.name, s.name, seconds(s.priced), percent(away, 0, True),
                         NONE if rate is None else digits(rate), s.how))  # fmt: skip
    if rows:
        yield ""
        heads = ("", "", ">price", ">error", ">GFLOP/s", "tiling")
        yield table("What was expected of ours", heads, rows)


def line(held: Held, took: float) -> str:
    """A case in one line, for who waits: our time, and how many times as long the others take."""
    ours = next((s.seconds for s in held.standings if s.name == OURS), None)
    others = [
        f"{s.name} {digits(s.slower.median)}×"
        for s in held.standings
        if s.slower is not None and s.name != OURS
    ]
    time = "no time of ours" if ours is None else seconds(ours.median)
    told = f"{held.name}: {'; '.join([time, ', '.join(others)])} ({took:.0f} s)"
    if (held.others or 0.0) > _QUIET:
        told += f"; other work had {percent(held.others or 0.0, 0)} of the processor"
    return told


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
