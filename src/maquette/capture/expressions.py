"""Scalar bodies with what is known beforehand worked out.

Positions and masks made of them (``arange``, ``tril(ones)``) never become tensors: they stay
expressions of coordinates, so what a mask keeps is plain to see as a comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from maquette.ir.scalar import LOGIC, TESTS, Apply, Arg, Index, Lit, Scalar, kind

_FOLD: Mapping[str, Callable[..., float | int | bool]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "max": max, "min": min, "neg": lambda a: -a, "abs": abs,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
}  # fmt: skip
_OPPOSITE = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}
_CHEAP = frozenset(
    {"add", "sub", "mul", "max", "min", "neg", "abs", "where", "floordiv", "mod"} | TESTS | LOGIC
)


def op(name: str, *args: Scalar) -> Scalar:
    """``Apply(name, args)``, simplified where that changes no result.

    >>> op("not", op("le", Index("t"), Index("s")))
    Apply(op='gt', args=(Index(axis='t'), Index(axis='s')))
    """
    numbers = [a.value for a in args if isinstance(a, Lit)]
    if name in _FOLD and len(numbers) == len(args) and not any(map(_odd, numbers)):
        return Lit(_FOLD[name](*numbers))
    found = _SIMPLER[name](*args) if name in _SIMPLER else None
    if name in TESTS and found is None:
        found = _test(name, *args)
    return Apply(name, args) if found is None else found


def cast(body: Scalar, to: str, was: str) -> Scalar:
    """`body` of kind `was` ("int", "float", "bool") as a scalar of kind `to`."""
    if was == to:
        return body
    if to == "bool":
        return op("ne", body, Lit(0 if was == "int" else 0.0))
    convert: type[int] | type[float] = int if to == "int" else float
    if isinstance(body, Lit) and not (convert is int and _odd(body.value)):
        return Lit(convert(body.value))
    if was == "bool":
        return op("where", body, Lit(convert(1)), Lit(convert(0)))
    if isinstance(body, Apply) and body.op == "where" and _pure(body):
        test, yes, no = body.args
        return op("where", test, cast(yes, to, was), cast(no, to, was))
    return Apply("to_i64" if to == "int" else "to_f32", (body,))


def substitute(body: Scalar, index: Mapping[str, Scalar]) -> Scalar:
    """`body` with coordinates replaced, those inside computed coordinates included."""
    match body:
        case Index(axis):
            return index.get(axis, body)
        case Arg(number, at):
            return Arg(number, tuple((n, substitute(i, index)) for n, i in at)) if at else body
        case Apply(name, args):
            return op(name, *(substitute(a, index) for a in args))
    return body


def renumber(body: Scalar, numbers: Mapping[int, int]) -> Scalar:
    """`body` with other operand numbers."""
    match body:
        case Arg(number, at):
            return Arg(numbers[number], tuple((n, renumber(i, numbers)) for n, i in at))
        case Apply(name, args):
            return Apply(name, tuple(renumber(a, numbers) for a in args))
    return body


def indices(body: Scalar) -> Iterator[str]:
    """The axes whose coordinates `body` uses."""
    match body:
        case Index(axis):
            yield axis
        case Arg(_, at):
            for _, inner in at:
                yield from indices(inner)
        case Apply(_, args):
            for a in args:
                yield from indices(a)


def cheap(body: Scalar, budget: int = 48) -> bool:
    """Whether to work `body` out again wherever it is read: a short comparison of coordinates."""
    return _spend(body, budget) >= 0


def _spend(body: Scalar, budget: int) -> int:
    if isinstance(body, Apply):
        if body.op not in _CHEAP and not body.op.startswith("to_"):
            return -1
        for a in body.args:
            budget = _spend(a, budget - 1)
            if budget < 0:
                return -1
    return budget


def _odd(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _pure(body: Scalar) -> bool:
    """Whether no operand is read, so that repeating or moving parts costs nothing."""
    match body:
        case Arg():
            return False
        case Apply(_, args):
            return all(map(_pure, args))
    return True


def _whole(body: Scalar) -> bool:
    return _pure(body) and kind(body, []) == "int"


def _is(body: Scalar, number: float) -> bool:
    return isinstance(body, Lit) and not isinstance(body.value, bool) and body.value == number


def _add(a: Scalar, b: Scalar) -> Scalar | None:
    if _is(b, 0) and _whole(a):
        return a
    if _is(a, 0) and _whole(b):
        return b
    return None


def _sub(a: Scalar, b: Scalar) -> Scalar | None:
    return a if _is(b, 0) else None


def _mul(a: Scalar, b: Scalar) -> Scalar | None:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Lit) and _is(one, 1) and (isinstance(one.value, int) is _whole(other)):
            return other
    return None


def _not(a: Scalar) -> Scalar | None:
    match a:
        case Apply("not", (inner,)):
            return inner
        case Apply(test, (left, right)) if test in _OPPOSITE and _whole(left) and _whole(right):
            return op(_OPPOSITE[test], left, right)
    return None


def _where(test: Scalar, yes: Scalar, no: Scalar) -> Scalar | None:
    if isinstance(test, Lit):
        return yes if test.value else no
    if isinstance(test, Apply) and test.op == "not":
        return op("where", test.args[0], no, yes)
    return yes if yes == no else None


def _both(a: Scalar, b: Scalar) -> Scalar | None:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Lit):
            return other if one.value else one
    return a if a == b else None


def _either(a: Scalar, b: Scalar) -> Scalar | None:
    for one, other in ((a, b), (b, a)):
        if isinstance(one, Lit):
            return one if one.value else other
    return a if a == b else None


def _test(name: str, a: Scalar, b: Scalar) -> Scalar | None:
    """A comparison of ``where(c, 1, 0)`` with a number is c, its opposite, or known."""
    if isinstance(b, Apply) and b.op == "where" and isinstance(a, Lit):
        flipped = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
        return op(flipped.get(name, name), b, a)
    if isinstance(a, Apply) and a.op == "where" and isinstance(b, Lit):
        test, yes, no = a.args
        if isinstance(yes, Lit) and isinstance(no, Lit):
            if_true, if_false = _FOLD[name](yes.value, b.value), _FOLD[name](no.value, b.value)
            if if_true == if_false:
                return Lit(if_true)
            return test if if_true else op("not", test)
    if name in ("eq", "ne") and isinstance(b, Lit) and isinstance(b.value, bool):
        return a if b.value == (name == "eq") else op("not", a)
    return None


_SIMPLER: Mapping[str, Callable[..., Scalar | None]] = {
    "add": _add, "sub": _sub, "mul": _mul, "not": _not, "where": _where,
    "and": _both, "or": _either,
}  # fmt: skip
