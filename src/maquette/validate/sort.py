"""A sort of kernels: rows of one table that one surface prices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maquette.ir.dtypes import dtype
from maquette.machines.types import Machine
from maquette.price.calibration import Calibration
from maquette.price.rates import matrix_peak, reach
from maquette.validate.names import precision
from maquette.validate.rows import Floats, Table

Bools = NDArray[np.bool_]
Price = Callable[[Calibration], Floats]
NULL_MATRIX, NULL_MEMORY, NULL_LAUNCH = 0.75, 0.80, 3e-6


class Sort(NamedTuple):
    """Kernels priced by one function: which rows of a table they are, and what they take."""

    what: str
    family: str  # whose scatter they have
    rows: Bools
    predict: Price
    flops: Floats  # seconds at the stated peak
    bytes: Floats  # seconds at the stated bandwidth
    plain: Bools  # of 16-bit operands

    @property
    def null(self) -> Floats:
        """The null model: 75 % of the peak, 80 % of the bandwidth, 3 µs."""
        longest = np.maximum(self.flops / NULL_MATRIX, self.bytes / NULL_MEMORY)
        return np.asarray(longest + NULL_LAUNCH)


class Formats(NamedTuple):
    """Bytes of a weight and of an activation, and the rate their products compute at."""

    weight: Floats
    activation: Floats
    peak: Floats  # as stated
    reached: Floats  # less what narrow formats fall short of beside bf16

    @property
    def plain(self) -> Bools:
        """Rows of 16-bit operands."""
        return np.asarray((self.weight == 2) & (self.activation == 2))


def formats(table: Table, machine: Machine, column: str = "precision") -> Formats:
    """Formats row by row, NaN where a row's are not known."""
    written = np.where(table.words(column) == "", table.words("precision"), table.words(column))
    known: dict[str, tuple[float, ...]] = {}
    for word in {str(w) for w in written}:
        found = precision(word)
        if found is None:
            known[word] = (np.nan,) * 4
            continue
        weight, activation = found
        peak = matrix_peak(machine, activation)
        known[word] = (dtype(weight).bytes, dtype(activation).bytes, peak,
                       peak * reach(machine, activation))  # fmt: skip
    columns = np.array([known[str(w)] for w in written]).reshape(-1, 4).T
    return Formats(*columns)
