"""Lowerings of what combines along dimensions: sums, softmaxes, norms, prefix sums, losses.

Fused operators are written out naively, one reduction after the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from maquette.capture.lowerings.elementwise import add, div, power, sub, where
from maquette.capture.lowerings.table import (
    BOOL,
    INT,
    apply,
    axis_of,
    dims_of,
    floats,
    lifted,
    lowers,
    refuse,
    truth,
    wide,
)
from maquette.capture.pointwise import converted
from maquette.capture.positional import Positional, extent, length, tensor_of
from maquette.capture.positional import whole as single
from maquette.ir.monoids import ADD, AND, MAX, MIN, MUL, OR, Monoid
from maquette.ir.patterns import Reduce, Scan, draft


def combine(monoid: Monoid, x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    """`x` combined along dimensions."""
    over = dims_of(dim, x.rank)
    gone = [a for d in over for a in x.dims[d]]
    repeats = 1
    if not x.rank:
        return x
    if monoid == MUL or not gone:
        value = tensor_of(x, gone)
    else:
        value = tensor_of(x)
        missing = [a for a in gone if a.name not in value.shape]
        if monoid == ADD:
            for a in missing:
                repeats *= extent(a)
        if any(extent(a) == 0 for a in missing):
            value, repeats = tensor_of(x, gone), 1
    names = tuple(a.name for a in gone if a.name in value.shape)
    axes = tuple(a for a in value.axes if a.name not in names)
    if names:
        value = draft(Reduce, axes=axes, dtype=x.dtype, monoid=monoid, over=names, args=(value,))
    dims = tuple(
        () if d in over else held for d, held in enumerate(x.dims) if keepdim or d not in over
    )
    found = Positional(dims, value, x.dtype)
    return found if repeats == 1 else apply("mul", found, repeats, to=x.dtype)


def _summable(x: Any, dtype: Any = None) -> Positional:
    p = lifted(x)
    return converted(p, INT) if p.dtype.kind != "float" else wide(p)


@lowers("sum")
def total(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    """The sum; of whole numbers and booleans a whole number."""
    to = x.dtype if x.dtype.kind == "float" else INT
    return converted(combine(ADD, _summable(x), dim, keepdim), to)


@lowers("mean")
def mean(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    """The sum over the count."""
    x = floats(x)
    count = 1
    for d in dims_of(dim, x.rank):
        count *= length(x.dims[d])
    found = div(combine(ADD, wide(x), dim, keepdim), float(count))
    return converted(found, x.dtype)


@lowers("prod")
def product(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    return combine(MUL, x if x.dtype.kind == "float" else converted(x, INT), dim, keepdim)


@lowers("amax")
def amax(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    return combine(MAX, x, dim, keepdim)


@lowers("amin")
def amin(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    return combine(MIN, x, dim, keepdim)


@lowers("any")
def some(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    return combine(OR, truth(x), dim, keepdim)


@lowers("all")
def every(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
    return combine(AND, truth(x), dim, keepdim)


@lowers("var")
def var(x: Positional, dim: Any = None, keepdim: bool = False, correction: float = 1) -> Positional:
    """The mean square distance from the mean, less `correction` in the count."""
    x = floats(x)
    w = wide(x)
    centred = sub(w, mean(w, dim, True))
    count = 1
    for d in dims_of(dim, x.rank):
        count *= length(x.dims[d])
    squares = combine(ADD, power(centred, 2), dim, keepdim)
    return converted(div(squares, float(max(count - correction, 0))), x.dtype)


@lowers("std")
def std(x: Positional, dim: Any = None, keepdim: bool = False, correction: float = 1) -> Positional:
    return converted(apply("sqrt", var(wide(x), dim, keepdim, correction)), floats(x).dtype)


@lowers("norm", "linalg_vector_norm", "vector_norm")
def norm(x: Positional, p: Any = 2, dim: Any = None, keepdim: bool = False) -> Positional:
    """The root of the sum of squares, the sum of absolutes, or the largest."""
    if p in (None, "fro", 2):
        return converted(
            apply("sqrt", combine(ADD, power(wide(x), 2), dim, keepdim)), floats(x).dtype
        )
    if p == 1:
        return converted(combine(ADD, apply("abs", wide(x)), dim, keepdim), floats(x).dtype)
    if p == float("inf"):
        return combine(MAX, apply("abs", x), dim, keepdim)
    raise refuse(f"a norm of order {p}", "order 1, 2 or inf")


@lowers("logsumexp")
def logsumexp(x: Positional, dim: Any, keepdim: bool = False) -> Positional:
    """The logarithm of a sum of exponentials, safe for large numbers."""
    w = wide(x)
    top = combine(MAX, w, dim, True)
    top = where(apply("eq", apply("abs", top), float("inf"), to=BOOL), 0.0, top)
    found = add(apply("log", combine(ADD, apply("exp", sub(w, top)), dim, True)), top)
    gone = dims_of(dim, x.rank)
    if not keepdim:
        found = replace(found, dims=tuple(d for i, d in enumerate(found.dims) if i not in gone))
    return converted(found, x.dtype)


@lowers("softmax", "_softmax", "_safe_softmax")
def softmax(x: Positional, dim: int) -> Positional:
    """Exponentials over their sum, the largest number taken off first."""
    x = floats(x)
    w = wide(x)
    e = apply("exp", sub(w, combine(MAX, w, dim, True)))
    return converted(div(e, combine(ADD, e, dim, True)), x.dtype)


@lowers("log_softmax", "_log_softmax")
def log_softmax(x: Positional, dim: int) -> Positional:
    """Numbers less the logarithm of the sum of their exponentials."""
    x = floats(x)
    w = wide(x)
    shifted = sub(w, combine(MAX, w, dim, True))
    found = sub(shifted, apply("log", combine(ADD, apply("exp", shifted), dim, True)))
    return converted(found, x.dtype)


def _scanned(monoid: Monoid, x: Positional, dim: int) -> Positional:
    at = axis_of(dim, x.rank)
    x = single(x, at)
    value = tensor_of(x, x.dims[at])
    along = x.dims[at][0].name
    found = draft(Scan, axes=value.axes, dtype=x.dtype, monoid=monoid, along=along, args=(value,))
    return replace(x, source=found)


@lowers("cumsum")
def cumsum(x: Positional, dim: int) -> Positional:
    """Prefix sums."""
    to = x.dtype if x.dtype.kind == "float" else INT
    return converted(_scanned(ADD, _summable(x), dim), to) if x.rank else x


@lowers("cumprod")
def cumprod(x: Positional, dim: int) -> Positional:
    return _scanned(MUL, x, dim)


@lowers("cummax_values")
def cummax(x: Positional, dim: int) -> Positional:
    return _scanned(MAX, x, dim)


@lowers("logcumsumexp")
def logcumsumexp(x: Positional, dim: int) -> Positional:
    """Logarithms of prefix sums of exponentials."""
    w = wide(x)
    top = combine(MAX, w, dim, True)
    return converted(add(apply("log", cumsum(apply("exp", sub(w, top)), dim)), top), x.dtype)
