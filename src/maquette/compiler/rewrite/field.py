"""Exact meaning of values: over a finite field, or over whole numbers where maxima occur.

Two polynomials of low degree that differ agree at a random point of a field of 2³¹ - 1 elements
with a chance of about degree / 2³¹, so one random instance of a wrong rule nearly always shows it.
Operations that a field does not have stand for arbitrary functions, the same one wherever they
occur.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any
from zlib import crc32

import numpy as np

from maquette.ir.graph import walk
from maquette.ir.monoids import ADD, MAX, MIN
from maquette.ir.patterns import Input, Map, Reduce, Value, View
from maquette.ir.scalar import TESTS, Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.semantics import Array, Numbers, align, view
from maquette.ir.sizes import Size

PRIME = 2**31 - 1
_ORDER: Mapping[str, Callable[..., Any]] = {
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "eq": np.equal, "ne": np.not_equal,
    "and": np.logical_and, "or": np.logical_or, "not": np.logical_not, "where": np.where,
}  # fmt: skip


class Field:
    """Arithmetic modulo a prime."""

    def number(self, value: float | int | Fraction) -> Any:
        """A rational number as an element."""
        exact = Fraction(value)
        return exact.numerator % PRIME * pow(exact.denominator, -1, PRIME) % PRIME

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.integers(1, PRIME, shape)

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        """A scalar operation; one that the field lacks is a fixed polynomial of its operands."""
        if op in _ORDER:
            return _ORDER[op](*args)
        x, y = np.asarray(args[0]).astype(np.int64) % PRIME, np.asarray(args[-1]) % PRIME
        match op:
            case "add":
                return (x + y) % PRIME
            case "sub":
                return (x - y) % PRIME
            case "mul":
                return x * y % PRIME
            case "neg":
                return -x % PRIME
            case "recip":
                return _inverse(x)
            case "div":
                return x * _inverse(y) % PRIME
        seed = crc32(op.encode())
        one, two, three = seed % 65521, seed % 32749, seed % 9973
        if len(args) == 1:
            return ((x * x % PRIME * one + x * two) % PRIME * x + three) % PRIME
        if op in ("max", "min"):  # of which the order of operands is none of their meaning
            return (((x * x + y * y) % PRIME + x + y) % PRIME * one + x * y % PRIME * two) % PRIME
        return (x * x % PRIME * one % PRIME + x * y % PRIME * two + y * three) % PRIME

    def fold(self, op: str, array: Array, axes: tuple[int, ...]) -> Array:
        if op != "add":  # a maximum is no function of a field: any symmetric one stands for it
            array = self.apply("exp" if op == "max" else "log", [array])
        return np.asarray(array.sum(axis=axes) % PRIME)


class Whole:
    """Whole numbers with their order: addition and maxima are a semiring."""

    def number(self, value: float | int | Fraction) -> Any:
        exact = Fraction(value)
        if exact.denominator != 1:
            raise ArithmeticError(f"{value} is no whole number")
        return exact.numerator

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        return rng.integers(-50, 50, shape)

    def apply(self, op: str, args: Sequence[Any]) -> Any:
        """A scalar operation on whole numbers."""
        if op in _ORDER:
            return _ORDER[op](*args)
        does: Mapping[str, Callable[..., Any]] = {
            "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative,
            "max": np.maximum, "min": np.minimum,
        }  # fmt: skip
        if op in does:
            return does[op](*args)
        seed = crc32(op.encode())
        x, y = np.asarray(args[0]), np.asarray(args[-1])
        return x * x * (seed % 11 + 1) + y * (seed % 7 + 1) + seed % 5

    def fold(self, op: str, array: Array, axes: tuple[int, ...]) -> Array:
        folds: Mapping[str, Any] = {"add": np.add, "max": np.maximum, "min": np.minimum}
        return np.asarray(folds[op].reduce(array, axis=axes))


def evaluate_in(numbers: Field | Whole, root: Value, inputs: Mapping[str, Array]) -> Array:
    """The exact value of `root`, axes in its order.

    >>> from maquette.ir.build import activation
    >>> x = activation("x", n=2)
    >>> evaluate_in(Field(), (x / 3).sum("n").value, {"x": np.array([1, 2])})
    array(1)
    """
    known: dict[Value, Any] = {}
    for value in walk([root]):
        match value:
            case Input():
                known[value] = inputs[value.name]
            case Map():
                known[value] = _map(numbers, value, [known[o] for o in value.args])
            case Reduce() if value.monoid in (ADD, MAX, MIN):
                (arg,) = value.args
                names = [a.name for a in arg.axes]
                over = tuple(names.index(n) for n in value.over)
                found = numbers.fold(value.monoid.name, known[arg], over)
                rest = [n for n in names if n not in value.over]
                known[value] = align(found, rest, [a.name for a in value.axes])
            case View():
                known[value] = view(value, [known[o] for o in value.args], Numbers({}))
            case _:
                raise TypeError(f"no exact meaning for {type(value).__name__}")
    return np.asarray(known[root])


def _inverse(x: Array) -> Array:
    """The inverse modulo the prime, by Fermat; that of zero is zero."""
    result, base, power = np.ones_like(x), x, PRIME - 2
    while power:
        if power & 1:
            result = result * base % PRIME
        base, power = base * base % PRIME, power >> 1
    return result


def _map(numbers: Field | Whole, value: Map, operands: Sequence[Array]) -> Array:
    names = [a.name for a in value.axes]
    shape = tuple(_whole(a.size) for a in value.axes)
    if all(a.dtype.kind != "float" for a in value.args) and value.dtype.kind != "float":
        numbers = Whole()  # coordinates and tests of them are ordered, and below zero as well

    def at(body: Scalar) -> Any:
        match body:
            case Lit(bool() as held):
                return held
            case Lit(held):
                return numbers.number(held)
            case Extent(extent):
                return numbers.number(Fraction(_whole(extent)))
            case Index(name):
                place = names.index(name)
                along = np.arange(shape[place])
                return along.reshape([-1 if i == place else 1 for i in range(len(names))])
            case Arg(number, places):
                held_axes = [a.name for a in value.args[number].axes]
                array = align(operands[number], held_axes, names)
                for name, index in places:
                    array = _shifted(array, names.index(name), index)
                return array
            case Apply(op, args) if op in TESTS:  # of coordinates, which are no elements
                return numbers.apply(op, [a.value if isinstance(a, Lit) else at(a) for a in args])
            case Apply(op, args):
                return numbers.apply(op, [at(a) for a in args])

    return np.broadcast_to(np.asarray(at(value.body)), shape)


def _shifted(array: Array, place: int, index: Scalar) -> Array:
    """A read at ``i + n``, zero outside."""
    match index:
        case Apply("add", (Index(), Lit(int() as by))):
            pass
        case _:
            raise TypeError(f"no exact meaning for a read at {index}")
    along = np.arange(array.shape[place]) + by
    inside = (along >= 0) & (along < array.shape[place])
    found = np.take(array, np.where(inside, along, 0), axis=place)
    mask = inside.reshape([-1 if i == place else 1 for i in range(array.ndim)])
    return np.where(mask, found, 0)


def _whole(extent: Size) -> int:
    found = extent.constant
    if not isinstance(found, int):
        raise TypeError(f"no number for size {extent}")
    return found
