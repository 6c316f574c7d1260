"""Coordinates: whole-number expressions of axes, brought to one form by what their ranges allow.

A coordinate is a sum of multiples of atoms: an axis, a quotient, a remainder, a read.  With
``j`` in [0, n) the quotient ``(i*n + j) // n`` is ``i``: views that split and merge axes undo each
other here, and what is left of them are strides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import gcd, inf
from typing import TypeAlias

from maquette.ir.scalar import Apply, Arg, Index, Lit, Scalar

Range: TypeAlias = tuple[float, float]  # both ends included; infinite where nothing is known
EVERYWHERE: Range = (-inf, inf)
TRUE, FALSE = Lit(True), Lit(False)
_FLIPPED = {"gt": "lt", "ge": "le"}


@dataclass(frozen=True)
class Sum:
    """``constant + Σ coefficient · atom``, atoms in order of first appearance."""

    terms: tuple[tuple[Scalar, int], ...]
    constant: int = 0

    def __add__(self, other: Sum) -> Sum:
        return _sum([*self.terms, *other.terms], self.constant + other.constant)

    def times(self, factor: int) -> Sum:
        return _sum([(a, c * factor) for a, c in self.terms], self.constant * factor)


def _sum(terms: list[tuple[Scalar, int]], constant: int) -> Sum:
    total: dict[Scalar, int] = {}
    for atom, count in terms:
        total[atom] = total.get(atom, 0) + count
    return Sum(tuple((a, c) for a, c in total.items() if c), constant)


def number(value: int) -> Sum:
    """A coordinate that does not move."""
    return Sum((), value)


def scalar(total: Sum) -> Scalar:
    """The expression of a sum: what is added first, then what is taken away."""
    body: Scalar | None = None
    for atom, count in sorted(total.terms, key=lambda term: term[1] < 0):
        size = abs(count)
        term = atom if size == 1 else Apply("mul", (atom, Lit(size)))
        if body is None:
            body = term if count > 0 else Apply("mul", (atom, Lit(count)))
        else:
            body = Apply("add" if count > 0 else "sub", (body, term))
    if body is None:
        return Lit(total.constant)
    if total.constant:
        op = "add" if total.constant > 0 else "sub"
        body = Apply(op, (body, Lit(abs(total.constant))))
    return body


class Ranges:
    """What is known of expressions over axes of known extents."""

    def __init__(self, extents: Mapping[str, int]) -> None:
        self._extents = extents
        self._sums: dict[Scalar, Sum] = {}

    def inside(self, coordinate: Scalar, extent: int) -> bool:
        """Whether a coordinate surely lies in [0, extent)."""
        if isinstance(coordinate, Index):
            return self._extents[coordinate.axis] <= extent
        low, high = self.range(self.sum(coordinate))
        return low >= 0 and high < extent

    def simple(self, body: Scalar) -> Scalar:
        """A coordinate in its one form."""
        if isinstance(body, Index) and self._extents.get(body.axis) != 1:
            return body
        return scalar(self.sum(body))

    def sum(self, body: Scalar) -> Sum:
        """A coordinate as a sum."""
        found = self._sums.get(body)
        if found is None:
            found = self._sums[body] = self._sum(body)
        return found

    def range(self, total: Sum) -> Range:
        """The least and the largest value that a sum may take."""
        low: float = total.constant
        high: float = total.constant
        for atom, count in total.terms:
            ends = sorted(count * end for end in self._atom(atom))
            low, high = low + ends[0], high + ends[1]
        return low, high

    def _atom(self, atom: Scalar) -> Range:
        match atom:
            case Index(axis):
                return 0, max(self._extents.get(axis, inf) - 1, 0)
            case Apply("mod", (_, Lit(int(n)))) if n > 0:
                return 0, n - 1
            case Apply("floordiv", (inner, Lit(int(n)))) if n > 0:
                low, high = self.range(self.sum(inner))
                return low // n if low > -inf else low, high // n if high < inf else high
            case Apply("max" | "min" as op, (left, right)):
                one, two = (self.range(self.sum(side)) for side in (left, right))
                pick = max if op == "max" else min
                return pick(one[0], two[0]), pick(one[1], two[1])
            case Apply("where", (_, left, right)):
                one, two = (self.range(self.sum(side)) for side in (left, right))
                return min(one[0], two[0]), max(one[1], two[1])
        return EVERYWHERE

    def _sum(self, body: Scalar) -> Sum:
        match body:
            case Lit(value) if isinstance(value, int) and not isinstance(value, bool):
                return number(value)
            case Index(axis):
                return number(0) if self._extents.get(axis) == 1 else Sum(((body, 1),))
            case Apply("add", (left, right)):
                return self.sum(left) + self.sum(right)
            case Apply("sub", (left, right)):
                return self.sum(left) + self.sum(right).times(-1)
            case Apply("neg", (inner,)):
                return self.sum(inner).times(-1)
            case Apply("to_i32", (inner,)) if whole(inner):
                return self.sum(inner)
            case Apply("mul", (left, right)):
                return self._product(self.sum(left), self.sum(right))
            case Apply("floordiv" | "mod" as op, (inner, divisor)):
                by = self.sum(divisor)
                if not by.terms and by.constant > 0:
                    quotient, rest = self._divided(self.sum(inner), by.constant)
                    return quotient if op == "floordiv" else rest
            case Apply("max" | "min" as op, (left, right)):
                return self._chosen(op, self.sum(left), self.sum(right))
            case Apply("where", (test, left, right)):
                decided = self.test(test)
                if isinstance(decided, Lit):
                    return self.sum(left if decided.value else right)
                return _one(Apply("where", (decided, self.simple(left), self.simple(right))))
            case Apply(op, args):
                return _one(Apply(op, tuple(map(self._any, args))))
        return _one(body)

    def _any(self, body: Scalar) -> Scalar:
        """A part of an expression that need not be a whole number."""
        return self.simple(body) if whole(body) else body

    def _product(self, left: Sum, right: Sum) -> Sum:
        if not left.terms:
            return right.times(left.constant)
        if not right.terms:
            return left.times(right.constant)
        return _one(Apply("mul", (scalar(left), scalar(right))))

    def _chosen(self, op: str, left: Sum, right: Sum) -> Sum:
        low, high = self.range(left + right.times(-1))
        if low >= 0:
            return left if op == "max" else right
        if high <= 0:
            return right if op == "max" else left
        return _one(Apply(op, (scalar(left), scalar(right))))

    def _divided(self, total: Sum, n: int) -> tuple[Sum, Sum]:
        """Quotient and remainder by n: multiples of n leave both, then a common divisor does."""
        if n == 1:
            return total, number(0)
        exact = Sum(tuple((a, c // n) for a, c in total.terms if c % n == 0), total.constant // n)
        rest = total + exact.times(-n)
        low, high = self.range(rest)
        if low >= 0 and high < n:
            return exact, rest
        step = gcd(n, *(c for _, c in rest.terms if gcd(c, n) > 1)) if rest.terms else 1
        fine = Sum(tuple((a, c) for a, c in rest.terms if c % step), rest.constant % step)
        low, high = self.range(fine)
        if step > 1 and low >= 0 and high < step:
            coarse = rest + fine.times(-1)
            scaled = Sum(tuple((a, c // step) for a, c in coarse.terms), coarse.constant // step)
            quotient, left = self._divided(scaled, n // step)
            return exact + quotient, left.times(step) + fine
        match rest:
            case Sum(((Apply("floordiv", (inner, Lit(int(m)))), 1),), 0):
                outer, _ = self._divided(self.sum(inner), m * n)
                return exact + outer, _one(Apply("mod", (scalar(rest), Lit(n))))
            case Sum(((Apply("mod", (inner, Lit(int(m)))), 1),), 0) if m % n == 0:
                _, least = self._divided(self.sum(inner), n)
                return exact + _one(Apply("floordiv", (scalar(rest), Lit(n)))), least
        body = scalar(rest)
        quotient = _one(Apply("floordiv", (body, Lit(n))))
        return exact + quotient, _one(Apply("mod", (body, Lit(n))))

    def test(self, body: Scalar) -> Scalar:
        """A condition on coordinates, decided where ranges decide it."""
        match body:
            case Apply("and" | "or" as op, (left, right)):
                one, two = self.test(left), self.test(right)
                stops = FALSE if op == "and" else TRUE
                if stops in (one, two):
                    return stops
                if isinstance(one, Lit):
                    return two
                return one if isinstance(two, Lit) or one == two else Apply(op, (one, two))
            case Apply("not", (inner,)):
                found = self.test(inner)
                return Lit(not found.value) if isinstance(found, Lit) else Apply("not", (found,))
            case Apply("lt" | "le" | "gt" | "ge" | "eq" | "ne" as op, (left, right)):
                if not (whole(left) and whole(right)):
                    return body
                return self._compared(op, self.sum(left), self.sum(right))
        return body

    def _compared(self, op: str, left: Sum, right: Sum) -> Scalar:
        low, high = self.range(left + right.times(-1))
        if op in _FLIPPED:
            low, high = -high, -low
        kind = _FLIPPED.get(op, op)
        if kind in ("lt", "le"):
            limit = 0 if kind == "lt" else 1
            if high < limit:
                return TRUE
            if low >= limit:
                return FALSE
        elif low == high == 0 or low > 0 or high < 0:
            return Lit((low == high == 0) == (kind == "eq"))
        return Apply(op, (scalar(left), scalar(right)))


def _one(atom: Scalar) -> Sum:
    return Sum(((atom, 1),))


def whole(body: Scalar) -> bool:
    """Whether an expression is made of coordinates and whole numbers alone."""
    match body:
        case Lit(value):
            return isinstance(value, int) and not isinstance(value, bool)
        case Index():
            return True
        case Apply("add" | "sub" | "mul" | "neg" | "max" | "min" | "floordiv" | "mod", args):
            return all(map(whole, args))
        case Apply("to_i32", (inner,)):
            return whole(inner)
        case Apply("where", (_, left, right)):
            return whole(left) and whole(right)
    return False


def axes_of(body: Scalar) -> Iterator[str]:
    """The axes that an expression names, coordinates of its reads included."""
    match body:
        case Index(axis):
            yield axis
        case Apply(_, args):
            for a in args:
                yield from axes_of(a)
        case Arg(_, at):
            for _, coordinate in at:
                yield from axes_of(coordinate)


def moved(body: Scalar, by: Mapping[str, Scalar]) -> Scalar:
    """An expression with every axis replaced by a coordinate."""
    match body:
        case Index(axis):
            return by.get(axis, body)
        case Apply(op, args):
            new = tuple(moved(a, by) for a in args)
            return body if all(map(_same, new, args)) else Apply(op, new)
        case Arg(number, at) if at:
            return Arg(number, tuple((n, moved(c, by)) for n, c in at))
    return body


def _same(one: object, two: object) -> bool:
    return one is two
