"""Lowerings of tensors made from nothing, as expressions of coordinates, and of choices by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import Any

from maquette.capture.expressions import cast, op
from maquette.capture.lowerings.reductions import amax, amin
from maquette.capture.lowerings.shapes import flatten, ints, squeeze
from maquette.capture.lowerings.table import BOOL, INT, apply, axis_of, lifted, lowers
from maquette.capture.pointwise import converted, made, pointwise
from maquette.capture.positional import Dim, Positional, fresh, place, tensor_of
from maquette.capture.positional import whole as single
from maquette.errors import Fault, InputError
from maquette.ir.dtypes import DType, dtype
from maquette.ir.patterns import FlatMap, draft
from maquette.ir.scalar import Arg, Index, Lit, Scalar


def dims_for(shape: Sequence[int]) -> tuple[Dim, ...]:
    """Dimensions with axes of their own."""
    return tuple(() if n == 1 else (fresh("n", n),) for n in shape)


@lowers("full")
def full(shape: Sequence[int], value: Any, to: DType | None = None) -> Positional:
    """One number everywhere."""
    p = lifted(value)
    if isinstance(p.source, Lit) and to is not None:
        p = Positional((), cast(p.source, to.kind, p.dtype.kind), to)
    elif to is not None:
        p = converted(p, to)
    return replace(p, dims=dims_for(ints([shape] if isinstance(shape, int) else shape)))


@lowers("arange")
def arange(
    start: float, end: float | None = None, step: float = 1, to: DType | None = None
) -> Positional:
    """Evenly spaced numbers: an expression of the coordinate."""
    if end is None:
        start, end = 0, start
    ax = fresh("n", max(ceil((end - start) / step), 0))
    i: Scalar = Index(ax.name)
    kind = "int" if all(isinstance(v, int) for v in (start, end, step)) else "float"
    if kind == "float":
        i = op("add", op("mul", cast(i, "float", "int"), Lit(float(step))), Lit(float(start)))
    else:
        i = op("add", op("mul", i, Lit(step)), Lit(start))
    found = made(i, (), ((ax,),), dtype("f32") if kind == "float" else INT)
    return found if to is None else converted(found, to)


@lowers("linspace")
def linspace(start: float, end: float, steps: int, to: DType | None = None) -> Positional:
    """Numbers from one end to the other, both included."""
    ax = fresh("n", steps)
    i = cast(Index(ax.name), "float", "int")
    step = (end - start) / max(steps - 1, 1)
    return made(
        op("add", op("mul", i, Lit(step)), Lit(float(start))), (), ((ax,),), to or dtype("f32")
    )


@lowers("eye")
def eye(n: int, m: int | None = None, to: DType | None = None) -> Positional:
    """One where row and column agree."""
    dims = ((fresh("n", n),), (fresh("m", n if m is None else m),))
    body = op("eq", place(dims[0]), place(dims[1]))
    return converted(Positional(dims, body, BOOL), to or dtype("f32"))


@lowers("meshgrid")
def meshgrid(tensors: Sequence[Positional], indexing: str = "ij") -> tuple[Positional, ...]:
    """Each tensor along a dimension of its own; nothing is repeated."""
    dims = [p.dims[0] if p.rank else () for p in tensors]
    order = [1, 0, *range(2, len(dims))] if indexing == "xy" else list(range(len(dims)))
    return tuple(replace(p, dims=tuple(dims[k] for k in order)) for p in tensors)


def top(x: Positional, count: int, dim: int) -> Positional:
    """Positions of the largest along a dimension, largest first."""
    at = axis_of(dim, x.rank)
    x = single(x, at)
    n = x.shape[at]
    if count > n:
        what = f"the {count} largest of {n}"
        raise InputError(Fault("", what, f"at most {n}"))
    key = tensor_of(x, x.dims[at])
    along = x.dims[at][0].name
    out = fresh("k", count)
    axes = (*(a for a in key.axes if a.name != along), out)
    found = draft(FlatMap, axes=axes, dtype=INT, rule="top", along=along, out=out, key=key)
    return Positional((*x.dims[:at], (out,), *x.dims[at + 1 :]), found, INT)


def _turned(x: Positional, last: bool = False) -> Positional:
    """Numbers in the opposite order; what is no number comes first, or `last`."""
    if x.dtype.kind != "float":  # the least integer has no negative
        return pointwise(lambda v: op("sub", Lit(-1), v), x, to=x.dtype)
    turned = apply("neg", x)
    if not last:
        return turned
    least = Lit(float("-inf"))
    return pointwise(lambda v, t: op("where", op("ne", v, v), least, t), x, turned, to=x.dtype)


def read_at(x: Positional, at: int, index: Positional) -> Positional:
    """`x` at positions along a dimension; `index` has the same dimensions elsewhere."""
    x = single(x, at)
    value, where = tensor_of(x, x.dims[at]), tensor_of(index)
    return made(Arg(0, ((x.dims[at][0].name, Arg(1)),)), (value, where), index.dims, x.dtype)


@lowers("topk")
def topk(
    x: Positional, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Positional, Positional]:
    """The largest (or smallest) along a dimension, and where they are."""
    x = single(x, axis_of(dim, x.rank))
    found = top(x if largest else _turned(x, last=True), k, dim)
    return read_at(x, axis_of(dim, x.rank), found), found


@lowers("sort")
def sort(
    x: Positional, dim: int = -1, descending: bool = False, stable: bool = False
) -> tuple[Positional, Positional]:
    return topk(x, x.shape[axis_of(dim, x.rank)], dim, descending)


@lowers("argsort")
def argsort(
    x: Positional, dim: int = -1, descending: bool = False, stable: bool = False
) -> Positional:
    return sort(x, dim, descending)[1]


@lowers("argmax")
def argmax(x: Positional, dim: int | None = None, keepdim: bool = False) -> Positional:
    """Where the largest is; the first of several."""
    if dim is None:
        x, dim = flatten(x), 0
    found = top(x, 1, dim)
    at = axis_of(dim, x.rank)
    first = made(
        Arg(0, ((found.dims[at][0].name, Lit(0)),)),
        (tensor_of(found),),
        (*found.dims[:at], (), *found.dims[at + 1 :]),
        INT,
    )
    return first if keepdim else squeeze(first, at)


@lowers("argmin")
def argmin(x: Positional, dim: int | None = None, keepdim: bool = False) -> Positional:
    return argmax(_turned(x), dim, keepdim)


@lowers("max")
def max_(x: Positional, dim: Any = None, keepdim: bool = False) -> Any:
    """Over everything; of two tensors; or along a dimension, with where it is."""
    if isinstance(dim, Positional):
        return apply("max", x, dim)
    if dim is None:
        return amax(x)
    return amax(x, dim, keepdim), argmax(x, dim, keepdim)


@lowers("min")
def min_(x: Positional, dim: Any = None, keepdim: bool = False) -> Any:
    """Over everything; of two tensors; or along a dimension, with where it is."""
    if isinstance(dim, Positional):
        return apply("min", x, dim)
    if dim is None:
        return amin(x)
    return amin(x, dim, keepdim), argmin(x, dim, keepdim)
