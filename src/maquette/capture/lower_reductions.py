"""Lowerings of what combines along dimensions: sums, softmaxes, norms, prefix sums, losses.

Fused operators are written out naively, one reduction after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from maquette.capture.lower_elementwise import add, div, power, sub, where
from maquette.capture.positional import Positional, converted, extent, length, tensor_of
from maquette.capture.positional import whole as single
from maquette.capture.table import (
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
from maquette.ir.monoids import ADD, AND, MAX, MIN, MUL, OR, Monoid
from maquette.ir.patterns import Reduce, Scan, make


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
        value = make(Reduce, axes=axes, dtype=x.dtype, monoid=monoid, over=names, args=(value,))
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
    to = x.dtype if x.dtype.kind == "float" else INT
    return converted(combine(ADD, _summable(x), dim, keepdim), to)


@lowers("mean")
def mean(x: Positional, dim: Any = None, keepdim: bool = False) -> Positional:
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
    x = floats(x)
    w = wide(x)
    e = apply("exp", sub(w, combine(MAX, w, dim, True)))
    return converted(div(e, combine(ADD, e, dim, True)), x.dtype)


@lowers("log_softmax", "_log_softmax")
def log_softmax(x: Positional, dim: int) -> Positional:
    x = floats(x)
    w = wide(x)
    shifted = sub(w, combine(MAX, w, dim, True))
    found = sub(shifted, apply("log", combine(ADD, apply("exp", shifted), dim, True)))
    return converted(found, x.dtype)


def _affine(found: Positional, weight: Positional | None, bias: Positional | None) -> Positional:
    if weight is not None:
        found = apply("mul", found, weight)
    return found if bias is None else add(found, bias)


@lowers("layer_norm", "native_layer_norm")
def layer_norm(
    x: Positional,
    normalized_shape: Sequence[int],
    weight: Positional | None = None,
    bias: Positional | None = None,
    eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Positional:
    dims = tuple(range(-len(normalized_shape), 0))
    w = wide(x)
    centred = sub(w, mean(w, dims, True))
    spread = mean(power(centred, 2), dims, True)
    found = apply("mul", centred, apply("rsqrt", add(spread, eps)))
    return converted(_affine(found, weight, bias), x.dtype)


@lowers("rms_norm")
def rms_norm(
    x: Positional,
    normalized_shape: Sequence[int],
    weight: Positional | None = None,
    eps: float | None = None,
) -> Positional:
    if eps is None:
        eps = {"f32": 2.0**-23, "bf16": 2.0**-7, "f16": 2.0**-10}[x.dtype.name]
    dims = tuple(range(-len(normalized_shape), 0))
    w = wide(x)
    found = apply("mul", w, apply("rsqrt", add(mean(power(w, 2), dims, True), eps)))
    return converted(_affine(found, weight, None), x.dtype)


@lowers("normalize")
def normalize(x: Positional, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Positional:
    return div(x, apply("max", norm(x, p, dim, True), eps))


@lowers("group_norm")
def group_norm(
    x: Positional,
    num_groups: int,
    weight: Positional | None = None,
    bias: Positional | None = None,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Positional:
    from maquette.capture.lower_shapes import reshape

    batch, channels, *rest = x.shape
    grouped = reshape(wide(x), (batch, num_groups, channels // num_groups, *rest))
    inner = tuple(range(2, grouped.rank))
    centred = sub(grouped, mean(grouped, inner, True))
    found = apply("mul", centred, apply("rsqrt", add(mean(power(centred, 2), inner, True), eps)))
    found = reshape(found, x.shape)
    return converted(
        _affine(found, _channels(weight, len(rest)), _channels(bias, len(rest))), x.dtype
    )


def _channels(p: Positional | None, after: int) -> Positional | None:
    """A vector over channels, with a dimension of one for each that follows them."""
    return None if p is None else replace(p, dims=(*p.dims, *([()] * after)))


@lowers("batch_norm")
def batch_norm(
    x: Positional,
    running_mean: Positional | None,
    running_var: Positional | None,
    weight: Positional | None = None,
    bias: Positional | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Positional:
    after = x.rank - 2
    w = wide(x)
    if training or running_mean is None or running_var is None:
        if running_mean is not None:
            raise refuse("batch normalisation in training mode", "evaluation", "call module.eval()")
        dims = tuple(d for d in range(x.rank) if d != 1)
        middle, spread = mean(w, dims, True), var(w, dims, True, 0)
    else:
        middle = _channels(running_mean, after) or w
        spread = _channels(running_var, after) or w
    found = apply("mul", sub(w, middle), apply("rsqrt", add(spread, eps)))
    return converted(_affine(found, _channels(weight, after), _channels(bias, after)), x.dtype)


def _scanned(monoid: Monoid, x: Positional, dim: int) -> Positional:
    at = axis_of(dim, x.rank)
    x = single(x, at)
    value = tensor_of(x, x.dims[at])
    along = x.dims[at][0].name
    found = make(Scan, axes=value.axes, dtype=x.dtype, monoid=monoid, along=along, args=(value,))
    return replace(x, source=found)


@lowers("cumsum")
def cumsum(x: Positional, dim: int) -> Positional:
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
    w = wide(x)
    top = combine(MAX, w, dim, True)
    return converted(add(apply("log", cumsum(apply("exp", sub(w, top)), dim)), top), x.dtype)


def _reduced(x: Positional, reduction: str) -> Positional:
    if reduction == "none":
        return x
    return mean(x) if reduction == "mean" else total(x)


@lowers("mse_loss")
def mse_loss(x: Positional, target: Positional, reduction: str = "mean") -> Positional:
    return _reduced(power(sub(x, target), 2), reduction)


@lowers("l1_loss")
def l1_loss(x: Positional, target: Positional, reduction: str = "mean") -> Positional:
    return _reduced(apply("abs", sub(x, target)), reduction)


@lowers("nll_loss")
def nll_loss(
    x: Positional,
    target: Positional,
    weight: Positional | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Positional:
    from maquette.capture.lower_indexing import picked

    if weight is not None:
        raise refuse("a loss weighted by class", "weight=None")
    at = 0 if x.rank == 1 else 1
    kept = apply("ne", target, ignore_index, to=BOOL)
    losses = where(kept, apply("neg", picked(x, at, target)), 0.0)
    if reduction != "mean":
        return _reduced(losses, reduction)
    return div(total(losses), total(where(kept, 1.0, 0.0)))


@lowers("cross_entropy", "cross_entropy_loss")
def cross_entropy(
    x: Positional,
    target: Positional,
    weight: Positional | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Positional:
    if label_smoothing:
        raise refuse("label smoothing", "label_smoothing=0.0")
    at = 0 if x.rank == 1 else 1
    logs = log_softmax(x, at)
    if target.dtype.kind != "float":
        return nll_loss(logs, target, weight, ignore_index, reduction)
    found = apply("neg", total(apply("mul", logs, target), at))
    return _reduced(found, reduction)
