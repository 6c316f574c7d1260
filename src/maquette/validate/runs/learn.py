"""What measured runs say of the constants: a Bayesian update of a calibration by simulation.

The prior is the calibration that prices the deployment today, widened by what one system differs
from others of its kind.  The likelihood compares logarithms of what a client measured and of what
it sees in a simulation of the same load, with common random numbers.  The maximum is found by
steps of `fit.maximise` on the linearised simulation (its Jacobian by differences, then Broyden's
updates); the covariance is Laplace's.  Errors are of points that were not used: of each fold of
runs by the fit to all others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maquette.catalogue.calibrations import HOST
from maquette.price.calibration import NAMES, PARAMETERS, Calibration
from maquette.validate.fit import OFFSETS, Fitted, Observed, Prior, maximise
from maquette.validate.runs.forward import Point, predict
from maquette.validate.runs.types import Key
from maquette.validate.score import NOISE_FLOORS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Progress = Callable[[str, int, int], None]

FOLDS = 5
SEEDS = 3  # further draws of the traffic, for how much a measured mean scatters
# Of a log parameter.  Which requests share a batch changes with any constant, and means of times
# to first token with it, by about 1 %: over short steps that drowns slopes.
STEP = 0.2
MOST_STEPS, FARTHEST = 5, 0.7  # of the search, and how far one goes in any log parameter
# What is not told apart from noise, of a logarithm: much at first, as far from the optimum a loss
# that forgives large gaps has many; slopes are measured anew for each.
WIDTHS = (0.3, 0.1, 0.0, 0.0)
SETTLED = 0.05  # steps of so few prior deviations are none …
GAIN = 1.0  # … and twice a log probability of so little more is none either
# What the overheads of one host, engine version and set of flags differ from others of their kind:
# vLLM 0.6 and 0.15 on an H100 differ by 0.35 (launch) and 0.59 (step) in the logarithm.
HOST_SD = 0.5
RESIDUAL_ROWS = 1.0  # what a calibration's own residual counts beside the rows


@dataclass(frozen=True, eq=False)
class Rows:
    """Measured values of all points, one below the other."""

    points: Sequence[Point]
    key: tuple[Key, ...]
    point: NDArray[np.int64]  # which point a row is of
    measured: Floats  # logarithms
    fitted: Bools  # rows that inform a fit; the others follow from them and are only scored
    noise: Floats  # standard deviation of the logarithm of a measurement


@dataclass(frozen=True, eq=False)
class Told:
    """What a calibration says of all rows."""

    predicted: Floats  # logarithms
    sd: Floats


@dataclass(frozen=True, eq=False)
class Learned:
    """A calibration before and after, and what both say of rows that were not used for it."""

    before: Calibration
    after: Calibration
    rows: Rows
    told_before: Told
    told_held_out: Told | None  # None: one condition alone, nothing could be held out
    constant: Floats | None  # the null model: what was said before times one factor per quantity
    folds: int
    conditions: int
    simulations: int


def learn(
    points: Sequence[Point], progress: Progress = lambda *_: None, hold_out: bool = True
) -> Learned:
    """Update the calibration of points that share it; without `hold_out` no point is told apart."""
    before = _of_models(points[0].deployment.known, points)
    fold = _folds(points) if hold_out else np.zeros(len(points), np.int64)
    folds = int(fold.max()) + 1
    search = _Search(
        points, before, progress, 2 + len(NAMES) * 3 + SEEDS + (folds + 1) * MOST_STEPS
    )
    rows = _rows(points, search)
    start = search.at(before.vector)
    first = _At(before.vector, start, search.slopes(before.vector, start))
    wide = _prior(before)
    told = _told(start, first.slopes, np.array(before.covariance), before.residual, rows)
    best = search.best(rows, rows.fitted, wide, first)
    best = replace(best, slopes=search.slopes(best.logs, best.said))
    found, residual = _posterior(before, rows, rows.fitted, wide, best)
    held, constant = None, None
    if folds > 1:
        held, constant = _held_out(search, rows, fold, wide, first, before)
    after = _calibration(before, found, residual, wide, rows)
    progress("fitting", search.total, search.total)
    return Learned(
        before, after, rows, told, held, constant, folds, len({p.condition for p in points}),
        search.passes * len(points),
    )  # fmt: skip


def foretell(
    points: Sequence[Point], cal: Calibration, progress: Progress = lambda *_: None
) -> tuple[Rows, Told]:
    """What a calibration says of runs it has not seen, with intervals; nothing is fitted."""
    cal = _of_models(cal, points)
    search = _Search(points, cal, progress, 2 + len(NAMES) + SEEDS)
    rows = _rows(points, search)
    start = search.at(cal.vector)
    told = _told(
        start, search.slopes(cal.vector, start), np.array(cal.covariance), cal.residual, rows
    )
    progress("simulating", search.total, search.total)
    return rows, told


def _of_models(cal: Calibration, points: Sequence[Point]) -> Calibration:
    """The constants of any model, with what they leave unexplained of those that were run."""
    left = max(cal.of(name).residual for name in _models(points))
    return replace(cal, residual=left)


def _models(points: Sequence[Point]) -> list[str]:
    return sorted({p.deployment.model.name for p in points})


def _folds(points: Sequence[Point]) -> NDArray[np.int64]:
    """The fold of each point: whole conditions, so that no repetition of a run tells on it."""
    names = list(dict.fromkeys(p.condition for p in points))
    at = {name: i % min(FOLDS, len(names)) for i, name in enumerate(names)}
    return np.array([at[p.condition] for p in points])


@dataclass(frozen=True, eq=False)
class _At:
    """A place of the search."""

    logs: Floats  # of the parameters
    said: Floats  # logarithms of what all points see there
    slopes: Floats


class _Search:
    """Simulations of all points, counted."""

    def __init__(
        self, points: Sequence[Point], cal: Calibration, progress: Progress, total: int
    ) -> None:
        self.points, self.cal, self.progress, self.total = points, cal, progress, total
        self.passes = 0

    def at(self, logs: Floats, seed: int = 0) -> Floats:
        """Logarithms of what all points see."""
        self.passes += 1
        self.progress("simulating", min(self.passes, self.total - 1), self.total)
        return predict(self.points, self.cal.at(logs), seed)

    def slopes(self, logs: Floats, there: Floats) -> Floats:
        """d log(seen) / d log(parameter); fractions are stepped down, so that none exceeds 1."""
        columns = []
        for i, name in enumerate(NAMES):
            moved = logs.copy()
            step = -STEP if PARAMETERS[name][2] else STEP
            moved[i] += step
            columns.append((self.at(moved) - there) / step)
        return np.stack(columns, axis=1)

    def best(self, rows: Rows, used: Bools, wide: Prior, at: _At) -> _At:
        """Where the most probable logarithms are, what is seen there, and the slopes.

        Slopes are measured anew where steps along the old ones lead no further.
        """
        fresh = True
        for width in WIDTHS:
            if not fresh:
                at = replace(at, slopes=self.slopes(at.logs, at.said))
            loss = _loss(rows, used, wide, at.logs, at.said, width)
            at, settled = self._descend(rows, used, wide, at, width)
            gain = loss - _loss(rows, used, wide, at.logs, at.said, width)
            if not width and (settled or gain < GAIN):
                break
            fresh = gain < GAIN
        return at

    def _descend(
        self, rows: Rows, used: Bools, wide: Prior, at: _At, width: float
    ) -> tuple[_At, bool]:
        """Steps along slopes that each step corrects; whether the last one had nowhere to go."""
        loss, refused = _loss(rows, used, wide, at.logs, at.said, width), 0
        for _ in range(MOST_STEPS):
            step = _maximise(rows, used, wide, at, width).logs - at.logs
            step *= min(1.0, FARTHEST / max(float(np.abs(step).max()), 1e-12))
            if np.abs(step / wide.sd).max() < SETTLED:
                return at, True
            there = self.at(at.logs + step)
            if np.abs(step).max() > STEP:
                away = there - at.said - at.slopes @ step
                at = replace(at, slopes=at.slopes + np.outer(away, step) / float(step @ step))
            reached = _loss(rows, used, wide, at.logs + step, there, width)
            if reached < loss:
                at, loss = replace(at, logs=at.logs + step, said=there), reached
            elif (refused := refused + 1) > 1:
                return at, False
        return at, False


def _prior(before: Calibration) -> Prior:
    """What is known before: the calibration, and how much one system differs from others."""
    own = [HOST_SD if n in HOST else before.residual for n in NAMES]
    return Prior(before.vector, np.array(before.covariance) + np.diag(np.square(own)))


def _maximise(rows: Rows, used: Bools, wide: Prior, at: _At, more: float = 0.0) -> Fitted:
    """The most probable logarithms by the linearised simulation; `more` adds to the noise."""
    line, slope = at.said[used], at.slopes[used]
    observed = Observed(
        np.exp(rows.measured[used]),
        lambda cal: np.asarray(np.exp(line + slope @ (cal.vector - at.logs))),
        np.hypot(rows.noise[used], more),
        "runs",
    )
    return maximise([observed], wide, seen=0)  # `_residual` expects some itself


def _posterior(
    before: Calibration, rows: Rows, used: Bools, wide: Prior, at: _At
) -> tuple[Fitted, float]:
    """Optimum and covariance with rows that scatter as much as they do, and that scatter."""
    residual = _residual(before, _maximise(rows, used, wide, at), wide, rows, used)
    return _maximise(rows, used, wide, at, residual), residual


def _loss(rows: Rows, used: Bools, wide: Prior, x: Floats, said: Floats, width: float) -> float:
    """Negative log probability up to constants, with the scatter of a calibration's first look."""
    gap = (rows.measured - said)[used] / np.hypot(rows.noise[used], max(width, 0.05))
    away = np.linalg.solve(np.linalg.cholesky(wide.covariance), x - wide.mean)
    return float(np.sum(np.log1p(gap**2 / 4) * 5) + away @ away)


