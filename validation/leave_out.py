"""What SN40L's calibration says of figures that it was not fitted to.

    python validation/leave_out.py

Every figure of eight sockets that the shipped calibration was fitted to is left out in turn, by
itself, with its model, or with its batch size, and predicted from a fit to the others.  What was
made from a figure goes with it: the decode steps of the published formula, whose constants were
fitted to batch-1 rows, are only in fits that all batch-1 figures are in.  Beside each prediction
stands the null model: the roofline of the stated peaks times one constant, from the same figures.

Fits take a quarter of a minute, so what they say is kept in `styles/left_out.csv`, which the
document reads.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fit_styles import observed, reconstructed

from maquette.catalogue import calibrations
from maquette.price.calibration import Calibration, first_principles
from maquette.price.seconds import IDEAL, walk_seconds
from maquette.report.markdown import table
from maquette.validate.fit import calibration, maximise, prior
from maquette.validate.points import Point, points, prepared, said
from maquette.validate.static import Prepared

SYSTEM = "sn40lx8"
FILE = Path(__file__).with_name("styles") / "left_out.csv"
NAMES = {
    "output_tokens_per_s": "output tokens/s",
    "tokens_per_s_user": "tokens/s for one user",
    "ttft_s": "TTFT of the batch, s",
}
# Shares of the HBM roofline of eight sockets that measured rows of LLM-Inference-Bench reach, in a
# summary of all of them that states neither their lengths nor which bytes it counts.  The weights
# that a step reads, at 1.8 TB/s a socket, are a reading under which the two figures of batch 1 that
# we know are inside; the benchmark takes as many tokens out as in.
BANDS = (("llama-3.1-70b", 1, 0.76, 0.84), ("llama-3.1-8b", 1, 0.60, 0.69),
         ("llama-3.1-70b", 16, 0.23, 0.61), ("llama-3.1-8b", 16, 0.23, 0.61))  # fmt: skip
LENGTHS = (128, 256, 512, 1024, 2048)


class Line(NamedTuple):
    """A figure, and what is said of it by a fit, and by a null model, that never saw it."""

    left_out: str  # what the fit did not see
    point: Point
    ours: float
    null: float

    @property
    def error(self) -> float:
        return self.ours / self.point.value - 1

    @property
    def null_error(self) -> float:
        return self.null / self.point.value - 1


# What else goes when a figure is left out.
SPLITS: dict[str, Callable[[Point, Point], bool]] = {
    "the figure": lambda a, b: a == b,
    "its model": lambda a, b: a.model == b.model,
    "its batch size": lambda a, b: a.batch == b.batch,
    "all figures": lambda a, b: True,
}


@cache
def figures() -> tuple[Point, ...]:
    """The figures of eight sockets that the shipped calibration was fitted to."""
    return tuple(p for p in points() if p.system == SYSTEM and p.use == "fitted")


@cache
def steps(point: Point) -> Prepared:
    return prepared(point)


@cache
def fitted(rows: tuple[Point, ...]) -> Calibration:
    """The calibration of some figures, from the prior of the style; the prior itself for none."""
    machine = figures()[0].where.machine
    if not rows:
        return first_principles(machine.name, "vendor", machine.style)
    seen = [observed(p, p.band / 2) for p in rows]
    if all(p in rows for p in figures() if p.batch == 1):
        seen += [observed(p, p.band) for p in reconstructed() if p.where.machine == machine]
    held = maximise(seen, prior(machine))
    return calibration(held, machine.name, "vendor", "", "")


def null(point: Point, rows: Sequence[Point]) -> float:
    """The roofline of a figure times the constant that suits some others best."""

    def slower(p: Point) -> float:  # than the roofline, in time
        light = said(p, steps(p), IDEAL)
        return p.value / light if p.quantity == "ttft_s" else light / p.value

    factor = float(np.exp(np.median(np.log([slower(p) for p in rows])))) if rows else 1.0
    light = said(point, steps(point), IDEAL)
    return light * factor if point.quantity == "ttft_s" else light / factor


def left_out(name: str) -> list[Line]:
    """Every figure, predicted from what one of SPLITS leaves."""
    lines = []
    for point in figures():
        rows = tuple(p for p in figures() if not SPLITS[name](p, point))
        lines.append(Line(name, point, said(point, steps(point), fitted(rows)), null(point, rows)))
    return lines


def shares(cal: Calibration, name: str, batch: int) -> np.ndarray:
    """Shares of the HBM roofline that output rates reach, at each of LENGTHS."""
    like = next(p for p in figures() if p.quantity == "output_tokens_per_s")
    alone = replace(like, model=name, batch=1, input_tokens=1, output_tokens=2)
    held = steps(alone)  # a step reads the weights, and two tokens of context
    walked = walk_seconds(held.batches.schedule, held.batches.machine, IDEAL, held.env)
    light = float(sum(s.memory for s in walked)[1, 0, 0])
    found = []
    for tokens in LENGTHS:
        point = replace(like, model=name, batch=batch, input_tokens=tokens, output_tokens=tokens)
        found.append(light * said(point, steps(point), cal) / batch)
    return np.array(found)


def kept() -> dict[str, list[Line]]:
    """What FILE holds: the figures beside what fits without them said, by what was left out."""
    with FILE.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found: dict[str, list[Line]] = {name: [] for name in SPLITS}
    for row, point in zip(rows, figures() * len(SPLITS), strict=True):
        assert float(row["published"]) == point.value, "run python validation/leave_out.py"
        found[row["left_out"]].append(
            Line(row["left_out"], point, float(row["ours"]), float(row["null"]))
        )
    return found


def keep(lines: Sequence[Line]) -> None:
    """Write FILE."""
    heads = ("left_out", "model", "batch", "quantity", "published", "ours", "null")
    with FILE.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(heads)
        for name, p, ours, base in lines:
            cells = (name, p.model, p.batch, p.quantity, p.value, f"{ours:.6g}", f"{base:.6g}")
            writer.writerow(cells)


def errors(found: dict[str, list[Line]]) -> str:
    """Errors by what was left out, in Markdown."""
    rows = []
    for name, lines in found.items():
        ours, base = (np.abs([getattr(x, k) for x in lines]) for k in ("error", "null_error"))
        rows.append(
            (name, str(len(lines)), f"{np.median(ours):.1%}", f"{ours.max():.1%}",
             f"{np.median(base):.1%}", f"{base.max():.1%}")
        )  # fmt: skip
    heads = ("left out of the fit", "n", "median", "worst", "null median", "null worst")
    return table(heads, rows, 1)


def each(found: dict[str, list[Line]]) -> str:
    """Every figure beside what fits without it say, in Markdown."""
    rows = []
    for lines in zip(*found.values(), strict=True):
        point = lines[0].point
        what = f"{point.model}, batch {point.batch}, {NAMES[point.quantity]}"
        rows.append((what, f"{point.value:,.4g}", *(f"{x.error:+.1%}" for x in lines)))
    return table(("figure", "published", *(f"without {name}" for name in found)), rows, 2)


def bands() -> str:
    """Where our shares of the HBM roofline lie beside those of the measured rows, in Markdown."""
    machine = figures()[0].where.machine
    shipped = calibrations.find(machine, "vendor")
    rows = []
    for name, batch, low, high in BANDS:
        cells = [f"{name}, batch {batch}", f"{low:.0%} to {high:.0%}"]
        for cal in (shipped, fitted(())):
            found = shares(cal, name, batch)
            inside = int(((low <= found) & (found <= high)).sum())
            cells += [f"{found.min():.0%} to {found.max():.0%}", f"{inside} of {len(found)}"]
        rows.append(cells)
    heads = ("rows", "measured", "shipped", "inside", "nothing fitted", "inside")
    return table(heads, rows, 1)


if __name__ == "__main__":
    keep([line for name in SPLITS for line in left_out(name)])
    print(errors(kept()), each(kept()), bands(), sep="\n\n")
