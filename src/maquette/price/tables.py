"""Measured times of single kernels, looked up by shape: a hit goes before the surface.

Only kernels whose shape follows from the tokens of a step are looked up, products and collectives:
what attention takes is a sum over sequences of unlike lengths, and no row is of such a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Curve = tuple[Floats, Floats]  # sizes, ascending, and seconds
Format = tuple[float, float]  # bytes of a weight, peak of its products in flop/s
CLOSE = 1e-9  # relative: sizes are whole numbers that went through a few products


@dataclass(frozen=True, eq=False)
class Tables:
    """Seconds by size, of kernels that were measured on one machine, launch included.

    >>> sizes, took = np.array([64.0, 128.0]), np.array([1e-5, 2e-5])
    >>> held = Tables("somebody's", {(2.0, 1e15, 4096.0, 512.0): (sizes, took)}, {})
    >>> held.product((2.0, 1e15), np.array([64.0, 65.0]), 4096.0, 512.0).tolist()
    [1e-05, nan]
    """

    source: str
    products: Mapping[tuple[float, ...], Curve]  # weight, peak, columns, depth → by rows
    collectives: Mapping[tuple[str, float], Curve]  # kind, devices → by bytes

    def product(self, fmt: Format, rows: Any, columns: Any, depth: Any) -> Floats:
        """Seconds of one product, NaN where no row is of its shape."""
        return _found(self.products, (*fmt, columns, depth), rows)

    def collective(self, kind: str, n: Any, nbytes: Any) -> Floats:
        """Seconds of one collective inside a node, NaN where no row is of its size."""
        held = {n: curve for (name, n), curve in self.collectives.items() if name == kind}
        return _found({(n,): curve for n, curve in held.items()}, (n,), nbytes)


def _found(curves: Mapping[tuple[float, ...], Curve], key: tuple[Any, ...], size: Any) -> Floats:
    """What curves hold at sizes, of the curve that each element's key names."""
    *keys, sizes = np.broadcast_arrays(*key, size)
    took = np.full(sizes.shape, np.nan)
    if not curves:
        return took
    flat = np.stack([np.ravel(k).astype(float) for k in keys], axis=1)
    for each in np.unique(flat, axis=0):
        curve = curves.get(tuple(each.tolist()))
        if curve is not None:
            here = np.all(flat == each, axis=1).reshape(sizes.shape)
            took = np.where(here, _at(curve, sizes), took)
    return took


def _at(curve: Curve, sizes: Any) -> Floats:
    known, seconds = curve
    nearest = np.clip(np.searchsorted(known, sizes * (1 - CLOSE)), 0, len(known) - 1)
    hit = np.abs(known[nearest] - sizes) <= CLOSE * known[nearest]
    return np.where(hit, seconds[nearest], np.nan)


def curves(keys: Floats, sizes: Floats, seconds: Floats) -> dict[tuple[float, ...], Curve]:
    """Rows gathered by key; of several of one size the quickest, which an engine would take."""
    found: dict[tuple[float, ...], dict[float, float]] = {}
    for key, size, took in zip(keys.tolist(), sizes.tolist(), seconds.tolist(), strict=True):
        held = found.setdefault(tuple(key), {})
        held[size] = min(took, held.get(size, np.inf))
    return {
        key: (np.array(sorted(held)), np.array([held[s] for s in sorted(held)]))
        for key, held in found.items()
    }
