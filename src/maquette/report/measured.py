"""`maquette measure` as a document, as tables and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType

from maquette.measure.halves import Half, Judged, kind, weight
from maquette.price.interval import Z80
from maquette.report.document import Document, stamp
from maquette.report.ink import SERIES, alone, figure, quiet, svg
from maquette.report.numbers import NONE, digits, percent
from maquette.report.tables import table
from maquette.report.validated import error_keys
from maquette.validate.runs.forward import Point
from maquette.validate.runs.types import Key
from maquette.validate.score import Errors, coverage, errors
from maquette.validate.uncertainty import band

SHOWN = (("e2e", "mean"), ("tpot", "mean"), ("itl", "mean"), ("ttft", "mean"), ("ttft", "p99"))
HOW = {
    "alternate": "every other load was left out, and is predicted",
    "heavier": "the lighter half of the loads was fitted, the heavier half is predicted",
}


@dataclass(frozen=True)
class Line:
    """One statistic of the loads that were left out: errors of each predictor."""

    key: Key
    told: Errors
    coverage: float
    before: Errors | None  # the measured ceilings and the priors, no trial seen
    between: Errors | None  # null model: lines between the trials that were fitted
    floor: float | None


def lines(half: Half, floors: Mapping[Key, float]) -> list[Line]:
    """Errors of every statistic of a half."""
    found = []
    for key in sorted({*half.rows.key}):
        own = np.array([k == key for k in half.rows.key])
        told = _errors(half, half.told.predicted, own)
        if told is None:
            continue
        measured, said = (np.exp(x[own]) for x in (half.rows.measured, half.told.predicted))
        known = own & np.isfinite(half.between)
        found.append(
            Line(
                key, told, coverage(measured, *band(said, half.told.sd[own])),
                _errors(half, half.told_before.predicted, own),
                _errors(half, half.between, known), floors.get(key),
            )
        )  # fmt: skip
    return found


def _errors(half: Half, said: NDArray[np.float64], own: NDArray[np.bool_]) -> Errors | None:
    return errors(np.exp(half.rows.measured[own]), np.exp(said[own]))


def document(judged: Judged, place: str) -> Document:
    """What was measured and how well it was predicted; errors in percent."""
    return {
        **stamp("measure"),
        "written": place,
        "runs": [_run(p) for p in judged.points],
        "halves": [_half(judged, h) for h in judged.halves],
        "calibration": {
            "machine": judged.calibrations[0].machine, "engine": judged.calibrations[0].engine,
            "parameters": dict(judged.calibrations[0].values),
            "residual": judged.calibrations[0].residual,
        },
    }  # fmt: skip


def _run(point: Point) -> Document:
    run = point.run
    seen = {f"{q}_{s}_s" if q != "output_tokens_per_s" else q: v
            for (q, s), v in run.measured.items()}  # fmt: skip
    return {
        "run": run.name, "requests": run.load.requests, "requests_per_s": run.load.rate,
        "concurrency": run.load.concurrency, "mean_input_tokens": run.load.inputs.mean,
        "mean_output_tokens": run.load.outputs.mean, **seen,
    }  # fmt: skip


def _half(judged: Judged, half: Half) -> Document:
    return {
        "split": half.name, "how": HOW[half.name],
        "fitted": [p.run.name for p in half.learned.rows.points],
        "predicted": [p.run.name for p in half.rows.points],
        "errors": [
            {
                "quantity": x.key[0], "statistic": x.key[1], **error_keys(x.told),
                "interval_coverage_80_share": x.coverage,
                **error_keys(x.before, "uncalibrated_"),
                **error_keys(x.between, "null_interpolated_"),
                "noise_floor_percent": None if x.floor is None else x.floor * 100,
            }
            for x in lines(half, judged.floors)
        ],
    }  # fmt: skip


def tables(judged: Judged) -> Iterator[RenderableType]:
    """What a person reads."""
    yield _measured(judged)
    for half in judged.halves:
        yield ""
        yield _errors_table(judged, half)


def _measured(judged: Judged) -> RenderableType:
    heads = ("load", ">requests", ">ttft", ">measured", ">tpot", ">measured", ">e2e", ">measured")
    half = judged.halves[0]
    told = _by_run(half)
    rows = []
    for point in sorted(judged.points, key=lambda p: (kind(p), weight(p))):
        cells = []
        for key in (("ttft", "mean"), ("tpot", "mean"), ("e2e", "mean")):
            said = told.get((point.run.name, key))
            cells += ["fitted" if said is None else _ms(said), _ms(point.measured.get(key))]
        rows.append((point.run.name.removesuffix(".json"), f"{point.run.load.requests}", *cells))
    return table("Loads", heads, rows, caption=f"ms, means; {HOW[half.name]}")


def _by_run(half: Half) -> dict[tuple[str, Key], float]:
    return {
        (half.rows.points[at].run.name, key): float(np.exp(x))
        for key, at, x in zip(half.rows.key, half.rows.point, half.told.predicted, strict=True)
    }


def _ms(value: float | None) -> str:
    return NONE if value is None else digits(value * 1e3)


def _errors_table(judged: Judged, half: Half) -> RenderableType:
    heads = ("predicted", ">n", ">error", ">p90", ">bias", ">in 80 %", ">uncalibrated", ">null",
             ">floor")  # fmt: skip
    rows = [
        (
            " ".join(x.key), f"{x.told.n}", percent(x.told.ape_p50), percent(x.told.ape_p90),
            percent(x.told.bias, signed=True), percent(x.coverage, 0), _median(x.before),
            _median(x.between), NONE if x.floor is None else percent(x.floor),
        )
        for x in lines(half, judged.floors)
        if x.key in SHOWN
    ]  # fmt: skip
    fitted = len(half.learned.rows.points)
    caption = (
        f"{HOW[half.name]} ({fitted} fitted, {len(half.rows.points)} predicted). uncalibrated: "
        "measured ceilings and priors alone. null: a line between the fitted loads of a kind. "
        "floor: two measurements of one load"
    )
    return table(f"Absolute errors, {half.name}", heads, rows, caption=caption)


def _median(e: Errors | None) -> str:
    return NONE if e is None else percent(e.ape_p50)


def picture(judged: Judged) -> str:
    """Measured and predicted means over the load, with 80 % intervals, as SVG."""
    kinds = list(dict.fromkeys(kind(p) for p in judged.points))
    names = {("ttft", "mean"): "Time to first token", ("tpot", "mean"): "Time per output token"}
    with figure(10.0, 5.6) as made:
        grid = made.subplots(len(names), len(kinds), squeeze=False, sharex="col")
        for row, (key, title) in zip(grid, names.items(), strict=True):
            for axes, each in zip(row, kinds, strict=True):
                _panel(axes, judged, key, each)
            row[0].set_ylabel(f"{title}, ms")
        for axes, each in zip(grid[0], kinds, strict=True):
            axes.set_title(f"{'open loop' if 'rate' in each else 'closed loop'}, {each.split()[1]}")
        for axes, each in zip(grid[-1], kinds, strict=True):
            axes.set_xlabel("requests per second" if "rate" in each else "clients")
        grid[0][0].legend(loc="upper left")
        text = f"{len(judged.points)} loads measured; half of them predicted from the other half"
        return alone(svg(made, "measured", "Measured and predicted", text))


def _panel(axes: Any, judged: Judged, key: Key, each: str) -> None:
    half = judged.halves[0]
    quiet(axes)
    measured = [(weight(p), p.measured[key] * 1e3) for p in judged.points
                if kind(p) == each and key in p.measured]  # fmt: skip
    axes.plot(*_columns(measured), "o", color=SERIES[0], label="measured")
    at = [i for i, (k, p) in enumerate(zip(half.rows.key, half.rows.point, strict=True))
          if k == key and kind(half.rows.points[p]) == each]  # fmt: skip
    said = np.exp(half.told.predicted[at]) * 1e3
    away = np.exp(Z80 * half.told.sd[at])
    loads = [weight(half.rows.points[half.rows.point[i]]) for i in at]
    axes.errorbar(
        loads, said, yerr=[said - said / away, said * away - said], fmt="_", markersize=14,
        color=SERIES[3], label="predicted, 80 %", capsize=3,
    )  # fmt: skip
    axes.set_ylim(bottom=0)


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    ordered = sorted(pairs)
    return [x for x, _ in ordered], [y for _, y in ordered]
