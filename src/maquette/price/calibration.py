"""Calibration: what was fitted, kept apart from what is fact.

A calibration belongs to (machine, engine, version).  It holds a few positive numbers and the
covariance of their logarithms, so a price is an interval.  Fractions are of the machine's stated
peaks and never exceed 1: no price beats the speed of light of its own machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Basis = Literal["fitted", "published summary", "transferred", "first principles"]

# name → (prior median, prior standard deviation of the logarithm, is a fraction, meaning)
PARAMETERS: Mapping[str, tuple[float, float, bool, str]] = {
    "matrix": (0.72, 0.20, True, "of the matrix peak that large products reach"),
    # 4-bit products on an A100 stay bound by memory up to 16-32 rows (Marlin, arXiv 2408.11743).
    "rows": (24.0, 0.70, False, "rows at which a product reaches half of that"),
    "memory": (0.80, 0.15, True, "of the memory bandwidth that streams reach"),
    "attention": (0.50, 0.35, True, "of the matrix peak that prefill attention reaches"),
    "kv": (0.70, 0.30, True, "of the memory bandwidth that decode attention reaches"),
    "vector": (0.50, 0.40, True, "of the vector peak that other arithmetic reaches"),
    "launch": (3.0e-6, 0.70, False, "seconds each kernel adds"),
    "step": (1.0e-3, 0.90, False, "host seconds per step"),
    "seq": (1.0e-5, 1.0, False, "host seconds per sequence and step"),
    "link": (0.75, 0.25, True, "of the link bandwidth that collectives reach"),
    "collective": (8.0e-6, 0.60, False, "seconds each collective adds"),
}
NAMES = tuple(PARAMETERS)


@dataclass(frozen=True)
class Calibration:
    """Fitted parameters with the covariance of their logarithms."""

    machine: str
    engine: str
    version: str
    values: Mapping[str, float]
    covariance: tuple[tuple[float, ...], ...]  # of log(values), in the order of NAMES
    residual: float  # standard deviation of log(measured / predicted) left unexplained
    basis: Basis
    rows: int
    source: str
    date: str = ""
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    @property
    def vector(self) -> NDArray[np.float64]:
        return np.log([self.values[n] for n in NAMES])

    def at(self, logs: NDArray[np.float64]) -> Calibration:
        """This calibration with other values, given as logarithms in the order of NAMES."""
        capped = {
            n: min(float(np.exp(x)), 1.0) if PARAMETERS[n][2] else float(np.exp(x))
            for n, x in zip(NAMES, logs, strict=True)
        }
        return replace(self, values=capped)

    def draws(self, n: int, seed: int) -> list[Calibration]:
        """`n` calibrations drawn from the posterior (log-normal).

        Draws come in pairs mirrored about the median, so that a few of them are centred.
        """
        rng = np.random.default_rng(seed)
        away = rng.multivariate_normal(np.zeros(len(NAMES)), np.array(self.covariance), -(-n // 2))
        mirrored = np.stack([away, -away], axis=1).reshape(-1, len(NAMES))
        return [self.at(self.vector + row) for row in mirrored[:n]]


def first_principles(machine: str, engine: str) -> Calibration:
    """The prior: what is plausible of any machine run kernel by kernel, with wide intervals."""
    variance = np.diag([p[1] ** 2 for p in PARAMETERS.values()])
    return Calibration(
        machine=machine,
        engine=engine,
        version="",
        values={n: p[0] for n, p in PARAMETERS.items()},
        covariance=tuple(tuple(float(x) for x in row) for row in variance),
        residual=0.25,
        basis="first principles",
        rows=0,
        source="prior of price/calibration.py; no measured row of this machine was used",
    )


def transferred(donor: Calibration, machine: str, widen: float = 0.20) -> Calibration:
    """Another machine's efficiencies, borrowed: the same fractions, wider intervals."""
    covariance = np.array(donor.covariance) + np.eye(len(NAMES)) * widen**2
    return replace(
        donor,
        machine=machine,
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
        basis="transferred",
        source=f"borrowed from {donor.machine} ({donor.source})",
    )
