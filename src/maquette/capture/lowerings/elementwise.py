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
        LOWERINGS[name] = lambda x, y, *, _op=op_name: _arithmetic(_op, x, y)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        LOWERINGS[name] = lambda x, y, *, _op=name: _compare(_op, x, y)
    for name, op_name in (("logical_and", "and"), ("logical_or", "or")):
        LOWERINGS[name] = lambda x, y, *, _op=op_name: apply(_op, truth(x), truth(y), to=BOOL)


def _numeric(x: Any, to: DType) -> Positional:
    """A number of the kind that is wanted: booleans as 0 and 1, whole numbers as floats."""
    p = lifted(x)
    return converted(p, to) if p.dtype.kind != to.kind else p


def _arithmetic(name: str, x: Any, y: Any) -> Positional:
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
    return _arithmetic("add", x, y if alpha == 1 else _arithmetic("mul", y, alpha))


@lowers("sub", "subtract")
def sub(x: Any, y: Any, *, alpha: float = 1) -> Positional:
    return _arithmetic("sub", x, y if alpha == 1 else _arithmetic("mul", y, alpha))


@lowers("rsub")
def rsub(x: Any, y: Any, *, alpha: float = 1) -> Positional:
    return sub(y, x, alpha=alpha)


@lowers("div", "true_divide", "divide")
def div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Positional:
    """A quotient, which is a float unless it is rounded down."""
    if rounding_mode == "floor":
        return _arithmetic("floordiv", x, y)
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
    return _logic("and", x, y)


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
        found = _arithmetic("max", found, min)
    return found if max is None else _arithmetic("min", found, max)


@lowers("hardtanh")
def hardtanh(x: Positional, min_val: float = -1.0, max_val: float = 1.0) -> Positional:
    return clamp(x, min_val, max_val)


@lowers("clamp_min")
def clamp_min(x: Positional, min: Any) -> Positional:
    return clamp(x, min=min)


@lowers("clamp_max")
def clamp_max(x: Positional, max: Any) -> Positional:
    return clamp(x, max=max)


def _scalars(*parts: tuple[str, Callable[[Scalar], Scalar]]) -> None:
    """Enter functions of one float given as scalar bodies."""
    for name, build in parts:
        LOWERINGS[name] = lambda x, *_, _build=build: _unary(_build, x)


def _unary(build: Callable[[Scalar], Scalar], x: Any) -> Positional:
    p = floats(x)
    return pointwise(build, p, to=p.dtype)


def _tanh_gelu(v: Scalar) -> Scalar:
    cube = op("mul", op("mul", op("mul", v, v), v), Lit(0.044715))
    inner = op("mul", op("add", v, cube), Lit(math.sqrt(2 / math.pi)))
    return op("mul", op("mul", v, Lit(0.5)), op("add", op("tanh", inner), Lit(1.0)))


def _erf_gelu(v: Scalar) -> Scalar:
    inner = op("erf", op("mul", v, Lit(math.sqrt(0.5))))
    return op("mul", op("mul", v, Lit(0.5)), op("add", inner, Lit(1.0)))


def _sign(v: Scalar) -> Scalar:
    return op(
        "where",
        op("gt", v, Lit(0.0)),
        Lit(1.0),
        op("where", op("lt", v, Lit(0.0)), Lit(-1.0), Lit(0.0)),
    )


_scalars(
    ("silu", lambda v: op("mul", v, op("sigmoid", v))),
    ("mish", lambda v: op("mul", v, op("tanh", op("softplus", v)))),
    ("expm1", lambda v: op("sub", op("exp", v), Lit(1.0))),
    ("log1p", lambda v: op("log", op("add", v, Lit(1.0)))),
    ("exp2", lambda v: op("exp", op("mul", v, Lit(math.log(2))))),
    ("log2", lambda v: op("mul", op("log", v), Lit(1 / math.log(2)))),
    ("log10", lambda v: op("mul", op("log", v), Lit(1 / math.log(10)))),
    ("floor", lambda v: op("floordiv", v, Lit(1.0))),
    ("ceil", lambda v: op("neg", op("floordiv", op("neg", v), Lit(1.0)))),
    ("sign", _sign),
    ("softsign", lambda v: op("div", v, op("add", op("abs", v), Lit(1.0)))),
    ("logsigmoid", lambda v: op("neg", op("softplus", op("neg", v)))),
    ("relu6", lambda v: op("min", op("max", v, Lit(0.0)), Lit(6.0))),
    (
        "hardsigmoid",
        lambda v: op(
            "div", op("min", op("max", op("add", v, Lit(3.0)), Lit(0.0)), Lit(6.0)), Lit(6.0)
        ),
    ),
    (
        "hardswish",
        lambda v: op(
            "mul",
            v,
            op("div", op("min", op("max", op("add", v, Lit(3.0)), Lit(0.0)), Lit(6.0)), Lit(6.0)),
        ),
    ),
)
LOWERINGS["log_sigmoid"] = LOWERINGS["logsigmoid"]


@lowers("relu")
def relu(x: Positional) -> Positional:
    return _arithmetic("max", x, 0 if x.dtype.kind == "int" else 0.0)


@lowers("gelu")
def gelu(x: Positional, approximate: str = "none") -> Positional:
    return _unary(_tanh_gelu if approximate == "tanh" else _erf_gelu, x)


@lowers("leaky_relu")
def leaky_relu(x: Positional, negative_slope: float = 0.01) -> Positional:
    return _unary(
        lambda v: op("where", op("gt", v, Lit(0.0)), v, op("mul", v, Lit(negative_slope))), x
    )


@lowers("elu")
def elu(x: Positional, alpha: float = 1.0) -> Positional:
    """Below zero, an exponential that levels off."""

    def build(v: Scalar) -> Scalar:
        below = op("mul", op("sub", op("exp", op("min", v, Lit(0.0))), Lit(1.0)), Lit(float(alpha)))
        return op("where", op("gt", v, Lit(0.0)), v, below)

    return _unary(build, x)


@lowers("softplus")
def softplus(x: Positional, beta: float = 1.0, threshold: float = 20.0) -> Positional:
    """The logarithm of one plus the exponential; large numbers are kept as they are."""

    def build(v: Scalar) -> Scalar:
        scaled = op("mul", v, Lit(float(beta)))
        soft = (
            op("div", op("softplus", scaled), Lit(float(beta))) if beta != 1 else op("softplus", v)
        )
        return op("where", op("gt", scaled, Lit(float(threshold))), v, soft)

    return _unary(build, x)


@lowers("to_dtype")
def to_dtype(x: Any, name: str) -> Positional:
    """The canonical form of every conversion of format."""
    return converted(lifted(x), dtype(name))


@lowers("lerp")
def lerp(x: Positional, end: Positional, weight: Any) -> Positional:
    return add(x, _arithmetic("mul", weight, sub(end, x)))


@lowers("addcmul")
def addcmul(x: Positional, a: Positional, b: Positional, *, value: float = 1) -> Positional:
    return add(x, _arithmetic("mul", a, b), alpha=value)


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
