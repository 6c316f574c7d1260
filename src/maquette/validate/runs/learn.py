"""What measured runs say of the constants: a Bayesian update of a calibration by simulation.

The prior is the calibration that prices the deployment today, widened by what one system differs
from others of its kind.  The likelihood compares logarithms of what a client measured and of what
it sees in a simulation of the same load, with common random numbers.  The maximum is found by
steps of `fit.maximise` on the linearised simulation, the covariance is Laplace's.  Errors are of
points that were not used: of each fold of runs by the fit to all others.

Which requests share a batch changes with any constant, and what a client sees jumps with it, so
slopes at a point say little.  A simulation is linearised over a region instead, by a regression
through draws from it (statistical linearisation, as ensemble smoothers do), and regions shrink.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from maquette.catalogue.calibrations import HOST
from maquette.price.calibration import NAMES, Calibration
from maquette.validate.fit import OFFSETS, Fitted, Observed, Prior, maximise
from maquette.validate.runs.forward import Point, predict
from maquette.validate.runs.types import Key
from maquette.validate.score import NOISE_FLOORS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Progress = Callable[[str, int, int], None]

FOLDS = 5
SEEDS = 3  # further draws of the traffic, for how much a measured mean scatters
REGION = 32  # draws a simulation is linearised over, in mirrored pairs; more than constants
SHRINKING = (1.0, 0.5, 0.3)  # regions one after another, in deviations of the prior
RIDGE = 0.01  # of a slope, in what one deviation of a region says
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
    fits = 1 + folds * (folds > 1)
    passes = 3 + len(NAMES) + SEEDS + REGION + fits * (1 + (len(SHRINKING) - 1) * REGION)
    search = _Search(points, before, progress, passes)
    rows = _rows(points, search)
    wide = _prior(before)
    first = search.about(wide.mean, wide, SHRINKING[0])
    start = search.at(before.vector)
    told = _told(start, first.slopes, np.array(before.covariance), before.residual, rows)
    best = search.best(rows, rows.fitted, wide, first)
    found, residual = _posterior(before, rows, rows.fitted, wide, best)
    held, constant = None, None
    if folds > 1:
        held, constant = _held_out(search, rows, fold, wide, first, start, before)
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
    search = _Search(points, cal, progress, 3 + len(NAMES) + REGION + SEEDS)
    rows = _rows(points, search)
    covariance = np.array(cal.covariance)
    slopes = search.about(cal.vector, Prior(cal.vector, covariance), 1.0).slopes
    told = _told(search.at(cal.vector), slopes, covariance, cal.residual, rows)
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
    """A place of the search, or a region about it."""

    logs: Floats  # of the parameters
    said: Floats  # logarithms of what all points see, or their mean over the region
    slopes: Floats
    left: Floats  # what no line through the region says, the deviation of each


class _Search:
    """Simulations of all points, counted."""

    def __init__(
        self, points: Sequence[Point], cal: Calibration, progress: Progress, total: int
    ) -> None:
        self.points, self.cal, self.progress, self.total = points, cal, progress, total
        self.passes = 0
        self._moving: Bools | None = None

    def at(self, logs: Floats, seed: int = 0) -> Floats:
        """Logarithms of what all points see."""
        self.passes += 1
        self.progress("simulating", min(self.passes, self.total - 1), self.total)
        return predict(self.points, self.cal.at(logs), seed)

    def about(self, logs: Floats, known: Prior, spread: float) -> _At:
        """The simulation as a line through a region: a ridge regression of what draws see.

        Draws lie about `logs`, `spread` deviations of what is `known` away.
        """
        on = self.moving(known)
        root = np.linalg.cholesky(known.covariance + np.eye(len(NAMES)) * 1e-12) * spread
        half = np.random.default_rng(self.passes).standard_normal((REGION // 2, len(NAMES)))
        away = np.concatenate([half, -half]) @ root.T
        seen = np.stack([self.at(logs + step) for step in away])
        mean = seen.mean(axis=0)
        sd = np.maximum(np.sqrt(np.diag(known.covariance))[on] * spread, 1e-12)
        by = away[:, on] / sd  # one deviation of a region each
        gram = by.T @ by + RIDGE * REGION * np.eye(len(sd))
        told = np.linalg.solve(gram, by.T @ (seen - mean))
        left = np.sqrt(np.sum((seen - mean - by @ told) ** 2, axis=0) / (REGION - len(sd)))
        slopes = np.zeros((len(mean), len(NAMES)))
        slopes[:, on] = (told / sd[:, None]).T
        return _At(logs, mean, slopes, left)

    def moving(self, known: Prior) -> Bools:
        """Which constants move anything at all: those of no use to these runs stay as they are."""
        if self._moving is None:
            there, sd = self.at(known.mean), np.sqrt(np.diag(known.covariance)) + 0.1
            moved = [self.at(known.mean - step) for step in np.diag(sd)]
            self._moving = np.array([not np.array_equal(x, there) for x in moved])
        return self._moving

    def best(self, rows: Rows, used: Bools, wide: Prior, first: _At) -> _At:
        """Where the most probable logarithms are, what is seen there, and the slopes about it."""
        at = first
        for spread in SHRINKING[1:]:
            at = self.about(_likely(rows, used, wide, at), wide, spread)
        logs = _likely(rows, used, wide, at)
        return replace(at, logs=logs, said=self.at(logs))


def _likely(rows: Rows, used: Bools, wide: Prior, at: _At) -> Floats:
    """The most probable logarithms by a line, which leaves as much unsaid as it does."""
    return _maximise(rows, used, wide, at, float(np.median(at.left[used]))).logs


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
    search: _Search, rows: Rows, fold: NDArray[np.int64], wide: Prior, first: _At, start: Floats,
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
            gaps = (rows.measured - start)[same & ~out]
            constant[same & out] = start[same & out] + (np.median(gaps) if len(gaps) else 0.0)
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
    """The updated calibration, as a file keeps it.

    Its residual is of what these very clients saw: what others left unexplained of such loads goes.
    """
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
        unexplained=_others(before, rows),
        basis="fitted",
        rows=count,
        source=said,
        notes=(f"mostly as before: {', '.join(weak)}",) if weak else (),
    )


def _others(before: Calibration, rows: Rows) -> dict[str, float]:
    """What is unexplained of loads that were not run."""
    run = {"closed" if p.run.load.concurrency else "open" for p in rows.points}
    return {k: sd for k, sd in before.unexplained.items() if k.partition(" ")[0] not in run}
