"""Lowerings of what happens position by position."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from maquette.capture.expressions import op
from maquette.capture.lowerings.table import (
    BOOL,
    LOWERINGS,
    apply,
    floats,
    lifted,
    lowers,
    promoted,
    refuse,
    truth,
)
from maquette.capture.pointwise import converted, pointwise
from maquette.capture.positional import Positional
from maquette.ir.dtypes import DType, dtype
from maquette.ir.scalar import Lit, Scalar


def _enter_unary() -> None:
    """Operators of the language that take and give a float."""
    for name in ("exp", "log", "sin", "cos", "tanh", "sqrt", "rsqrt", "erf", "sigmoid"):
        LOWERINGS[name] = lambda x, *, _op=name: apply(_op, floats(x))
    LOWERINGS["reciprocal"] = lambda x: apply("recip", floats(x))


def _enter_binary() -> None:
    """Operators of the language that keep integers integers, and comparisons."""
    own = {"mul": "mul", "multiply": "mul", "maximum": "max", "minimum": "min"}
    own |= {"floor_divide": "floordiv", "remainder": "mod"}
    for name, op_name in own.items():
        LOWERINGS[name] = lambda x, y, *, _op=op_name: arithmetic(_op, x, y)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        LOWERINGS[name] = lambda x, y, *, _op=name: _compare(_op, x, y)
    for name, op_name in (("logical_and", "and"), ("logical_or", "or")):
        LOWERINGS[name] = lambda x, y, *, _op=op_name: apply(_op, truth(x), truth(y), to=BOOL)


def _numeric(x: Any, to: DType) -> Positional:
    """A number of the kind that is wanted: booleans as 0 and 1, whole numbers as floats."""
    p = lifted(x)
    return converted(p, to) if p.dtype.kind != to.kind else p


def arithmetic(name: str, x: Any, y: Any) -> Positional:
    """An operator of two numbers; of two booleans, the logic that it amounts to."""
    to = promoted([x, y])
    if to.kind == "bool":
        if name in ("mul", "min"):
            return apply("and", x, y, to=BOOL)
        if name in ("add", "max"):
            return apply("or", x, y, to=BOOL)
        raise refuse(f"{name} of booleans", hint="convert to a number first")
    return apply(name, _numeric(x, to), _numeric(y, to), to=to)


def _compare(name: str, x: Any, y: Any) -> Positional:
    kinds = {lifted(x).dtype.kind, lifted(y).dtype.kind}
    if len(kinds) > 1 or ("bool" in kinds and name not in ("eq", "ne")):
        to = promoted([x, y, 0])
        x, y = _numeric(x, to), _numeric(y, to)
    return apply(name, x, y, to=BOOL)


_enter_unary()
_enter_binary()


@lowers("add")
def add(x: Any, y: Any, *, alpha: float = 1) -> Positional:
    return arithmetic("add", x, y if alpha == 1 else arithmetic("mul", y, alpha))


@lowers("sub", "subtract")
def sub(x: Any, y: Any, *, alpha: float = 1) -> Positional:
    return arithmetic("sub", x, y if alpha == 1 else arithmetic("mul", y, alpha))


@lowers("rsub")
def rsub(x: Any, y: Any, *, alpha: float = 1) -> Positional:
    return sub(y, x, alpha=alpha)


@lowers("div", "true_divide", "divide")
def div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Positional:
    """A quotient, which is a float unless it is rounded down."""
    if rounding_mode == "floor":
        return arithmetic("floordiv", x, y)
    if rounding_mode is not None:
        raise refuse(f"division rounded by {rounding_mode!r}", "rounding_mode None or 'floor'")
    to = promoted([x, y, 1.0])
    return apply("div", _numeric(x, to), _numeric(y, to), to=to)


@lowers("neg", "negative")
def neg(x: Any) -> Positional:
    return apply("neg", x)


@lowers("abs", "absolute")
def absolute(x: Any) -> Positional:
    return apply("abs", x)


@lowers("logical_not", "bitwise_not", "invert")
def logical_not(x: Any) -> Positional:
    """The opposite of a condition."""
    p = lifted(x)
    if p.dtype.kind == "int":
        raise refuse("bitwise not of integers", "booleans")
    return apply("not", truth(p), to=BOOL)


@lowers("bitwise_and", "and")
def bitwise_and(x: Any, y: Any) -> Positional:
    """Both conditions; of integers, the low bits that a mask of ones keeps."""
    if type(y) is int and y > 0 and not y & (y + 1) and lifted(x).dtype.kind == "int":
        return arithmetic("mod", x, y + 1)
    return _logic("and", x, y)


@lowers("bitwise_right_shift", "rshift")
def right_shift(x: Any, y: Any) -> Positional:
    """Division by a power of two, rounding down."""
    return arithmetic("floordiv", x, 1 << _bits(y))


def _bits(y: Any) -> int:
    if type(y) is not int or not 0 <= y < 31:
        raise refuse("a shift by what is no small number", "x >> 4")
    return y


@lowers("bitwise_or", "or")
def bitwise_or(x: Any, y: Any) -> Positional:
    return _logic("or", x, y)


@lowers("bitwise_xor", "xor", "logical_xor")
def bitwise_xor(x: Any, y: Any) -> Positional:
    """Whether two conditions differ."""
    _booleans("xor", x, y)
    return apply("ne", x, y, to=BOOL)


def _logic(name: str, x: Any, y: Any) -> Positional:
    _booleans(name, x, y)
    return apply(name, x, y, to=BOOL)


def _booleans(name: str, x: Any, y: Any) -> None:
    if {lifted(x).dtype.kind, lifted(y).dtype.kind} != {"bool"}:
        raise refuse(f"bitwise {name} of integers", "booleans")


@lowers("isnan")
def isnan(x: Positional) -> Positional:
    return pointwise(lambda v: op("ne", v, v), x, to=BOOL)


@lowers("isinf")
def isinf(x: Positional) -> Positional:
    return pointwise(lambda v: op("eq", op("abs", v), Lit(math.inf)), x, to=BOOL)


@lowers("isfinite")
def isfinite(x: Positional) -> Positional:
    return pointwise(lambda v: op("lt", op("abs", v), Lit(math.inf)), x, to=BOOL)


@lowers("pow", "power", "float_power")
def power(x: Any, y: Any) -> Positional:
    """Small whole and half powers are products and roots."""
    if isinstance(y, int | float) and not isinstance(y, bool):
        simple: dict[float, Callable[[Scalar], Scalar]] = {
            1: lambda v: v,
            2: lambda v: op("mul", v, v),
            3: lambda v: op("mul", op("mul", v, v), v),
            0.5: lambda v: op("sqrt", v),
            -0.5: lambda v: op("rsqrt", v),
            -1: lambda v: op("recip", v),
        }
        if y in simple:
            base = lifted(x) if y in (1, 2, 3) else floats(x)
            return pointwise(simple[y], base, to=promoted([base, y]))
    to = promoted([x, y])
    if to.kind == "int":
        raise refuse("integer powers of tensors", "exponents 1, 2 and 3", "convert to a float")
    return apply("pow", _numeric(x, to), _numeric(y, to), to=to)


@lowers("square")
def square(x: Positional) -> Positional:
    return power(x, 2)


@lowers("where")
def where(test: Any, yes: Any, no: Any) -> Positional:
    """A choice at every position."""
    to = promoted([yes, no])
    return apply("where", truth(test), converted(lifted(yes), to), converted(lifted(no), to), to=to)


@lowers("masked_fill")
def masked_fill(x: Positional, mask: Positional, value: Any) -> Positional:
    return apply("where", mask, converted(lifted(value), x.dtype), x, to=x.dtype)


@lowers("clamp", "clip")
def clamp(x: Positional, min: Any = None, max: Any = None) -> Positional:
    """Numbers kept within bounds."""
    found = lifted(x)
    if min is not None:
        found = arithmetic("max", found, min)
    return found if max is None else arithmetic("min", found, max)


@lowers("hardtanh")
def hardtanh(x: Positional, min_val: float = -1.0, max_val: float = 1.0) -> Positional:
    return clamp(x, min_val, max_val)


@lowers("clamp_min")
def clamp_min(x: Positional, min: Any) -> Positional:
    return clamp(x, min=min)


@lowers("clamp_max")
def clamp_max(x: Positional, max: Any) -> Positional:
    return clamp(x, max=max)


@lowers("to_dtype")
def to_dtype(x: Any, name: str) -> Positional:
    """The canonical form of every conversion of format."""
    return converted(lifted(x), dtype(name))


@lowers("lerp")
def lerp(x: Positional, end: Positional, weight: Any) -> Positional:
    return add(x, arithmetic("mul", weight, sub(end, x)))


@lowers("addcmul")
def addcmul(x: Positional, a: Positional, b: Positional, *, value: float = 1) -> Positional:
    return add(x, arithmetic("mul", a, b), alpha=value)


@lowers("dropout")
def dropout(
    x: Positional, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Positional:
    """Nothing, in evaluation."""
    if training and p > 0:
        raise refuse("dropout in training mode", "evaluation", "call module.eval() first")
    return x


@lowers("clone", "contiguous", "detach", "lift_fresh_copy", "alias", "identity", "requires_grad")
def unchanged(x: Positional, *_: Any, **__: Any) -> Positional:
    return x


@lowers("addcdiv")
def addcdiv(x: Positional, a: Positional, b: Positional, *, value: float = 1) -> Positional:
    return add(x, div(a, b), alpha=value)


@lowers("nan_to_num")
def nan_to_num(
    x: Positional, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Positional:
    """Numbers instead of NaN and infinities."""
    limit = {"f32": 3.4028234663852886e38, "bf16": 3.3895313892515355e38, "f16": 65504.0}
    most = limit[x.dtype.name]
    bounded = clamp(x, -most if neginf is None else neginf, most if posinf is None else posinf)
    return where(isnan(x), float(nan), bounded)
