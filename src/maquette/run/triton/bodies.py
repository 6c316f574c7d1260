"""Scalar bodies as Triton expressions over blocks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from maquette.errors import Fault, NotYet
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar

_INFIX = {
    "add": "+", "sub": "-", "mul": "*", "div": "/",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "&", "or": "|",
}  # fmt: skip
_CALLS = {
    "neg": "-({0})", "not": "(({0}) == 0)", "abs": "tl.abs({0})", "exp": "tl.exp({0})",
    "log": "tl.log({0})", "sqrt": "tl.sqrt({0})", "rsqrt": "(1.0 / tl.sqrt({0}))",
    "recip": "(1.0 / ({0}))", "sin": "tl.sin({0})", "cos": "tl.cos({0})", "erf": "tl.erf({0})",
    "max": "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "min": "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    "where": "tl.where({0}, {1}, {2})", "sigmoid": "_sigmoid({0})", "tanh": "_tanh({0})",
    "softplus": "_softplus({0})", "floordiv": "_floordiv({0}, {1})", "mod": "_mod({0}, {1})",
    "to_f32": "({0}).to(tl.float32)", "to_bf16": "({0}).to(tl.bfloat16).to(tl.float32)",
    "to_f16": "({0}).to(tl.float16).to(tl.float32)", "to_i32": "({0}).to(tl.int32)",
}  # fmt: skip

# Functions that the language of blocks lacks, or has only where a GPU is.
PRELUDE = """\
import triton
import triton.language as tl


@triton.jit
def _sigmoid(x):
    z = tl.exp(-tl.abs(x))
    return tl.where(x >= 0, 1.0, z) / (1.0 + z)


@triton.jit
def _tanh(x):
    z = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - z) / (1.0 + z)
    y = x * x
    near = x * (1.0 + y * (-1.0 / 3 + y * (2.0 / 15 + y * (-17.0 / 315))))
    return tl.where(tl.abs(x) < 0.1, near, tl.where(x < 0, -far, far))


@triton.jit
def _softplus(x):
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def _floordiv(a, b):
    q = a // b
    return q - ((q * b != a) & ((a < 0) != (b < 0))).to(tl.int32)


@triton.jit
def _mod(a, b):
    return a - b * _floordiv(a, b)
"""


def expression(
    body: Scalar, read: Callable[[Arg], str], index: Callable[[str], str], sizes: Mapping[str, int]
) -> str:
    """The text of a body; `read` and `index` give the text of a read and of a coordinate.

    Raises NotYet for what no block can do, such as powers that are not whole.

    >>> expression(Apply("exp", (Index("t"),)), str, lambda axis: f"i_{axis}", {})
    'tl.exp(i_t)'
    """
    match body:
        case Lit(value):
            return _literal(value)
        case Extent(extent):
            return repr(extent(sizes))
        case Index(axis):
            return index(axis)
        case Arg():
            return read(body)
        case Apply("pow", (base, Lit(power))):
            return _power(expression(base, read, index, sizes), power)
        case Apply("pow", (Lit(base), power)) if base > 0:
            return f"tl.exp2({math.log2(base)!r} * ({expression(power, read, index, sizes)}))"
        case Apply(op, args):
            parts = [expression(a, read, index, sizes) for a in args]
            if op in _INFIX:
                return f"({parts[0]} {_INFIX[op]} {parts[1]})"
            if op in _CALLS:
                return _CALLS[op].format(*parts)
    raise NotYet(Fault("triton", f"no block form of {body}", hint='target="cpu" has one'))


def _literal(value: float | int | bool) -> str:
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return f'float("{value}")'
    return repr(value)


def _power(base: str, power: float | int | bool) -> str:
    if power == 0.5:
        return f"tl.sqrt({base})"
    if power == int(power) and 1 <= abs(power) <= 8:
        product = " * ".join([f"({base})"] * abs(int(power)))
        return f"({product})" if power > 0 else f"(1.0 / ({product}))"
    raise NotYet(Fault("triton", f"no block form of a power {power}", hint='target="cpu" has one'))
