"""A price is an interval: the calibration's posterior pushed through the price.

Draws are spread evenly along one direction, the one that moves a price most, and are mirrored
about the middle; what is left is drawn at random.  Most of what a latency owes to a calibration is
how slow everything is, so that a few such draws place quantiles that independent ones would need
many for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.price.calibration import NAMES, PARAMETERS, Calibration

Floats = NDArray[np.float64]
STEP = 1e-3  # of a log parameter
Z80 = 1.2815515655446004  # half-width of a central 80 % interval in standard deviations


@dataclass(frozen=True)
class Estimate:
    """A point and a central 80 % interval."""

    point: float
    low: float
    high: float
    reason: str  # where the constants come from: fitted, published summary, transferred …


def estimate(
    price: Callable[[Calibration], float], cal: Calibration, draws: int = 40, seed: int = 0
) -> Estimate:
    """`price` at the calibration, and over draws of its posterior with its residual error.

    >>> from maquette.price.calibration import first_principles
    >>> e = estimate(lambda c: 1e-3 / c["memory"], first_principles("m", "vllm"))
    >>> e.low < e.point < e.high
    True
    """
    rng = np.random.default_rng(seed + 1)
    noise = np.exp(rng.normal(0.0, cal.residual, size=draws))
    values = np.array([price(c) for c in cal.draws(draws, seed)]) * noise
    low, high = np.quantile(values, [0.1, 0.9])
    point = price(cal)
    return Estimate(point, min(float(low), point), max(float(high), point), cal.basis)


def gradient(price: Callable[[Calibration], Any], cal: Calibration) -> Floats:
    """d log(price) / d log(parameter), over parameters on the last axis.

    Fractions are stepped down, so that none exceeds 1.
    """
    point = np.log(np.asarray(price(cal), dtype=float))
    logs = cal.vector
    slopes = []
    for i, name in enumerate(NAMES):
        step = -STEP if PARAMETERS[name][2] else STEP
        moved = logs.copy()
        moved[i] += step
        slopes.append((np.log(np.asarray(price(cal.at(moved)), dtype=float)) - point) / step)
    return np.stack(slopes, axis=-1)


def spread_draws(cal: Calibration, slope: Floats, n: int, seed: int = 0) -> list[Calibration]:
    """`n` calibrations of the posterior, each with its residual error, even along `slope`.

    `slope` is `gradient` of the price that matters.  With the residual there is one number more
    than parameters; all are independent and standard normal, and one direction of them is that
    of the price.  Along it the draws are the middles of `n` equally likely stretches; across it
    they are random, mirrored in pairs.

    >>> from maquette.price.calibration import first_principles
    >>> prior = first_principles("m", "vllm")
    >>> slope = gradient(lambda c: 1 / c["memory"], prior)
    >>> [round(1 / c["memory"], 2) for c in spread_draws(prior, slope, 2)]
    [1.03, 1.52]
    """
    from scipy.special import ndtri  # slow to import, and most commands draw nothing

    root = _root(np.array(cal.covariance))
    along = np.append(root.T @ np.nan_to_num(slope), cal.residual)
    size = float(np.linalg.norm(along))
    along = along / size if size > 0 else np.append(np.zeros(len(NAMES)), 1.0)
    at = ndtri((np.arange(n) + 0.5) / n)
    across = np.random.default_rng(seed).standard_normal((-(-n // 2), len(along)))
    across -= np.outer(across @ along, along)
    found: list[Calibration] = []
    for i, u in enumerate(at):
        mirrored = i >= n - n // 2
        z = u * along + (-across[n - 1 - i] if mirrored else across[i])
        moved = cal.at(cal.vector + root @ z[:-1])
        found.append(moved.slower(float(np.exp(cal.residual * z[-1]))))
    return found


def central(ratios: Sequence[float]) -> tuple[float, float]:
    """The 10th and 90th percentiles of equally likely values; NaN where none is known.

    Values stand for the middles of their stretches of probability, as in `spread_draws`.

    >>> central([1.0, 2.0, 3.0, 4.0, 5.0, float("nan")])
    (1.0, 5.0)
    """
    known = [r for r in ratios if not np.isnan(r)]
    if not known:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [0.1, 0.9], method="hazen")
    return float(low), float(high)


def _root(covariance: Floats) -> Floats:
    """A square root of a covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
