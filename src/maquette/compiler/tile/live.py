"""Where along the stream a condition on coordinates can hold, or surely holds.

For rows ``first … last`` of a block, a conjunction of comparisons that are linear in the
coordinates bounds the stream from below and from above.  The bounds are linear themselves, so the
same ones are counted in closed form and printed into generated code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.ir.scalar import Apply, Extent, Index, Lit, Scalar

FIRST, LAST = "first row", "last row"


@dataclass(frozen=True)
class Linear:
    """A sum of whole multiples of named coordinates and a constant."""

    terms: tuple[tuple[str, int], ...]
    constant: int

    def __call__(self, at: Mapping[str, Any]) -> Any:
        """Its value at coordinates: numbers, or arrays of them."""
        return self.constant + sum(c * at[n] for n, c in self.terms)


@dataclass(frozen=True)
class Range:
    """At least each of `lows`, below each of `highs`; `empty`: nowhere for certain."""

    lows: tuple[Linear, ...] = ()
    highs: tuple[Linear, ...] = ()
    empty: bool = False

    def along(self, at: Mapping[str, Any], extent: int) -> tuple[Any, Any]:
        """Where it begins and ends in ``[0, extent)``: numbers, or arrays where `at` has them."""
        low: Any = 0
        high: Any = 0 if self.empty else extent
        for bound in self.lows:
            low = np.maximum(low, bound(at))
        for bound in self.highs:
            high = np.minimum(high, bound(at))
        high = np.maximum(high, 0)
        return np.minimum(low, high), high


def both(left: Range, right: Range) -> Range:
    """Where both hold."""
    return Range(
        tuple(dict.fromkeys(left.lows + right.lows)),
        tuple(dict.fromkeys(left.highs + right.highs)),
        left.empty or right.empty,
    )


def possible(condition: Scalar, rows: str, stream: str) -> Range:
    """All positions at which some row may satisfy `condition`."""
    return _range(condition, rows, stream, True, True)


def certain(condition: Scalar, rows: str, stream: str) -> Range:
    """Positions at which every row satisfies `condition`."""
    return _range(condition, rows, stream, True, False)


_NEGATED = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}


def _range(c: Scalar, rows: str, stream: str, holds: bool, some: bool) -> Range:
    unknown = Range(empty=not some)
    match c:
        case Lit(value):
            return Range(empty=bool(value) != holds)
        case Apply("not", (inner,)):
            return _range(inner, rows, stream, not holds, some)
        case Apply(op, (left, right)) if op == ("and" if holds else "or"):
            sides = [_range(x, rows, stream, holds, some) for x in (left, right)]
            return both(*sides)
        case Apply(op, (left, right)) if op == ("or" if holds else "and"):
            sides = [_range(x, rows, stream, holds, some) for x in (left, right)]
            known = [s for s in sides if not s.empty]
            return known[0] if len(known) == 1 else unknown
        case Apply(op, (left, right)) if op in _NEGATED:
            return _compared(op if holds else _NEGATED[op], left, right, rows, stream, some)
    return unknown


def _compared(op: str, left: Scalar, right: Scalar, rows: str, stream: str, some: bool) -> Range:
    a, b = linear(left), linear(right)
    unknown = Range(empty=not some)
    if a is None or b is None or op == "ne":
        return unknown
    if op == "eq":
        return both(
            _compared("le", left, right, rows, stream, some),
            _compared("ge", left, right, rows, stream, some),
        )
    if op in ("lt", "le"):
        a, b, op = b, a, {"lt": "gt", "le": "ge"}[op]
    gap = _sum(a, b, -1, -(op == "gt"))  # to hold: gap ≥ 0
    slope = dict(gap.terms).get(stream, 0)
    if abs(slope) != 1:
        return unknown
    rest = Linear(tuple((n, c) for n, c in gap.terms if n != stream), gap.constant)
    if slope == 1:  # t ≥ -rest
        return Range(lows=(_extreme(_scaled(rest, -1), rows, least=some),))
    high = _extreme(rest, rows, least=not some)  # t ≤ rest
    return Range(highs=(Linear(high.terms, high.constant + 1),))


def _extreme(bound: Linear, rows: str, *, least: bool) -> Linear:
    """`bound` where it is least or greatest over the rows of a block."""
    return Linear(
        tuple((_end(c, least) if n == rows else n, c) for n, c in bound.terms), bound.constant
    )


def _end(slope: int, least: bool) -> str:
    return FIRST if (slope > 0) == least else LAST


def _scaled(x: Linear, by: int) -> Linear:
    return Linear(tuple((n, c * by) for n, c in x.terms), x.constant * by)


def _sum(a: Linear, b: Linear, times: int, more: int) -> Linear:
    terms = dict(a.terms)
    for n, c in b.terms:
        terms[n] = terms.get(n, 0) + times * c
    kept = tuple((n, c) for n, c in sorted(terms.items()) if c)
    return Linear(kept, a.constant + times * b.constant + more)


def linear(body: Scalar) -> Linear | None:
    """`body` as a linear function of coordinates, if it is one."""
    match body:
        case Lit(value) if isinstance(value, int) or float(value).is_integer():
            return Linear((), int(value))
        case Extent(size) if size.constant is not None and float(size.constant).is_integer():
            return Linear((), int(size.constant))
        case Index(axis):
            return Linear(((axis, 1),), 0)
        case Apply("neg", (inner,)):
            found = linear(inner)
            return None if found is None else _scaled(found, -1)
        case Apply(op, (left, right)) if op in ("add", "sub"):
            a, b = linear(left), linear(right)
            if a is None or b is None:
                return None
            return _sum(a, b, 1 if op == "add" else -1, 0)
        case Apply("mul", (left, right)):
            a, b = linear(left), linear(right)
            if a is None or b is None or (a.terms and b.terms):
                return None
            return _scaled(b, a.constant) if not a.terms else _scaled(a, b.constant)
    return None
