"""Fit the calibration of a machine and engine to measured rows: a maximum a posteriori estimate.

Residuals are ``log(measured / predicted)`` over the rows' scatter, and beside them the priors of
`price.calibration` on the logarithm of every parameter.  Rows scatter as Student's t does, so the
pull of a row fades once it is absurd; as that has several optima, the first round takes a
pseudo-Huber loss, which has one.  The covariance is Laplace's: the inverse of the squared Jacobian
at the optimum.  What scatter the rows keep is the calibration's residual.

Rows of one model err together: a model's own kernels, shapes and graphs are not modelled.  So each
model has an offset of its own, drawn from a normal and integrated out.  A thousand rows of one
model then say much about how shapes differ and little about the level, fits do not bend to please
a model, and an interval holds for models that were not among the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from maquette.machines.types import Machine
from maquette.price.calibration import (
    NAMES,
    PARAMETERS,
    Basis,
    Calibration,
    first_principles,
    priors,
    stacked,
)

Floats = NDArray[np.float64]
START_SCATTER = 0.10  # of log(measured / predicted), before the rows tell
LEAST_SCATTER = 0.008  # a repeated static batch scatters this much
# Engines reach about this share of what a large plain product reaches: prefill of 16 × 1024 tokens
# with TensorRT-LLM is at 0.86 (H100) and 0.92 (A100) of the measured product ceilings.
OF_CEILING, CEILING_SD = 0.90, 0.12
ROUNDS = 5
STEP = 1e-5  # of a log parameter, to take slopes
# Standard deviation of a model's offset.  A fit of four parameters per hardware and framework had a
# median error of 2.9 % on rows it was fitted to and of 6.2 % on rows of other shapes and models.
# It counts as so many models that were seen beside those of the rows.
OFFSET, OFFSET_MODELS = 0.04, 3
FREEDOM = 4.0  # degrees of freedom of the scatter of rows: the usual choice of robust regression


@dataclass(frozen=True, eq=False)
class Observed:
    """Rows priced by one function: measured seconds beside what a calibration predicts."""

    measured: Floats
    predict: Callable[[Calibration], Floats]
    sigma: Floats  # relative standard deviation a row states itself; 0 where it states none
    what: str
    model: str = ""  # rows of one model share an offset; "" share none
    several: Callable[[Calibration], Floats] | None = None  # `stacked` ones: (calibration, row)


@dataclass(frozen=True)
class Prior:
    """Mean and covariance of the logarithm of every parameter, in the order of NAMES."""

    mean: Floats
    covariance: Floats

    @property
    def sd(self) -> Floats:
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @staticmethod
    def of(cal: Calibration) -> Prior:
        """What a calibration already says."""
        return Prior(cal.vector, np.array(cal.covariance))


def prior(machine: Machine) -> Prior:
    """What is plausible of a machine before any row.

    Where a product's measured ceiling is a fact of the machine, `matrix` is centred a little below.
    """
    known = priors(machine.style).values()
    mean, sd = np.log([p[0] for p in known]), np.array([p[1] for p in known])
    shares = [
        float(fact.value) / float(machine.compute.matrix[fmt].value)
        for fmt, fact in machine.compute.ceiling.items()
        if fmt in ("bf16", "f16") and fmt in machine.compute.matrix
    ]
    if shares:
        at = NAMES.index("matrix")
        mean[at], sd[at] = np.log(min(shares[0], 1.0) * OF_CEILING), CEILING_SD
    return Prior(mean, np.diag(sd**2))


@dataclass(frozen=True, eq=False)
class Fitted:
    """An optimum and what is known about it."""

    logs: Floats
    covariance: Floats
    scatter: float  # of a row of any model, seen or not
    rows: int


def maximise(observed: Sequence[Observed], before: Prior, near: Fitted | None = None) -> Fitted:
    """The most probable log parameters given rows and priors, sought `near` an earlier optimum."""
    blank = first_principles("", "")
    fraction = np.array([p[2] for p in PARAMETERS.values()])
    upper = np.where(fraction, 0.0, np.inf)
    logs = np.minimum(before.mean if near is None else near.logs, upper - 1e-3)
    measured = np.log(np.concatenate([o.measured for o in observed]))
    stated = np.concatenate([o.sigma for o in observed])
    scatter, offsets = START_SCATTER if near is None else near.scatter, np.zeros(0)
    whiten = np.linalg.inv(np.linalg.cholesky(before.covariance))

    def gaps(xs: Sequence[Floats]) -> Floats:
        cals = [blank.at(x) for x in xs]
        many = stacked(cals)
        predicted = np.concatenate([_under(o, cals, many) for o in observed], axis=1)
        return np.asarray(measured - np.log(predicted))

    together = _together(observed)

    def weighed(x: Floats, gap: Floats) -> Floats:
        sd = np.hypot(stated, scatter)
        offsets = _offsets(gap, sd, together)
        bent = bend(_less(gap, offsets, together) / sd)
        return np.concatenate([bent, offsets / OFFSET, whiten @ (x - before.mean)])

    def residuals(x: Floats) -> Floats:
        return weighed(x, gaps([x])[0])

    def jacobian(x: Floats) -> Floats:
        near = [x, *(x - STEP * np.eye(len(x)))]  # below: fractions never exceed 1
        here, *moved = [weighed(y, gap) for y, gap in zip(near, gaps(near), strict=True)]
        return np.stack([(here - m) / STEP for m in moved], axis=1)

    slopes_by = jacobian if all(o.several for o in observed) else "2-point"
    bends = [_student] * ROUNDS if near else [_huber, *[_student] * ROUNDS]
    for bend in bends:
        held = least_squares(
            residuals, logs, jac=slopes_by, bounds=(-np.inf, upper), x_scale=before.sd,
            ftol=1e-6, xtol=1e-6,
        )  # fmt: skip
        logs, before_it = held.x, scatter
        gap = gaps([logs])[0]
        offsets = _offsets(gap, np.hypot(stated, scatter), together)
        scatter = _scatter(_less(gap, offsets, together), stated)
        if bend is _student and abs(scatter / before_it - 1) < 0.05:
            break
    slopes = jacobian(logs)
    covariance = np.linalg.inv(slopes.T @ slopes)
    residual = float(np.hypot(scatter, _spread(offsets)))
    return Fitted(logs, (covariance + covariance.T) / 2, residual, len(measured))


def _under(one: Observed, cals: Sequence[Calibration], many: Calibration) -> Floats:
    """Predictions under each calibration, (calibration, row)."""
    return one.several(many) if one.several else np.stack([one.predict(c) for c in cals])


def _together(observed: Sequence[Observed]) -> list[NDArray[np.int64]]:
    """Positions of the rows of each model."""
    names = np.concatenate([np.full(len(o.measured), o.model, dtype=object) for o in observed])
    return [np.flatnonzero(names == name) for name in sorted({*names} - {""})]


def _offsets(gaps: Floats, sd: Floats, together: Sequence[NDArray[np.int64]]) -> Floats:
    """The offset of each model at which its rows are likeliest, found by reweighting."""
    found = np.zeros(len(together))
    for i, rows in enumerate(together):
        own = gaps[rows]
        middle = float(np.median(own))
        for _ in range(4):
            scaled = (own - middle) / sd[rows]
            weight = (FREEDOM + 1) / (FREEDOM + scaled**2) / sd[rows] ** 2
            middle = float(weight @ own / (weight.sum() + OFFSET**-2))
        found[i] = middle
    return found


def _less(gaps: Floats, offsets: Floats, together: Sequence[NDArray[np.int64]]) -> Floats:
    """Gaps without the offsets of their models."""
    left = gaps.copy()
    for offset, rows in zip(offsets, together, strict=True):
        left[rows] -= offset
    return left


def _spread(offsets: Floats) -> float:
    """Standard deviation of offsets, what was seen before counting as a few models."""
    if not len(offsets):
        return 0.0
    seen = OFFSET_MODELS * OFFSET**2 + float(offsets @ offsets)
    return float(np.sqrt(seen / (OFFSET_MODELS + len(offsets))))


def _huber(scaled: Floats) -> Floats:
    """Half its square is the pseudo-Huber loss: convex, pulls of at most 1."""
    return np.asarray(np.sign(scaled) * np.sqrt(2 * (np.sqrt(1 + scaled**2) - 1)))


def _student(scaled: Floats) -> Floats:
    """Half its square is the negative logarithm of Student's t: pulls fade again."""
    loss = (FREEDOM + 1) * np.log1p(scaled**2 / FREEDOM)
    return np.asarray(np.sign(scaled) * np.sqrt(loss))


def _scatter(gaps: Floats, stated: Floats) -> float:
    """Standard deviation of what rows keep, beyond what they state; tails count, moderately.

    The mean of a robust spread and of the root mean square, the latter cut at four times the
    former: intervals should hold for odd rows too, but one absurd row should not widen all.
    """
    robust = 1.4826 * float(np.median(np.abs(gaps)))
    cut = np.clip(gaps, -4 * robust, 4 * robust)
    spread = (robust + float(np.sqrt(np.mean(cut**2)))) / 2
    excess = spread**2 - float(np.mean(stated**2))
    return float(np.sqrt(max(excess, LEAST_SCATTER**2)))


def calibration(
    fitted: Fitted, machine: str, engine: str, version: str, source: str, basis: Basis = "fitted"
) -> Calibration:
    """A `Calibration` of a fit."""
    return replace(
        first_principles(machine, engine).at(fitted.logs),
        version=version,
        covariance=tuple(tuple(float(x) for x in row) for row in fitted.covariance),
        residual=fitted.scatter,
        basis=basis,
        rows=fitted.rows,
        source=source,
    )
