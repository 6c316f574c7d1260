"""Lowerings of activations and other functions of one number, each one scalar body."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from maquette.capture.expressions import op
from maquette.capture.lowerings.elementwise import arithmetic, where
from maquette.capture.lowerings.table import (
    BOOL,
    LOWERINGS,
    apply,
    floats,
    lowers,
)
from maquette.capture.pointwise import pointwise
from maquette.capture.positional import Positional
from maquette.ir.scalar import Lit, Scalar


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
    return arithmetic("max", x, 0 if x.dtype.kind == "int" else 0.0)


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


@lowers("prelu")
def prelu(x: Positional, weight: Positional) -> Positional:
    """Below zero, times a weight, one for all or one for each channel."""
    if weight.rank and x.rank > 1:
        weight = replace(weight, dims=(*weight.dims, *([()] * (x.rank - 2))))
    return where(apply("gt", x, 0.0, to=BOOL), x, arithmetic("mul", x, weight))


def _nearest(v: Scalar) -> Scalar:
    """The nearest whole number; of two, the even one."""
    up = op("floordiv", op("add", v, Lit(0.5)), Lit(1.0))
    tie = op("eq", op("sub", up, v), Lit(0.5))
    odd = op("eq", op("mod", up, Lit(2.0)), Lit(1.0))
    return op("where", op("and", tie, odd), op("sub", up, Lit(1.0)), up)


def _truncated(v: Scalar) -> Scalar:
    size = op("floordiv", op("abs", v), Lit(1.0))
    return op("where", op("lt", v, Lit(0.0)), op("neg", size), size)


_scalars(
    ("round", _nearest),
    ("trunc", _truncated),
    ("fix", _truncated),
    ("frac", lambda v: op("sub", v, _truncated(v))),
    ("tan", lambda v: op("div", op("sin", v), op("cos", v))),
    ("sinh", lambda v: op("mul", op("sub", op("exp", v), op("exp", op("neg", v))), Lit(0.5))),
    ("cosh", lambda v: op("mul", op("add", op("exp", v), op("exp", op("neg", v))), Lit(0.5))),
    ("logit", lambda v: op("log", op("div", v, op("sub", Lit(1.0), v)))),
)
