"""A price is an interval: the calibration's posterior pushed through the price."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maquette.price.calibration import Calibration


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
