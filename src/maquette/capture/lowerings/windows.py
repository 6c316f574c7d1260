"""Lowerings of windows: convolutions, pooling, resizing.  Outside of a tensor there are zeros."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from maquette.capture.align import apart, broadcast
from maquette.capture.expressions import op
from maquette.capture.lowerings.elementwise import add, div
from maquette.capture.lowerings.pieces import at_coordinates, taken
from maquette.capture.lowerings.products import contract
from maquette.capture.lowerings.reductions import combine, mean
from maquette.capture.lowerings.shapes import reshape
from maquette.capture.lowerings.table import LOWERINGS, lowers, refuse, wide
from maquette.capture.pointwise import converted, together
from maquette.capture.positional import Dim, Positional, extent, fresh, length, place, rewritten
from maquette.capture.positional import whole as single
from maquette.ir.monoids import ADD, MAX
from maquette.ir.scalar import Index, Lit, Scalar

_SPACE = ("x", "y", "z")  # from the last dimension


def tupled(x: Any, rank: int) -> tuple[int, ...]:
    """One number for every dimension."""
    parts = (x,) if isinstance(x, int) else tuple(int(v) for v in x)
    return parts * rank if len(parts) == 1 else parts


def windows(
    x: Positional, at: int, window: Dim, count: int, stride: int, before: int, dilation: int
) -> Positional:
    """Dimension `at` as ``count`` windows, each along the axes `window`; zero outside."""
    x = single(x, at)
    out = fresh(_SPACE[x.rank - 1 - at], count)
    here = op("mul", Index(out.name), Lit(stride))
    inner = op("mul", place(window), Lit(dilation))
    where = op("sub", op("add", here, inner), Lit(before))
    return at_coordinates(x, at, where, (out, *window))


def _unwindowed(x: Positional, at: int) -> Positional:
    """The windows' own dimension apart from that of their number."""
    out, *window = x.dims[at]
    return replace(x, dims=(*x.dims[:at], (out,), tuple(window), *x.dims[at + 1 :]))


