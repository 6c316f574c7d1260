"""Fit the calibrations that ship with the package, from `published/` and `served/`.

    python validation/fit_published.py

Every machine and engine with rows is fitted from the priors: to runs of it that others published,
to the published summaries, and to kernels of the machine.  How far rows of other models scatter is
set to what held-out rows of such few-parameter models scatter, where a fit says less.  A fit whose
rows contradict each other is left out; the machine then borrows, as any without rows does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from maquette.catalogue.calibrations import FOLDER
from maquette.catalogue.write_calibrations import write
from maquette.price.calibration import Calibration
from maquette.validate.calibrate import calibrate
from maquette.validate.rows import Reading, read
from maquette.validate.shelf import shelf

HERE = Path(__file__).parent
DATE = "2026-11"
# Held-out rows of a four-parameter fit per hardware and framework: median error 6.2 %, 90th
# percentile 21.6 % over 424 rows; a normal scatter with that median has a deviation of 0.09, with
# that percentile 0.13.
SCATTER = 0.11
# Scatter about models and versions, and median error of its own rows, from which rows are not of
# one system.
CONTRADICTING, UNLIKE = 0.40, 0.25
LEAST = 8  # values of runs
# What others' simulators predict is no measurement, offline results are kept to be predicted, and
# a thousand requests sent at once over HTTP measure their client and their longest answer.
LEFT_OUT = ("static_peers.csv", "mlperf_inference.csv", "gpustack_offline.csv")
SUMMARISED = (
    "fitted to decode steps reconstructed from published formula fits (batch 1 only) and to a "
    "prefill point: what depends on batch size is prior",
    "residual is that of held-out rows of such models, not of these rows",
)
SOURCE = (
    "published summaries: a formula fitted to rows of LLM-Inference-Bench (2024 software), its "
    "prefill points, kernel rates (validation/published)"
)
HEADING = """Calibrations that ship with the package.  Written by validation/fit_published.py from
validation/published and validation/served; do not edit.  `maquette calibrate --rows DIR --out
FILE.toml` writes such a file from your own measurements."""


def main() -> None:
    found = []
    for fit in calibrate(rows(), shelf(shipped=False), date=DATE, everything=True).fits:
        cal = fit.calibration
        values = ", ".join(f"{k} {v:.3g}" for k, v in cal.values.items())
        said = f"{cal.machine} {cal.engine}: {cal.rows} rows, residual {cal.residual:.3f}; {values}"
        agree = cal.scatter < CONTRADICTING**2 and fit.fitted.ape_p50 < UNLIKE
        kept = cal.rows >= LEAST and agree
        print(said if kept else f"left out: {said}", flush=True)
        if kept:
            found.append(_noted(cal))
    found.sort(key=lambda c: (c.machine, c.engine))
    write(found, FOLDER / "published.toml", HEADING)


def rows() -> Reading:
    """All rows that may be fitted to."""
    summaries, runs = read(HERE / "published"), read(HERE / "served")
    tables = tuple(t for t in (*runs.tables, *summaries.tables) if t.file not in LEFT_OUT)
    return replace(runs, tables=tables)


def _noted(cal: Calibration) -> Calibration:
    """With what it rests on: runs, or only a summary of runs."""
    measured = {p.name for p in (HERE / "served").glob("*.csv")}
    cal = replace(cal, residual=max(cal.residual, SCATTER))
    if any(name in cal.source for name in measured):
        return replace(cal, source=f"published runs of engines: {cal.source} (validation/served)")
    notes = (*SUMMARISED, *cal.notes)
    return replace(cal, basis="published summary", notes=notes, source=SOURCE)


if __name__ == "__main__":
    main()
