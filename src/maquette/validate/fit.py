"""Fit the calibration of a machine and engine to measured rows: a maximum a posteriori estimate.

Residuals are ``log(measured / predicted)`` over the rows' scatter, and beside them the priors of
`price.calibration` on the logarithm of every parameter.  Rows scatter as Student's t does, so the
pull of a row fades once it is absurd; as that has several optima, the first round takes a
pseudo-Huber loss, which has one.  The covariance is Laplace's: the inverse of the squared Jacobian
at the optimum.  What scatter the rows keep is the calibration's residual.

Rows of one model err together: a model's own kernels, shapes and graphs are not modelled.  So do
rows of one version of an engine.  So each model and each version has an offset of its own, drawn
from a normal whose spread the rows tell.  A thousand rows of one model then say much about how
shapes differ and little about the level, fits do not bend to please a model, and an interval holds
for models that were not among the rows.  Offsets are kept: a price of a model and version that rows
were of has them (`Calibration.of`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, least_squares

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
Texts = NDArray[np.object_]
START_SCATTER = 0.10  # of log(measured / predicted), before the rows tell
LEAST_SCATTER = 0.008  # a repeated static batch scatters this much
# Engines reach about this share of what a large plain product reaches: prefill of 16 × 1024 tokens
# with TensorRT-LLM is at 0.86 (H100) and 0.92 (A100) of the measured product ceilings.
OF_CEILING, CEILING_SD = 0.90, 0.12
ROUNDS = 5
STEP = 1e-5  # of a log parameter, to take slopes
# Standard deviation of the offset of a model and of a version, before the rows tell.
# A fit of four parameters per hardware and framework had a median error of 2.9 % on rows it was
# fitted to and of 6.2 % on rows of other shapes and models.  Attention of an H100 moves by 2-28 %
# from one version to the next, products by 1-2.5 %.
OFFSETS: Mapping[str, float] = {"model": 0.10, "version": 0.05}
SEEN = 3  # of what a deviation is estimated from, rows or offsets, that its first guess counts as
SWEEPS = 5  # of weights, for the offsets
FREEDOM = 4.0  # degrees of freedom of the scatter of rows: the usual choice of robust regression


@dataclass(frozen=True, eq=False)
class Observed:
    """Rows priced by one function: measured times beside what a calibration predicts."""

    measured: Floats
    predict: Callable[[Calibration], Floats]
    sigma: Floats  # relative standard deviation a row states itself; 0 where it states none
    what: str
    model: str = ""  # rows of one model share an offset; "" share none
    version: Texts | str = ""  # so do those of one version of the engine
    several: Callable[[Calibration], Floats] | None = None  # `stacked` ones: (calibration, row)


@dataclass(frozen=True)
class Prior:
    """Mean and covariance of the logarithm of every parameter, in the order of NAMES; and what is
    known of the offsets of models and versions, as a `Calibration` has it."""

    mean: Floats
    covariance: Floats
    spreads: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)

    @property
    def sd(self) -> Floats:
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @staticmethod
    def of(cal: Calibration) -> Prior:
        """What a calibration already says."""
        return Prior(cal.vector, np.array(cal.covariance), cal.spreads, cal.offsets)


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
    scatter: float  # of a row of any model and version, seen or not
    rows: int
    spreads: Mapping[str, float] = field(default_factory=dict)  # of the offsets of a kind
    offsets: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows that err together."""

    kind: str  # of OFFSETS
    name: str
    rows: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Offsets:
    """What is known of the offsets of groups."""

    mean: Floats
    variance: Floats

    @property
    def sd(self) -> Floats:
        return np.asarray(np.sqrt(self.variance))