def _rows(points: Sequence[Point], search: _Search) -> Rows:
    keys = [(i, k) for i, p in enumerate(points) for k in p.measured]
    measured = np.log([p.measured[k] for p in points for k in p.measured])
    fitted = np.array([k in _informing(points[i]) for i, k in keys])
    drawn = np.stack([search.at(search.cal.vector, seed) for seed in range(SEEDS + 1)])
    floor = np.array([NOISE_FLOORS.get(("stages", k[0]), (0.01, ""))[0] for _, k in keys])
    noise = np.hypot(np.std(drawn, axis=0, ddof=1), floor)
    return Rows(points, tuple(k for _, k in keys), np.array([i for i, _ in keys]), measured,
                fitted, noise)  # fmt: skip


def _informing(point: Point) -> set[Key]:
    """A first-token time, a time per token, or what stands for them: no row twice."""
    found: set[Key] = set()
    for quantities in (("ttft",), ("tpot", "itl")):
        for key in ((q, s) for q in quantities for s in ("mean", "p50")):
            if key in point.measured:
                found.add(key)
                break
    if len(found) < 2:
        rest = (("e2e", "mean"), ("e2e", "p50"), ("output_tokens_per_s", "mean"))
        found |= {next((k for k in rest if k in point.measured), next(iter(point.measured)))}
    return found