def convolution(
    x: Positional,
    weight: Positional,
    bias: Positional | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Positional:
    """The sum over channels and window of the input around each position times the weight."""
    n = weight.rank - 2
    if x.rank == n + 1:
        added = replace(x, dims=((), *x.dims))
        found = convolution(added, weight, bias, stride, padding, dilation, groups)
        return replace(found, dims=found.dims[1:])
    strides, dilations = tupled(stride, n), tupled(dilation, n)
    kernel = weight.shape[2:]
    if isinstance(padding, str):
        spans = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        pads = [(s // 2, s - s // 2) if padding == "same" else (0, 0) for s in spans]
    else:
        pads = [(p, p) for p in tupled(padding, n)]
    out_channels, weight = weight.shape[0], apart(weight, x)
    weight, over = _grouped(weight, groups)
    weight = _without_ones(weight)
    x = reshape(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    x, weight = _same(x, (1, 2), weight, (0, 2))
    spatial: list[Dim] = []
    for k in range(n):
        at = 3 + k
        window = weight.dims[3 + k]
        before, after = pads[k]
        size = x.shape[at] + before + after - dilations[k] * (kernel[k] - 1)
        count = max((size - 1) // strides[k] + 1, 0)
        if kernel[k] == 1 and before == after == 0:
            x = taken(x, at, 0, count, strides[k])
            spatial.append(x.dims[at])
            continue
        x = windows(x, at, window, count, strides[k], before, dilations[k])
        spatial.append(x.dims[at][:1])
    sums = [d for d, n in zip(weight.dims[3:], kernel, strict=True) if n != 1]
    over = (*weight.dims[2], *(a for d in sums for a in d))
    channels = (*weight.dims[0], *weight.dims[1])
    found = contract(x, weight, over, (x.dims[0], channels, *spatial))
    assert found.shape[1] == out_channels
    if bias is not None:
        found = add(found, replace(bias, dims=(*bias.dims, *([()] * n))))
    return found


def _grouped(weight: Positional, groups: int) -> tuple[Positional, Dim]:
    """A weight as [groups, channels out of one, channels into one, window…]."""
    out, *rest = weight.shape
    found = reshape(weight, (groups, out // groups, *rest))
    hints = ("g", "o", "c", "k", "k", "k")
    changes = {
        a.name: (fresh(hints[i] if i < 3 else f"k{_SPACE[found.rank - 1 - i]}", extent(a)),)
        for i, dim in enumerate(found.dims)
        for a in dim
    }
    return rewritten(found, changes), ()


def _without_ones(weight: Positional) -> Positional:
    """Axes of windows of one position joined with that of the channels."""
    ones = [a for d in weight.dims[3:] for a in d if extent(a) == 1]
    if not ones:
        return weight
    kept = tuple(tuple(a for a in d if extent(a) != 1) for d in weight.dims[3:])
    joined = replace(weight, dims=(*weight.dims[:2], (*weight.dims[2], *ones), *kept))
    return single(joined, 2)


def _same(
    x: Positional, places: Sequence[int], weight: Positional, theirs: Sequence[int]
) -> tuple[Positional, Positional]:
    """Dimensions of both sides named by the same axes."""
    a = replace(x, dims=tuple(x.dims[p] for p in places))
    b = replace(weight, dims=tuple(weight.dims[p] for p in theirs))
    _, (a, b) = broadcast([a, b])
    return _put(a, x, places), _put(b, weight, theirs)


def _put(part: Positional, whole: Positional, places: Sequence[int]) -> Positional:
    dims = list(whole.dims)
    for p, d in zip(places, part.dims, strict=True):
        dims[p] = d
    return replace(part, dims=tuple(dims))


def _enter_convolutions() -> None:
    def conv(
        x: Positional,
        weight: Positional,
        bias: Positional | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Positional:
        return convolution(x, weight, bias, stride, padding, dilation, groups)

    for name in ("conv1d", "conv2d", "conv3d"):
        LOWERINGS[name] = conv


_enter_convolutions()


@lowers("convolution")
def aten_convolution(
    x: Positional, weight: Positional, bias: Positional | None, stride: Any, padding: Any,
    dilation: Any, transposed: bool, output_padding: Any, groups: int,
) -> Positional:  # fmt: skip
    """The general convolution of the exported graph."""
    if transposed:
        raise refuse("a transposed convolution", "a convolution, or interpolate and convolve")
    return convolution(x, weight, bias, stride, padding, dilation, groups)


def _pooled(
    x: Positional, n: int, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool,
    reduce: Callable[[Positional, tuple[int, ...], tuple[int, ...]], Positional],
) -> Positional:  # fmt: skip
    """Windows of the last `n` dimensions, each reduced."""
    if ceil:
        raise refuse("pooling with ceil_mode", "ceil_mode=False")
    sizes, pads, dilations = tupled(kernel, n), tupled(padding, n), tupled(dilation, n)
    strides = sizes if stride in (None, [], ()) else tupled(stride, n)
    first = x.rank - n
    lengths = x.shape[first:]
    for k in range(n):
        window = (fresh(f"k{_SPACE[n - 1 - k]}", sizes[k]),)
        size = lengths[k] + 2 * pads[k] - dilations[k] * (sizes[k] - 1)
        count = (size - 1) // strides[k] + 1
        x = windows(x, first + k, window, count, strides[k], pads[k], dilations[k])
    for k in reversed(range(n)):
        x = _unwindowed(x, first + k)
    inner = tuple(first + 2 * k + 1 for k in range(n))
    return reduce(x, inner, lengths)


def _enter_pools() -> None:
    for n in (1, 2, 3):
        LOWERINGS[f"max_pool{n}d"] = lambda *a, _n=n, **k: max_pool(_n, *a, **k)
        LOWERINGS[f"avg_pool{n}d"] = lambda *a, _n=n, **k: avg_pool(_n, *a, **k)
        LOWERINGS[f"adaptive_avg_pool{n}d"] = lambda x, output_size, _n=n: adaptive(
            x, output_size, _n, ADD
        )
        LOWERINGS[f"adaptive_max_pool{n}d"] = lambda *a, _n=n, **k: adaptive_max(_n, *a, **k)
        LOWERINGS[f"adaptive_max_pool{n}d_with_indices"] = _with_positions


def max_pool(
    n: int, x: Positional, kernel_size: Any, stride: Any = None, padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Positional:  # fmt: skip
    """The largest of each window; what is outside counts for nothing."""
    if return_indices:
        raise refuse("the positions of a maximum pool", "return_indices=False")
    first = x.rank - n

    def largest(held: Positional, inner: tuple[int, ...], lengths: tuple[int, ...]) -> Positional:
        if any(tupled(padding, n)):
            held = _outside_is(held, inner, x, first, n, stride, kernel_size, padding, dilation)
        return combine(MAX, held, inner)

    return _pooled(x, n, kernel_size, stride, padding, dilation, ceil_mode, largest)


def _outside_is(
    held: Positional, inner: tuple[int, ...], x: Positional, first: int, n: int,
    stride: Any, kernel: Any, padding: Any, dilation: Any,
) -> Positional:  # fmt: skip
    """Minus infinity where a window reaches outside."""
    sizes, pads, dilations = tupled(kernel, n), tupled(padding, n), tupled(dilation, n)
    strides = sizes if stride in (None, [], ()) else tupled(stride, n)
    inside: Scalar = Lit(True)
    for k, at in enumerate(inner):
        out = op("mul", place(held.dims[at - 1]), Lit(strides[k]))
        here = op("add", out, op("mul", place(held.dims[at]), Lit(dilations[k])))
        inside = op("and", inside, op("ge", here, Lit(pads[k])))
        inside = op("and", inside, op("lt", here, Lit(pads[k] + x.shape[first + k])))
    return together(
        lambda v: op("where", inside, v, Lit(float("-inf"))), [held], held.dims, held.dtype
    )


def avg_pool(
    n: int, x: Positional, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Positional:  # fmt: skip
    """The mean of each window, padding included."""
    if any(tupled(padding, n)) and not count_include_pad:
        raise refuse("an average that leaves padding out", "count_include_pad=True")

    def average(held: Positional, inner: tuple[int, ...], lengths: tuple[int, ...]) -> Positional:
        count = divisor_override or 1
        for at in inner if not divisor_override else ():
            count *= length(held.dims[at])
        return converted(div(combine(ADD, wide(held), inner), float(count)), x.dtype)

    return _pooled(x, n, kernel_size, stride, padding, 1, ceil_mode, average)


def _with_positions(*_: Any, **__: Any) -> Positional:
    raise refuse("the positions of a maximum pool", "return_indices=False")


def adaptive_max(
    n: int, x: Positional, output_size: Any, return_indices: bool = False
) -> Positional:
    """The largest of each of so many windows."""
    if return_indices:
        return _with_positions()
    return adaptive(x, output_size, n, MAX)


def adaptive(x: Positional, size: Any, n: int, monoid: Any) -> Positional:
    """Pooling to a given size, where it divides the size there is."""
    first = x.rank - n
    wanted = [
        x.shape[first + k] if s is None else s
        for k, s in enumerate((size,) * n if isinstance(size, int) else size)
    ]
    for k, w in enumerate(wanted):
        if x.shape[first + k] % w:
            what = f"adaptive pooling of {x.shape[first + k]} positions to {w}"
            raise refuse(what, "a size that divides the size there is")
    parts = [n_ for k, w in enumerate(wanted) for n_ in (w, x.shape[first + k] // w)]
    split = reshape(x, (*x.shape[:first], *parts))
    inner = tuple(first + 2 * k + 1 for k in range(n))
    if monoid == ADD:
        return mean(split, inner)
    return combine(monoid, split, inner)


_enter_pools()


@lowers("interpolate")
def interpolate(
    x: Positional,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    *_: Any,
    **__: Any,
) -> Positional:
    """Nearest positions: a read at a coordinate."""
    if mode not in ("nearest", "nearest-exact"):
        raise refuse(f"interpolation by {mode!r}", "mode='nearest'")
    n = x.rank - 2
    old = x.shape[2:]
    if size is not None:
        wanted = tupled(size, n)
    else:
        scales = (
            (scale_factor,) * n if isinstance(scale_factor, int | float) else tuple(scale_factor)
        )
        wanted = tuple(int(o * s) for o, s in zip(old, scales, strict=True))
    for k, (o, w) in enumerate(zip(old, wanted, strict=True)):
        new = fresh(_SPACE[n - 1 - k], w)
        i: Scalar = op("mul", Index(new.name), Lit(o))
        if mode == "nearest-exact":
            here = op("floordiv", op("add", op("mul", i, Lit(2)), Lit(o)), Lit(2 * w))
        else:
            here = op("floordiv", i, Lit(w))
        x = at_coordinates(single(x, 2 + k), 2 + k, here, (new,))
    return x


def _enter_upsampling() -> None:
    for n in (1, 2, 3):
        LOWERINGS[f"upsample_nearest{n}d"] = lambda x, size=None, scales=None, *_: interpolate(
            x, size, scales
        )
        LOWERINGS[f"_upsample_nearest_exact{n}d"] = lambda x, size=None, scales=None, *_: (
            interpolate(x, size, scales, "nearest-exact")
        )


_enter_upsampling()


@lowers("pixel_shuffle")
def pixel_shuffle(x: Positional, upscale_factor: int) -> Positional:
    """Channels as finer positions, which makes no node."""
    r = upscale_factor
    *lead, c, h, w = x.shape
    split = reshape(x, (*lead, c // (r * r), r, r, h, w))
    n = len(lead)
    d = split.dims
    return replace(split, dims=(*d[:n], d[n], (*d[n + 3], *d[n + 1]), (*d[n + 4], *d[n + 2])))


@lowers("unfold")
def unfold(x: Positional, dimension: int, size: int, step: int) -> Positional:
    """Windows of one dimension, in a last dimension of their own (``Tensor.unfold``)."""
    at = dimension % x.rank
    window = (fresh("w", size),)
    count = (x.shape[at] - size) // step + 1
    found = single(x, at)
    out = fresh("n", count)
    where = op("add", op("mul", Index(out.name), Lit(step)), place(window))
    found = at_coordinates(found, at, where, (out, *window))
    dims = (*found.dims[:at], (out,), *found.dims[at + 1 :], window)
    return replace(found, dims=dims)