def maximise(
    observed: Sequence[Observed], before: Prior, near: Fitted | None = None, seen: int = SEEN
) -> Fitted:
    """The most probable log parameters given rows and priors, sought `near` an earlier optimum.

    What is expected of their scatter counts as `seen` rows.
    """
    blank = first_principles("", "")
    upper = np.where([p[2] for p in PARAMETERS.values()], 0.0, np.inf)
    logs = np.minimum(before.mean if near is None else near.logs, upper - 1e-3)
    measured = np.log(np.concatenate([o.measured for o in observed]))
    stated = np.concatenate([o.sigma for o in observed])
    scatter = START_SCATTER if near is None else near.scatter
    whiten = np.linalg.inv(np.linalg.cholesky(before.covariance))

    def gaps(xs: Sequence[Floats]) -> Floats:
        cals = [blank.at(x) for x in xs]
        many = stacked(cals)
        predicted = np.concatenate([_under(o, cals, many) for o in observed], axis=1)
        return np.asarray(measured - np.log(predicted))

    groups = _groups(observed, before)
    expected = _expected(groups, before, {**OFFSETS, **before.spreads})

    def weighed(x: Floats, gap: Floats) -> Floats:
        sd = np.hypot(stated, scatter)
        offsets = _offsets(gap, sd, groups, expected).mean
        bent = bend(_less(gap, offsets, groups) / sd)
        moved = (offsets - expected.mean) / expected.sd
        return np.concatenate([bent, moved, whiten @ (x - before.mean)])

    def residuals(x: Floats) -> Floats:
        return weighed(x, gaps([x])[0])

    def jacobian(x: Floats) -> Floats:
        near = [x, *(x - STEP * np.eye(len(x)))]  # below: fractions never exceed 1
        here, *moved = [weighed(y, gap) for y, gap in zip(near, gaps(near), strict=True)]
        return np.stack([(here - m) / STEP for m in moved], axis=1)

    slopes_by = jacobian if any(o.several for o in observed) else "2-point"
    bends = [_student] * ROUNDS if near else [_huber, *[_student] * ROUNDS]
    for bend in bends:
        held = least_squares(
            residuals, logs, jac=slopes_by, bounds=(-np.inf, upper), x_scale=before.sd,
            ftol=1e-6, xtol=1e-6,
        )  # fmt: skip
        logs, before_it = held.x, scatter
        gap = gaps([logs])[0]
        offsets = _offsets(gap, np.hypot(stated, scatter), groups, expected)
        scatter = _scatter(_less(gap, offsets.mean, groups), stated, seen)
        spreads = {kind: _spread(kind, groups, offsets, before) for kind in OFFSETS}
        expected, last = _expected(groups, before, spreads), expected
        still = abs(scatter / before_it - 1) < 0.05 and np.allclose(expected.sd, last.sd, rtol=0.1)
        if bend is _student and still:
            break
    return Fitted(
        logs,
        _inverse_square(jacobian(logs)),
        float(np.linalg.norm([scatter, *spreads.values()])),
        len(measured),
        {kind: spread for kind, spread in spreads.items() if spread},
        _named(groups, offsets, before),
    )


def _inverse_square(slopes: Floats) -> Floats:
    found = np.linalg.inv(slopes.T @ slopes)
    return np.asarray((found + found.T) / 2)


def _under(one: Observed, cals: Sequence[Calibration], many: Calibration) -> Floats:
    """Predictions under each calibration, (calibration, row)."""
    return one.several(many) if one.several else np.stack([one.predict(c) for c in cals])


def _groups(observed: Sequence[Observed], before: Prior) -> list[_Group]:
    """The rows of each model, and of each version where several are to be told apart or known."""
    found: list[_Group] = []
    for kind, least in (("model", 1), ("version", 2)):
        each = (np.broadcast_to(getattr(o, kind), len(o.measured)) for o in observed)
        names = np.concatenate([n.astype(object) for n in each])
        known = sorted({*map(str, names)} - {""})
        if len(known) >= least or before.offsets.get(kind):
            found += [_Group(kind, n, np.flatnonzero(names == n)) for n in known]
    return found


def _expected(groups: Sequence[_Group], before: Prior, spreads: Mapping[str, float]) -> _Offsets:
    """Offsets before the rows: as known, else somewhere about zero."""
    new = {kind: (0.0, spread) for kind, spread in spreads.items()}
    found = [before.offsets.get(g.kind, {}).get(g.name, new[g.kind]) for g in groups]
    mean, sd = np.array(found, dtype=float).reshape(-1, 2).T
    return _Offsets(mean, np.maximum(sd, LEAST_SCATTER) ** 2)


