"""Lowerings of normalisations, written out naively."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from maquette.capture.lowerings.elementwise import add, div, power, sub
from maquette.capture.lowerings.reductions import combine, mean, norm, var
from maquette.capture.lowerings.shapes import reshape
from maquette.capture.lowerings.table import (
    apply,
    lowers,
    refuse,
    wide,
)
from maquette.capture.pointwise import converted
from maquette.capture.positional import Positional
from maquette.ir.monoids import ADD


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
    """Centred and scaled to unit variance over the last dimensions."""
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
    """Scaled to unit mean square over the last dimensions."""
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
    """Centred and scaled over groups of channels and all of space."""
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


@lowers("instance_norm")
def instance_norm(
    x: Positional,
    running_mean: Positional | None = None,
    running_var: Positional | None = None,
    weight: Positional | None = None,
    bias: Positional | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Positional:
    """Centred and scaled over space, channel by channel."""
    if not use_input_stats:
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    return group_norm(x, x.shape[1], weight, bias, eps)


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
    """Centred and scaled by running statistics, channel by channel."""
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


@lowers("cosine_similarity")
def cosine_similarity(x: Positional, y: Positional, dim: int = 1, eps: float = 1e-8) -> Positional:
    """The dot product over the product of lengths."""
    both = combine(ADD, apply("mul", x, y), dim)
    lengths = (apply("max", norm(p, 2, dim), eps) for p in (x, y))
    return div(both, apply("mul", *lengths))


@lowers("var_mean")
def var_mean(
    x: Positional, dim: Any = None, *, correction: float = 1, keepdim: bool = False
) -> tuple[Positional, Positional]:
    """The variance and the mean."""
    return var(x, dim, keepdim, correction), mean(x, dim, keepdim)