def _told(said: Floats, slopes: Floats, covariance: Floats, residual: float, rows: Rows) -> Told:
    variance = np.einsum("ri,ij,rj->r", slopes, covariance, slopes)
    return Told(said, np.sqrt(np.maximum(variance, 0.0) + residual**2 + rows.noise**2))


def _held_out(
    search: _Search, rows: Rows, fold: NDArray[np.int64], wide: Prior, first: _At,
    before: Calibration,
) -> tuple[Told, Floats]:  # fmt: skip
    """What fits to the other folds say of each fold, and the null model, likewise."""
    predicted, sd, constant = (np.zeros(len(rows.key)) for _ in range(3))
    for nth in range(int(fold.max()) + 1):
        out = fold[rows.point] == nth
        used = rows.fitted & ~out
        at = search.best(rows, used, wide, first)
        found, residual = _posterior(before, rows, used, wide, at)
        told = _told(at.said, at.slopes, found.covariance, residual, rows)
        predicted[out], sd[out] = told.predicted[out], told.sd[out]
        for key in {*rows.key}:
            same = np.array([k == key for k in rows.key])
            gaps = (rows.measured - first.said)[same & ~out]
            constant[same & out] = first.said[same & out] + (np.median(gaps) if len(gaps) else 0.0)
    return Told(predicted, sd), constant


def _residual(before: Calibration, found: Fitted, wide: Prior, rows: Rows, used: Bools) -> float:
    """Scatter that rows keep, less what the fit took from it; the calibration's own counts too."""
    n = int(used.sum())
    taken = np.trace(np.eye(len(NAMES)) - found.covariance @ np.linalg.inv(wide.covariance))
    free = max(n - float(taken), 1.0)
    square = found.scatter**2 * n / free
    mixed = (RESIDUAL_ROWS * before.residual**2 + n * square) / (RESIDUAL_ROWS + n)
    return float(np.sqrt(mixed))


def _calibration(
    before: Calibration, found: Fitted, residual: float, wide: Prior, rows: Rows
) -> Calibration:
    """The updated calibration, as a file keeps it."""
    share = np.sqrt(np.diag(found.covariance)) / wide.sd
    weak = [n for n, s in zip(NAMES, share, strict=True) if s > 0.8]
    count = int(rows.fitted.sum())
    versions = {p.run.said.version for p in rows.points} - {None}
    said = f"{count} values of {len(rows.points)} measured runs; before: {before.source}"
    offsets = dict(before.offsets.get("model", {}))
    own = {name: offsets.get(name, (0.0, 0.0)) for name in _models(rows.points)}
    spread = before.spreads.get("model", OFFSETS["model"])
    others = spread**2 - max(sd for _, sd in own.values()) ** 2
    return replace(
        before.at(found.logs),
        version=", ".join(sorted(map(str, versions))) or before.version,
        covariance=tuple(tuple(float(x) for x in row) for row in found.covariance),
        residual=float(np.sqrt(residual**2 + max(others, 0.0))),
        spreads={"model": spread},
        offsets={"model": {**offsets, **own}},
        basis="fitted",
        rows=count,
        source=said,
        notes=(f"mostly as before: {', '.join(weak)}",) if weak else (),
    )
