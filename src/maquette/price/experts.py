"""How many experts a batch touches and how unevenly: the data-dependent extents of a Program.

Tokens choose `chosen` of `total` experts; `skew` is the exponent of a Zipf popularity (0 is
uniform, what trained load balancing aims at).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def popularity(total: int, skew: float) -> Any:
    """Probability of each expert in one choice, most popular first."""
    weights = np.arange(1, total + 1, dtype=float) ** -skew
    return weights / weights.sum()


def touched(tokens: Any, total: int, chosen: int, ep: Any = 1, skew: float = 0.0) -> Any:
    """Expected number of one device's experts that at least one of `tokens` tokens chose.

    An expert with inclusion probability q is touched with probability ``1 - (1-q)^tokens``; for
    uniform choices without replacement q is exactly ``chosen / total``.

    >>> round(float(touched(1, 8, 2)), 9)
    2.0
    """
    tokens = np.asarray(tokens, dtype=float)
    if skew == 0.0:
        return total * -np.expm1(tokens * np.log1p(-min(chosen / total, 1 - 1e-12))) / ep
    included = np.minimum(1 - 1e-12, _inclusion(popularity(total, skew), chosen))
    missed = np.exp(tokens[..., None] * np.log1p(-included))
    return (1 - missed).sum(-1) / ep


def _inclusion(p: Any, chosen: int) -> Any:
    """Inclusion probabilities of `chosen` draws without replacement (Poissonised, rescaled)."""
    low, high = 0.0, 1e6
    for _ in range(80):
        rate = (low + high) / 2
        if (-np.expm1(-rate * p)).sum() < chosen:
            low = rate
        else:
            high = rate
    return -np.expm1(-high * p)


def imbalance(tokens: Any, total: int, chosen: int, ep: Any, skew: float = 0.0) -> Any:
    """Load of the busiest of `ep` groups of experts over the mean load, at least 1.

    The expected maximum of `ep` nearly independent loads of mean ``m``: ``m + sqrt(2 m ln ep)``
    (extreme values of a normal), and never more than a choice of every token for each expert it
    has, ``min(ep, total / chosen)`` times the mean; a skew adds that of the most popular group
    when experts are dealt out by popularity, each token choosing an expert once at most.
    """
    tokens = np.asarray(tokens, dtype=float)
    ep = np.asarray(ep, dtype=float)
    mean = np.maximum(tokens * chosen / ep, 1e-9)
    spread = 1 + np.sqrt(2 * np.log(np.maximum(ep, 1)) / mean)
    worst = np.minimum(spread, np.minimum(ep, total / chosen))
    if skew:
        share = _inclusion(popularity(total, skew), chosen) / chosen
        heaviest = np.array([share[:: int(e)].sum() * e for e in np.ravel(ep)])
        heaviest = np.minimum(heaviest.reshape(np.shape(ep)), np.minimum(ep, total / chosen))
        worst = np.maximum(worst, heaviest)
    return np.maximum(worst, 1.0)
