"""Lowerings of writes at positions that tensors give, as reads: who writes here, and what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from maquette.capture.align import apart, broadcast
from maquette.capture.expressions import op
from maquette.capture.lowerings.elementwise import add, where
from maquette.capture.lowerings.indexing import gather
from maquette.capture.lowerings.pieces import taken
from maquette.capture.lowerings.reductions import combine
from maquette.capture.lowerings.table import BOOL, apply, axis_of, lifted, lowers, refuse
from maquette.capture.pointwise import converted, together
from maquette.capture.positional import Positional, place
from maquette.capture.positional import whole as single
from maquette.ir.dtypes import dtype
from maquette.ir.monoids import ADD, MAX
from maquette.ir.scalar import Lit, Scalar


@lowers("scatter")
def scatter(
    x: Positional, dim: int, index: Positional, src: Any = None, *, value: Any = None, **given: Any
) -> Positional:
    """`x` with entries along `dim` replaced at the positions of `index`; of several, the last."""
    if given.get("reduce") is not None:
        raise refuse("scatter with a reduction", "scatter_add")
    at, new = axis_of(dim, x.rank), lifted(value if src is None else src)
    index = _writers(x, at, index)
    here = place(index.dims[at])

    def writer(position: Scalar, target: Scalar) -> Scalar:
        return op("where", op("eq", position, target), here, Lit(-1))

    last = combine(MAX, _meeting(x, at, index, writer), x.rank)
    if new.rank:
        new = gather(_as_index(new, index), at, apply("max", last, 0, to=last.dtype))
    return where(apply("ge", last, 0, to=BOOL), converted(new, x.dtype), x)


@lowers("scatter_add")
def scatter_add(x: Positional, dim: int, index: Positional, src: Positional) -> Positional:
    """`x` plus all entries of `src` whose position along `dim` is here."""
    at = axis_of(dim, x.rank)
    index = _writers(x, at, index)
    _, (index, new) = broadcast([index, _as_index(src, index)])
    hit = _meeting(x, at, index, lambda position, target: op("eq", position, target), BOOL)
    moved = replace(new, dims=(*new.dims[:at], (), *new.dims[at + 1 :], new.dims[at]))
    return add(x, combine(ADD, where(hit, converted(moved, x.dtype), 0.0), x.rank))


def _writers(x: Positional, at: int, index: Positional) -> Positional:
    """Positions with axes of their own, the dimension `at` being one of them."""
    if any(i != n for k, (i, n) in enumerate(zip(index.shape, x.shape, strict=True)) if k != at):
        raise refuse("positions that do not cover the other dimensions", "equal sizes elsewhere")
    return single(apart(index, x), at)


def _as_index(new: Positional, index: Positional) -> Positional:
    for k, n in enumerate(index.shape):
        new = taken(new, k, 0, n)
    return new


def _meeting(x: Positional, at: int, index: Positional, build: Any, to: Any = None) -> Positional:
    """Something of every position that writes and every place along `at`, writers last."""
    target = Positional((x.dims[at],), place(x.dims[at]), dtype("i64"))
    writers = replace(index, dims=(*index.dims[:at], (), *index.dims[at + 1 :], index.dims[at]))
    places = replace(target, dims=(*[()] * at, x.dims[at], *[()] * (x.rank - at)))
    dims, (writers, places) = broadcast([writers, places])
    return together(build, [writers, places], dims, to or dtype("i64"))
