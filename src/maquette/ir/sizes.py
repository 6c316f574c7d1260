"""Sizes: numbers, symbols, and their polynomials.

A size such as ``b*s*t/tp`` stays symbolic until it is given values, and the values may be arrays:
one evaluation counts the work of a million shapes or plans at once.  Negative powers are allowed
(a sharded axis is ``G * tp**-1``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

Monomial: TypeAlias = tuple[tuple[str, int], ...]  # (symbol, power), sorted by symbol
Number: TypeAlias = int | float | Fraction


@dataclass(frozen=True)
class Size:
    """A polynomial: a sum of coefficient · monomial, kept sorted so that equal means identical."""

    terms: tuple[tuple[Monomial, Number], ...]

    @property
    def constant(self) -> Number | None:
        """The number this size is, or None if it has symbols."""
        if not self.terms:
            return 0
        if len(self.terms) == 1 and not self.terms[0][0]:
            return self.terms[0][1]
        return None

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(name for mono, _ in self.terms for name, _ in mono)

    def __add__(self, other: SizeLike) -> Size:
        return _from_terms([*self.terms, *size(other).terms])

    def __sub__(self, other: SizeLike) -> Size:
        return self + size(other) * -1

    def __mul__(self, other: SizeLike) -> Size:
        products = [(_times(m, n), a * b) for m, a in self.terms for n, b in size(other).terms]
        return _from_terms(products)

    def __truediv__(self, other: SizeLike) -> Size:
        divisor = size(other)
        if len(divisor.terms) != 1:
            raise ValueError(f"cannot divide by {divisor}")
        mono, coeff = divisor.terms[0]
        inverse = tuple((name, -power) for name, power in mono)
        return self * Size(((inverse, _tidy(Fraction(1) / Fraction(coeff))),))

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: SizeLike) -> Size:
        return size(other) - self

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """The value under `values` (symbol → number or array); arrays broadcast.

        >>> (sym("b") * 3 + 1)({"b": 4})
        13
        """
        total: Any = 0
        for mono, coeff in self.terms:
            term: Any = float(coeff) if isinstance(coeff, Fraction) else coeff
            for name, power in mono:
                value = values[name]
                term = term * value**power if power > 0 else term / value ** (-power)
            total = total + term
        return total

    def rename(self, change: Callable[[Monomial], Monomial]) -> Size:
        """The same polynomial with every monomial replaced by ``change(monomial)``."""
        return _from_terms((change(mono), coeff) for mono, coeff in self.terms)

    def __str__(self) -> str:
        """Terms that add first, so that a difference reads as one.

        >>> str(sym("t") - sym("s"))
        't - s'
        """
        text = ""
        added = [term for term in self.terms if term[1] > 0]
        taken = [term for term in self.terms if term[1] < 0]
        for mono, coeff in (*added, *taken):
            sign = "-" if coeff < 0 else "+"
            text += f" {sign} " if text else sign.strip("+")
            text += _show_term(mono, -coeff if coeff < 0 else coeff)
        return text or "0"


SizeLike: TypeAlias = Size | int | float | str | Fraction


def size(value: SizeLike) -> Size:
    """Make a Size of a number, a symbol's name, or a Size.

    >>> str(size("b") * 128)
    '128*b'
    """
    if isinstance(value, Size):
        return value
    if isinstance(value, str):
        return Size((((((value, 1),)), 1),))
    return Size((((), value),)) if value else Size(())


def sym(name: str) -> Size:
    """The symbol `name` as a Size."""
    return size(name)


def product(sizes: Iterable[SizeLike]) -> Size:
    """The product of sizes; 1 when there are none."""
    total = size(1)
    for s in sizes:
        total = total * s
    return total


@lru_cache(maxsize=65536)
def _times(left: Monomial, right: Monomial) -> Monomial:
    powers = dict(left)
    for name, power in right:
        powers[name] = powers.get(name, 0) + power
    return tuple(sorted((n, p) for n, p in powers.items() if p))


def _from_terms(terms: Iterable[tuple[Monomial, Number]]) -> Size:
    total: dict[Monomial, Number] = {}
    for mono, coeff in terms:
        total[mono] = total.get(mono, 0) + coeff
    return Size(tuple(sorted((m, _tidy(c)) for m, c in total.items() if c)))


def _tidy(value: Number) -> Number:
    if isinstance(value, Fraction) and value.denominator == 1:
        return int(value)
    return value


def _show_term(mono: Monomial, coeff: Number) -> str:
    factors = [f"{n}" if p == 1 else f"{n}^{p}" for n, p in mono]
    if coeff != 1 or not factors:
        factors.insert(0, str(coeff))
    return "*".join(factors)
