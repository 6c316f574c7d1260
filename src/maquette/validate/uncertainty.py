"""The spread of a price: the calibration's posterior pushed through it, to first order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.price.calibration import NAMES, PARAMETERS, Calibration

Floats = NDArray[np.float64]
STEP = 1e-3  # of a log parameter


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


def spread(price: Callable[[Calibration], Any], cal: Calibration) -> Floats:
    """Standard deviation of the logarithm of a price: of the parameters and of the residual."""
    slope = np.nan_to_num(gradient(price, cal))
    variance = np.einsum("...i,ij,...j->...", slope, np.array(cal.covariance), slope)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) + cal.residual**2))
