"""`maquette validate` and `maquette calibrate` as documents and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType

from maquette.report.document import Document, plain, stamp
from maquette.report.listing import calibration_document
from maquette.report.numbers import NONE, percent
from maquette.report.tables import pairs, table
from maquette.validate.calibrate import Fits
from maquette.validate.score import Errors, Group
from maquette.validate.validation import Validation


def document(found: Validation) -> Document:
    """What was compared and how it came out; errors in percent."""
    return {
        **stamp("validate"),
        "rows_dir": found.folder,
        "groups": [_group(g) for g in found.groups],
        "pooled": [
            {"lane": lane, "quantity": quantity, **error_keys(e)}
            for (lane, quantity), e in found.pooled.items()
        ],
        "rows_read": dict(found.rows),
        "rows_priced": dict(found.priced),
        "rows_unpriced": plain(found.unpriced),
        "files_skipped": plain(found.skipped),
        "taken_for_granted": plain(found.notes),
        "calibrations": list(found.calibrations),
    }


def error_keys(e: Errors | None, prefix: str = "") -> Document:
    """How far predictions were off, in percent."""
    if e is None:
        return {f"{prefix}n": 0}
    return {
        f"{prefix}n": e.n,
        f"{prefix}median_ape_percent": e.ape_p50 * 100,
        f"{prefix}p90_ape_percent": e.ape_p90 * 100,
        f"{prefix}bias_percent": e.bias * 100,
    }


def _group(g: Group) -> Document:
    return {
        **g.key._asdict(),
        "basis": g.basis,
        **error_keys(g.errors),
        "noise_floor_percent": None if g.floor is None else g.floor * 100,
        "noise_floor_source": g.floor_source,
        "interval_coverage_80_share": g.coverage_80,
        **error_keys(g.constant, "null_constant_"),
        **error_keys(g.ideal, "null_roofline_"),
        **error_keys(g.fitted, "fitted_rows_"),
    }


def tables(found: Validation) -> Iterator[RenderableType]:
    """What a person reads."""
    heads = ("lane", "hardware", "family", "engine", "~basis", ">n", ">median", ">p90", ">bias",
             ">noise", ">constant", ">roofline", ">in 80 %")  # fmt: skip
    rows = [_cells(g) for g in found.groups]
    caption = (
        "Absolute error of rows that were not fitted. noise: what repeated measurements scatter; "
        "constant, roofline: medians of the null models; in 80 %: measurements inside the interval"
    )
    yield table(f"Predictions and measurements of {found.folder}", heads, rows, caption=caption)
    yield ""
    few = ("lane", ">n", ">median", ">p90", ">bias")
    pooled = [(f"{lane} {q}", *_spread(e)) for (lane, q), e in found.pooled.items()]
    yield table("All rows that were not fitted", few, pooled)
    yield ""
    yield pairs("Rows", _counted(found))


def _cells(g: Group) -> tuple[str, ...]:
    null = percent(g.constant.ape_p50) if g.constant else NONE
    return (
        f"{g.key.lane} {g.key.quantity}", g.key.hardware, g.key.family, g.key.engine, g.basis,
        *_spread(g.errors), percent(g.floor), null, percent(g.ideal.ape_p50),
        percent(g.coverage_80, 0),
    )  # fmt: skip


def _spread(e: Errors | None) -> tuple[str, ...]:
    if e is None:
        return ("0", NONE, NONE, NONE)
    return (f"{e.n:,}", percent(e.ape_p50), percent(e.ape_p90), percent(e.bias, signed=True))


def _counted(found: Validation) -> list[tuple[str, str]]:
    rows = []
    for lane, total in found.rows.items():
        rows.append((lane, f"{found.priced[lane]:,} of {total:,} rows priced"))
        rows += [("", f"{n:,} not: {why}") for why, n in list(found.unpriced[lane].items())[:5]]
    rows += [("not read", f"{s.file} {s.why}") for s in found.skipped]
    rows += [("taken so", f"{n.file}: {n.why}") for n in found.notes]
    rows += [("priced by", c) for c in found.calibrations]
    return rows


def fits_document(found: Fits, path: str) -> Document:
    """What was fitted; errors in percent."""
    return {
        **stamp("calibrate"),
        "rows_dir": found.folder,
        "written": path,
        "calibrations": [
            {**calibration_document(f.calibration), **error_keys(f.fitted, "fitted_"),
             **error_keys(f.held_out, "held_out_")}
            for f in found.fits
        ],
        "rows_unpriced": plain(found.unpriced),
        "files_skipped": plain(found.skipped),
        "taken_for_granted": plain(found.notes),
    }  # fmt: skip


def fits_tables(found: Fits) -> Iterator[RenderableType]:
    """What a person reads."""
    heads = ("machine", "engine", ">fitted", ">median", ">p90", ">bias", ">held out", ">median",
             ">p90", ">bias")  # fmt: skip
    rows = [
        (f.calibration.machine, f.calibration.engine, *_spread(f.fitted), *_spread(f.held_out))
        for f in found.fits
    ]
    caption = "Errors on the rows that were fitted, and on those that were held out"
    yield table("Calibrations", heads, rows, caption=caption)
    if found.unpriced:
        yield ""
        yield pairs("Rows left out", _reasons(found.unpriced))


def _reasons(counts: Mapping[str, int]) -> Sequence[tuple[str, str]]:
    return [(f"{n:,}", why) for why, n in counts.items()]
