"""Logarithmic axes with round numbers on them."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

_STEPS = (1, 2, 5)


def percents() -> PercentFormatter:
    """Labels of an axis of shares."""
    return PercentFormatter(1.0, decimals=0, symbol=" %")


def logarithmic(axes: Any, which: str) -> None:
    """A logarithmic axis with round numbers on it."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis.set_ticks(_round(low, high))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def time_axis(axes: Any, low: float, high: float) -> None:
    """A logarithmic axis of seconds from `low` to `high`, labelled as people write durations."""
    ticks = _round(low, high)
    axes.xaxis.set_ticks(ticks if len(ticks) < 6 else [t for t in ticks if _leading(t) == 1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _short(v)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_ticks([], minor=True)
    axes.set_xlim(low, high)


def _short(value: float) -> str:
    """A round duration without needless digits: ``20 ms``."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= factor * 0.999:
            return f"{value / factor:g} {unit}"
    return f"{value:g} s"


def _leading(value: float) -> int:
    return round(value / 10 ** float(np.floor(np.log10(value * 1.0001))))


def _round(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between `low` and `high`."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [m * 10.0**d for d in decades for m in _STEPS if low <= m * 10.0**d <= high]
