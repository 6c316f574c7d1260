"""What waiting for the slowest rank costs."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np


def stretch(jitter: float, devices: Any) -> Any:
    """Expected time of a step over the mean time of one of its `devices`, which wait for the last.

    Each takes a normal time of mean 1 and deviation `jitter`, on its own and anew in every step:
    a clock that is slower, a host that is late.  The expected maximum of `n` of them is
    ``1 + jitter * slowest(n)``.

    >>> stretch(0.0, 8), round(float(stretch(0.02, 2)), 4)
    (1.0, 1.0113)
    """
    if not jitter:
        return 1.0
    counts, place = np.unique(np.asarray(devices, dtype=int), return_inverse=True)
    most = np.array([slowest(int(n)) for n in counts])[place].reshape(np.shape(devices))
    return 1.0 + jitter * most


@lru_cache(maxsize=1024)
def slowest(n: int) -> float:
    """The expected maximum of `n` independent standard normals, by integrating their distribution.

    ``1 / sqrt(pi)`` for two and ``3 / (2 sqrt(pi))`` for three (Blom 1958).

    >>> round(slowest(2) * np.pi**0.5, 6), round(slowest(8), 4)
    (1.0, 1.4236)
    """
    from scipy.special import ndtr  # slow to import, and most plans have no jitter

    x = np.linspace(0.0, 12.0, 12001)
    above, below = 1.0 - ndtr(x) ** n, ndtr(-x) ** n
    return float(np.trapezoid(above - below, x))