def _offsets(gaps: Floats, sd: Floats, groups: Sequence[_Group], expected: _Offsets) -> _Offsets:
    """The offsets at which rows are likeliest, all together, found by reweighting.

    A model that only one version ran and that version share what their rows say, and know less of
    themselves: variances are marginal.
    """
    mean, variance, left = expected.mean, expected.variance, gaps.copy()
    for group in groups:  # weights begin about the middle of each
        left[group.rows] -= float(np.median(left[group.rows]))
    of = np.zeros((len(gaps), len(groups)))
    for i, group in enumerate(groups):
        of[group.rows, i] = 1.0
    for _ in range(SWEEPS if groups else 0):
        weight = (FREEDOM + 1) / (FREEDOM + (left / sd) ** 2) / sd**2
        weighed = of * weight[:, None]
        known = np.linalg.inv(of.T @ weighed + np.diag(1 / expected.variance))
        mean = known @ (weighed.T @ gaps + expected.mean / expected.variance)
        variance = np.diag(known)
        left = _less(gaps, mean, groups)
    return _Offsets(mean, variance)


def _less(gaps: Floats, offsets: Floats, groups: Sequence[_Group]) -> Floats:
    """Gaps without the offsets of their groups."""
    left = gaps.copy()
    for offset, group in zip(offsets, groups, strict=True):
        left[group.rows] -= offset
    return left


def _spread(kind: str, groups: Sequence[_Group], offsets: _Offsets, before: Prior) -> float:
    """Standard deviation of offsets of a kind, what was seen before counting as a few of them.

    Groups that rows say nothing about leave it as it was (expectation-maximisation).
    """
    own = np.array([g.kind == kind for g in groups], dtype=bool)
    if not own.any():
        return before.spreads.get(kind, 0.0)
    seen = float((offsets.mean[own] ** 2 + offsets.variance[own]).sum())
    first = before.spreads.get(kind, OFFSETS[kind])
    return float(np.sqrt((SEEN * first**2 + seen) / (SEEN + own.sum())))


def _named(
    groups: Sequence[_Group], offsets: _Offsets, before: Prior
) -> dict[str, dict[str, tuple[float, float]]]:
    """Offsets and their standard deviations, by kind and name; what was known of others stays."""
    found = {kind: dict(known) for kind, known in before.offsets.items()}
    for group, mean, variance in zip(groups, offsets.mean, offsets.variance, strict=True):
        found.setdefault(group.kind, {})[group.name] = float(mean), float(np.sqrt(variance))
    return found


def _huber(scaled: Floats) -> Floats:
    """Half its square is the pseudo-Huber loss: convex, pulls of at most 1."""
    return np.asarray(np.sign(scaled) * np.sqrt(2 * (np.sqrt(1 + scaled**2) - 1)))


def _student(scaled: Floats) -> Floats:
    """Half its square is the negative logarithm of Student's t: pulls fade again."""
    loss = (FREEDOM + 1) * np.log1p(scaled**2 / FREEDOM)
    return np.asarray(np.sign(scaled) * np.sqrt(loss))


def _scatter(gaps: Floats, stated: Floats, seen: int = SEEN) -> float:
    """Standard deviation of what rows keep, beyond what they state: with both, gaps are of size 1.

    Size is the mean of a robust spread and of the root mean square, the latter cut at four times
    the former: intervals should hold for odd rows too, but one absurd row should not widen all.
    A row tells of the scatter as far as it does not state more itself.  What was expected before
    counts as a few rows, lest a few that are met exactly tell everything.
    """

    def telling(scatter: float) -> Floats:
        return np.asarray(scatter**2 / (scatter**2 + stated**2))

    def above(scatter: float) -> float:
        scaled, weight = np.abs(gaps) / np.hypot(stated, scatter), telling(scatter)
        order = np.argsort(scaled)
        reached = np.cumsum(weight[order])
        robust = 1.4826 * scaled[order][np.searchsorted(reached, reached[-1] / 2)]
        cut = np.minimum(scaled, 4 * robust)
        return float(robust + np.sqrt(np.average(cut**2, weights=weight))) / 2 - 1

    found = LEAST_SCATTER
    if above(found) > 0:
        found = float(brentq(above, found, 3 * float(np.abs(gaps).max()), rtol=1e-4))
    rows = float(telling(found).sum())
    return float(np.sqrt((seen * START_SCATTER**2 + rows * found**2) / (seen + rows)))


def calibration(
    fitted: Fitted, machine: str, engine: str, version: str, source: str, basis: Basis = "fitted"
) -> Calibration:
    """A `Calibration` of a fit."""
    return replace(
        first_principles(machine, engine).at(fitted.logs),
        version=version,
        covariance=tuple(tuple(float(x) for x in row) for row in fitted.covariance),
        residual=fitted.scatter,
        spreads=fitted.spreads,
        offsets=fitted.offsets,
        basis=basis,
        rows=fitted.rows,
        source=source,
    )
