"""`maquette validate` and `maquette calibrate` as documents and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType

from maquette.report.document import Document, plain, stamp
from maquette.report.listing import calibration_document
from maquette.report.numbers import NONE, percent
from maquette.report.tables import pairs, table
from maquette.validate.calibrate import Fits
from maquette.validate.goals import COVERAGE, REGRET, Summary, regret_met, summaries
from maquette.validate.holdout import HeldOut
from maquette.validate.regret import Regret, regrets
from maquette.validate.score import Errors, Group
from maquette.validate.validation import Validation


def document(found: Validation, held: HeldOut | None = None) -> Document:
    """What was compared and how it came out; errors in percent."""
    return {
        **stamp("validate"),
        "rows_dir": found.folder,
        "groups": [_group(g) for g in found.groups],
        "pooled": [
            {"lane": lane, "quantity": quantity, **error_keys(e)}
            for (lane, quantity), e in found.pooled.items()
        ],
        "summaries": [_summary(s) for s in found.summaries],
        "held_out": None
        if held is None
        else {
            "summaries": [
                _summary(s) for way, own in held.scored.items() for s in summaries(own, way)
            ],
            "planner_regret": [_regret(r) for r in regrets(held.choices)],
            "skipped": list(held.skipped),
        },
        "planner_regret": [_regret(r) for r in found.regrets],
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


FORWARD = ("static",)  # lanes of the forward pass; the others are end to end


def _summary(s: Summary) -> Document:
    return {
        "held_out_by": s.way or "split",
        "lane": s.lane,
        "quantity": s.quantity,
        "kind": s.kind or None,
        **error_keys(s.errors),
        "within_factor_2_share": s.errors.within_2,
        "noise_floor_percent": None if s.floor is None else s.floor * 100,
        "interval_coverage_80_share": s.coverage_80,
        "coverage_as_asked": s.covered,
        **error_keys(s.constant, "null_constant_"),
        **error_keys(s.roofline, "null_roofline_"),
        "goal": str(s.goal) if s.goal else None,
        "goal_met": s.met,
    }


def _regret(r: Regret) -> Document:
    return {
        "lane": r.lane,
        "objective": r.objective,
        "questions": r.n,
        "configurations": r.configurations,
        "median_percent": r.median * 100,
        "p90_percent": r.p90 * 100,
        "best_chosen_share": r.best,
        "null_random_percent": r.random * 100,
        "null_largest_tp_percent": r.largest_tp * 100,
        "goal_met": regret_met(r),
    }


def tables(found: Validation, held: HeldOut | None = None) -> Iterator[RenderableType]:
    """What a person reads: what can be priced, the forward pass, and serving end to end."""
    yield pairs(f"Can be priced: rows of {found.folder}", _counted(found))
    for title, forward in (("Forward pass", True), ("End to end", False)):
        groups = [g for g in found.groups if (g.key.lane in FORWARD) == forward]
        whole = [s for s in found.summaries if (s.lane in FORWARD) == forward]
        if groups:
            yield ""
            yield _groups_table(f"{title}, by group", groups)
        if whole:
            yield ""
            yield _summary_table(f"{title}, all rows that were not fitted", whole)
    if held is not None:
        yield ""
        whole = [s for way, scored in held.scored.items() for s in summaries(scored, way)]
        yield _summary_table("Whole groups held out, each scored by fits to the others", whole)
        if held.skipped:
            yield pairs("", [("not held out", why) for why in held.skipped])
    lost = regrets(held.choices) if held is not None else found.regrets
    if lost:
        yield ""
        yield _regret_table(lost)


def _groups_table(title: str, groups: Sequence[Group]) -> RenderableType:
    heads = ("lane", "hardware", "family", "engine", "~basis", ">n", ">median", ">p90", ">bias",
             ">noise", ">constant", ">roofline", ">in 80 %")  # fmt: skip
    caption = (
        "Absolute error of rows that were not fitted. noise: what repeated measurements scatter; "
        "constant, roofline: medians of the null models; in 80 %: measurements inside the interval"
    )
    return table(title, heads, [_cells(g) for g in groups], caption=caption)


def _summary_table(title: str, found: Sequence[Summary]) -> RenderableType:
    heads = ("lane", ">n", ">median", ">p90", ">bias", ">noise", ">constant", ">roofline",
             ">in 80 %", "goal", "met")  # fmt: skip
    several = len({s.way for s in found}) > 1 or any(s.way for s in found)
    rows = [
        (
            (f"{s.way}: " if several else "") + f"{s.lane} {s.quantity} {s.kind}".strip(),
            *_spread(s.errors), percent(s.floor),
            percent(s.constant.ape_p50) if s.constant else NONE,
            percent(s.roofline.ape_p50) if s.roofline else NONE,
            percent(s.coverage_80, 0) + {True: "", False: " ✗", None: ""}[s.covered],
            str(s.goal) if s.goal else NONE, {True: "yes", False: "no", None: NONE}[s.met],
        )
        for s in found
    ]  # fmt: skip
    low, high = (percent(x, 0) for x in COVERAGE)
    caption = f"goal: median/p90 of the absolute error; ✗: not between {low} and {high} inside"
    return table(title, heads, rows, caption=caption)


def _regret_table(found: Sequence[Regret]) -> RenderableType:
    heads = ("choosing among rows", ">questions", ">configurations", ">median", ">p90",
             ">best chosen", ">random", ">largest tp", "goal", "met")  # fmt: skip
    rows = [
        (
            f"{r.lane}: {r.objective}", f"{r.n:,}", f"{r.configurations:,}", percent(r.median),
            percent(r.p90), percent(r.best, 0), percent(r.random), percent(r.largest_tp),
            f"{REGRET:.0%}".replace("%", " %"), "yes" if regret_met(r) else "no",
        )
        for r in found
    ]  # fmt: skip
    caption = (
        "How much worse the configuration chosen by prediction measures than the best measured; "
        "random, largest tp: medians of what these choices lose"
    )
    return table("Planner regret", heads, rows, caption=caption)


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
        share = percent(found.priced[lane] / max(total, 1), 0)
        rows.append((lane, f"{found.priced[lane]:,} of {total:,} rows priced, {share}"))
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
