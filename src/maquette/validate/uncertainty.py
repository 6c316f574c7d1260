"""The spread of a price: the calibration's posterior pushed through it, to first order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.price.calibration import Calibration
from maquette.price.interval import Z80, gradient

Floats = NDArray[np.float64]


def spread(price: Callable[[Calibration], Any], cal: Calibration) -> Floats:
    """Standard deviation of the logarithm of a price: of the parameters and of the residual."""
    slope = np.nan_to_num(gradient(price, cal))
    variance = np.einsum("...i,ij,...j->...", slope, np.array(cal.covariance), slope)
    return np.asarray(np.sqrt(np.maximum(variance, 0.0) + cal.residual**2))


def band(point: Floats, sd: Floats) -> tuple[Floats, Floats]:
    """The central 80 % interval of a price whose logarithm is normal.

    >>> low, high = band(np.array([2.0]), np.array([0.1]))
    >>> float(low[0].round(3)), float(high[0].round(3))
    (1.759, 2.273)
    """
    return point * np.exp(-Z80 * sd), point * np.exp(Z80 * sd)
