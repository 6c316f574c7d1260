"""`maquette calibrate --from` as a document and as tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import RenderableType

from maquette.price.calibration import NAMES, PARAMETERS
from maquette.report.document import Document, plain, stamp
from maquette.report.listing import calibration_document
from maquette.report.numbers import NONE, percent
from maquette.report.tables import pairs, table
from maquette.report.validated import error_keys
from maquette.validate.runs.forward import Point
from maquette.validate.runs.learn import Learned, Told
from maquette.validate.runs.update import Updates
from maquette.validate.score import Errors, coverage, errors
from maquette.validate.uncertainty import band


@dataclass(frozen=True)
class Line:
    """One statistic of all runs: errors before, and by fits that did not use the run."""

    quantity: str
    statistic: str
    before: Errors
    after: Errors | None
    constant: Errors | None
    coverage_before: float
    coverage_after: float | None


def lines(learned: Learned) -> list[Line]:
    """Errors of every statistic."""
    rows = learned.rows
    found = []
    for key in sorted(set(rows.key)):
        own = np.array([k == key for k in rows.key]) & np.isfinite(learned.told_before.predicted)
        held = learned.told_held_out
        before = _errors(learned, learned.told_before.predicted, own)
        if before is None:
            continue
        found.append(
            Line(
                *key,
                before,
                None if held is None else _errors(learned, held.predicted, own),
                None if learned.constant is None else _errors(learned, learned.constant, own),
                _coverage(learned, learned.told_before, own),
                None if held is None else _coverage(learned, held, own),
            )
        )
    return found


def _errors(learned: Learned, said: NDArray[np.float64], own: NDArray[np.bool_]) -> Errors | None:
    return errors(np.exp(learned.rows.measured[own]), np.exp(said[own]))


def _coverage(learned: Learned, told: Told, own: NDArray[np.bool_]) -> float:
    measured, said = np.exp(learned.rows.measured[own]), np.exp(told.predicted[own])
    return coverage(measured, *band(said, told.sd[own]))


def document(found: Updates, path: str) -> Document:
    """What was learned; errors in percent, of runs that were not used where it says held out."""
    return {
        **stamp("calibrate"),
        "runs_dir": found.found.folder,
        "written": path,
        "runs": [_run(p) for p in found.points],
        "files_skipped": plain(found.found.skipped),
        "taken_for_granted": [{"what": what, "runs": n} for what, n in found.notes],
        "calibrations": [_learned(x) for x in found.learned],
    }


def _run(point: Point) -> Document:
    load, d = point.run.load, point.deployment
    return {
        "run": point.run.name, "tool": point.run.tool, "model": d.model.name,
        "system": d.system.name, "engine": d.engine.name, "mesh": str(d.plan.mesh),
        "replicas": d.plan.replicas, "requests": load.requests,
        "requests_per_s": None if point.spec.rate is None else float(point.spec.rate),
        "concurrency": point.spec.arrivals.concurrency or None,
        "mean_input_tokens": load.inputs.mean, "mean_output_tokens": load.outputs.mean,
    }  # fmt: skip


def _learned(x: Learned) -> Document:
    return {
        **calibration_document(x.after),
        "before": {"basis": x.before.basis, "source": x.before.source,
                   "parameters": plain(x.before.values)},
        "conditions": x.conditions, "folds": x.folds if x.told_held_out else 0,
        "simulations": x.simulations,
        "errors": [_line(line) for line in lines(x)],
    }  # fmt: skip


def _line(line: Line) -> Document:
    return {
        "quantity": line.quantity, "statistic": line.statistic,
        **error_keys(line.before, "before_"), **error_keys(line.after, "held_out_"),
        **error_keys(line.constant, "null_constant_"),
        "before_coverage_80_share": line.coverage_before,
        "held_out_coverage_80_share": line.coverage_after,
    }  # fmt: skip


def tables(found: Updates) -> Iterator[RenderableType]:
    """What a person reads."""
    for x in found.learned:
        yield from _errors_table(x)
        yield ""
        yield _parameters(x)
        yield ""
    yield pairs("Runs", _counted(found))


def _errors_table(x: Learned) -> Iterator[RenderableType]:
    heads = ("measured", ">n", ">before", ">p90", ">bias", ">in 80 %", ">after", ">p90", ">bias",
             ">in 80 %", ">null")  # fmt: skip
    rows = [
        (
            f"{line.quantity} {line.statistic}", f"{line.before.n}", *_spread(line.before),
            percent(line.coverage_before, 0), *_spread(line.after),
            NONE if line.coverage_after is None else percent(line.coverage_after, 0),
            NONE if line.constant is None else percent(line.constant.ape_p50),
        )
        for line in lines(x)
    ]  # fmt: skip
    how = (
        f"after: each of {x.conditions} loads in {x.folds} folds, by a fit to the other folds"
        if x.told_held_out
        else "one load alone: nothing could be held out, so there are no errors after"
    )
    caption = f"Absolute errors. {how}. null: what was said before times one factor per quantity"
    title = f"{x.after.machine} with {x.after.engine}"
    yield table(title, heads, rows, caption=caption)


def _spread(e: Errors | None) -> tuple[str, str, str]:
    if e is None:
        return (NONE, NONE, NONE)
    return (percent(e.ape_p50), percent(e.ape_p90), percent(e.bias, signed=True))


def _parameters(x: Learned) -> RenderableType:
    sds = (np.sqrt(np.diag(np.array(c.covariance))) for c in (x.before, x.after))
    rows = [
        (name, _within(x.before[name], a), _within(x.after[name], b), PARAMETERS[name][3])
        for name, a, b in zip(NAMES, *sds, strict=True)
    ]
    return table("Constants", ("name", ">before", ">after", "~meaning"), rows,
                 caption="x/÷: the factor of one standard deviation")  # fmt: skip


def _within(value: float, sd: float) -> str:
    return f"{value:.3g} x/÷ {np.exp(sd):.2f}"


def _counted(found: Updates) -> list[tuple[str, str]]:
    rows = [(p.run.tool, f"{p.run.name}: {p.deployment.model.name} on {p.deployment.system.name}, "
             f"{p.spec}") for p in found.points]  # fmt: skip
    rows += [("not read", f"{s.file}: {s.why}") for s in found.found.skipped]
    rows += [("taken so", f"{what}: {n} runs") for what, n in found.notes]
    return rows
