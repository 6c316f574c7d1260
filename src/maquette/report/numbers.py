"""Numbers as people read them: three digits, a unit, an interval where there is one."""

from __future__ import annotations

import math

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
NONE = "–"

Bounds = tuple[float, float]


def digits(value: float | None, n: int = 3) -> str:
    """`value` to `n` digits, without exponents between 1e-4 and 1e9.

    >>> digits(1234.5), digits(0.01234), digits(None)
    ('1,234', '0.0123', '–')
    """
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-4 or size >= 1e9:
        return f"{value:.{n - 1}e}"
    places = max(0, n - 1 - math.floor(math.log10(size)))
    return f"{value:,.{places}f}"


def seconds(value: float | None, bounds: Bounds | None = None) -> str:
    """A duration, with its interval in the same unit.

    >>> seconds(0.0312, (0.0289, 0.034))
    '31.2 ms [28.9, 34.0]'
    """
    if value is None or not math.isfinite(value):
        return digits(value)
    factor, unit = next((t for t in _TIMES if abs(value) >= t[0]), _TIMES[-1])
    if value == 0:
        factor, unit = 1.0, "s"
    return f"{digits(value / factor)} {unit}{_interval(bounds, factor)}"


def amount(value: float | None, unit: str, bounds: Bounds | None = None) -> str:
    """A quantity with a decimal prefix.

    >>> amount(3.35e12, "B/s")
    '3.35 TB/s'
    """
    if value is None or not math.isfinite(value):
        return digits(value)
    factor, prefix = next((p for p in _PREFIXES if abs(value) >= p[0]), _PREFIXES[-1])
    return f"{digits(value / factor)} {prefix}{unit}{_interval(bounds, factor)}"


def number(value: float | None, bounds: Bounds | None = None, unit: str = "") -> str:
    """A plain number with its interval.

    >>> number(812.3, (700, 901), "tokens/s")
    '812 [700, 901] tokens/s'
    """
    return f"{digits(value)}{_interval(bounds, 1.0)}{' ' + unit if unit else ''}"


def dollars(value: float | None, bounds: Bounds | None = None) -> str:
    """US dollars.

    >>> dollars(0.4321)
    '$0.432'
    """
    if value is None or math.isnan(value):
        return NONE
    return f"${digits(value)}{_interval(bounds, 1.0)}"


def percent(share: float | None, n: int = 1, signed: bool = False) -> str:
    """A fraction as percent.

    >>> percent(0.123), percent(-0.02, signed=True)
    ('12.3 %', '-2.0 %')
    """
    if share is None or not math.isfinite(share):
        return NONE
    return f"{share * 100:{'+' if signed else ''}.{n}f} %"


def _interval(bounds: Bounds | None, factor: float) -> str:
    if bounds is None:
        return ""
    return f" [{digits(bounds[0] / factor)}, {digits(bounds[1] / factor)}]"
