"""SI floats whose unit is declared once, in the type; quantities in text carry theirs.

Inside Python a `Seconds` is a float in seconds.  In TOML and on the command line a quantity is
a string, ``"3.35 TB/s"``.  Decimal prefixes are powers of 1000 (GB = 1e9 B), binary ones say so
(GiB = 2**30 B).  Bits where bytes belong are refused rather than converted.
"""

from __future__ import annotations

import re
from typing import NewType

from maquette.errors import Fault, InputError

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", float)
BytesPerSecond = NewType("BytesPerSecond", float)
FlopPerSecond = NewType("FlopPerSecond", float)
Watts = NewType("Watts", float)
Hertz = NewType("Hertz", float)
Joules = NewType("Joules", float)
JoulesPerByte = NewType("JoulesPerByte", float)
JoulesPerFlop = NewType("JoulesPerFlop", float)
Dollars = NewType("Dollars", float)
DollarsPerHour = NewType("DollarsPerHour", float)
Nanoseconds = NewType("Nanoseconds", int)
PerSecond = NewType("PerSecond", float)

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_SMALL = {"n": 1e-9, "u": 1e-6, "µ": 1e-6, "m": 1e-3}


def _scaled(base: str, prefixes: dict[str, float]) -> dict[str, float]:
    return {p + base: f for p, f in prefixes.items()}


_TIME = {**_scaled("s", {"": 1.0, **_SMALL}), "min": 60.0, "h": 3600.0}
_BYTES = _scaled("B", {**_DECIMAL, **_BINARY})
_FLOPS = {
    **_scaled("FLOP/s", _DECIMAL),
    **_scaled("OP/s", _DECIMAL),
    **_scaled("FLOPS", _DECIMAL),
    **_scaled("OPS", _DECIMAL),
}

UNITS: dict[str, dict[str, float]] = {
    "Seconds": _TIME,
    "Bytes": _BYTES,
    "BytesPerSecond": {u + "/s": f for u, f in _BYTES.items()},
    "FlopPerSecond": _FLOPS,
    "Watts": _scaled("W", {**_DECIMAL, "m": 1e-3}),
    "Hertz": _scaled("Hz", _DECIMAL),
    "Joules": _scaled("J", {**_DECIMAL, **_SMALL, "p": 1e-12}),
    "JoulesPerByte": _scaled("J/B", {"": 1.0, "n": 1e-9, "p": 1e-12}),
    "JoulesPerFlop": _scaled("J/FLOP", {"": 1.0, "n": 1e-9, "p": 1e-12}),
    "Dollars": {"USD": 1.0, "$": 1.0, "kUSD": 1e3, "MUSD": 1e6},
    "DollarsPerHour": {"USD/h": 1.0, "$/h": 1.0},
    "PerSecond": {"/s": 1.0, "Hz": 1.0, "req/s": 1.0, "/min": 1 / 60},
}

_QUANTITY = re.compile(r"^\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S.*?)?\s*$")
_BITS = re.compile(r"^(?:[kKMGTPE]i?)?(?:b|bit|bits|bps|b/s|bit/s)$")


def parse(text: str, unit: str, where: str = "") -> float:
    """The SI value of a quantity such as ``"3.35 TB/s"``, read as `unit` (a name in `UNITS`).

    >>> parse("3.35 TB/s", "BytesPerSecond")
    3350000000000.0
    >>> parse("500ms", "Seconds")
    0.5
    """
    known = UNITS[unit]
    example = next(iter(k for k in known if k[0] in "GTm"), next(iter(known)))
    expected = f"a number and a unit, such as '4 {example}'"
    match = _QUANTITY.match(text)
    if match is None:
        raise InputError(Fault(where, f"{text!r} is not a quantity", expected))
    number, suffix = match.groups()
    if suffix in known:
        return float(number) * known[suffix]
    if suffix is None:
        raise InputError(Fault(where, f"{text!r} has no unit", expected))
    if _BITS.match(suffix) and unit.startswith("Bytes"):
        hint = "write bytes: 8 bits are 1 byte, 400 Gb/s is 50 GB/s"
        raise InputError(Fault(where, f"{text!r} is in bits where bytes belong", expected, hint))
    raise InputError(Fault(where, f"{text!r} has an unknown unit {suffix!r}", expected))


def show(value: float, unit: str, digits: int = 4) -> str:
    """`value` in the largest unit that keeps it at 1 or more.

    >>> show(3.35e12, "BytesPerSecond")
    '3.35 TB/s'
    """
    shown = {u: f for u, f in UNITS[unit].items() if not re.match(r"^[KMGT]i|^K", u)}
    ordered = sorted(shown.items(), key=lambda item: -item[1])
    for name, factor in ordered:
        if abs(value) >= factor:
            return f"{value / factor:.{digits}g} {name}"
    name, factor = ordered[-1] if value else next((u, f) for u, f in ordered if f == 1.0)
    return f"{value / factor:.{digits}g} {name}"
