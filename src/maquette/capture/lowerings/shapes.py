"""Lowerings of what only says where things stand: most of them make no node at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from maquette.capture.lowerings.table import axis_of, lowers, refuse
from maquette.capture.positional import (
    Dim,
    Positional,
    extent,
    fresh,
    hint_of,
    length,
    rewritten,
)
from maquette.capture.positional import whole as single
from maquette.errors import Fault, InputError
from maquette.ir.axes import Axis
from maquette.ir.scalar import Lit


def ints(parts: Sequence[Any]) -> tuple[int, ...]:
    """Sizes given one by one or as one sequence."""
    if len(parts) == 1 and isinstance(parts[0], list | tuple):
        parts = parts[0]
    return tuple(int(p) for p in parts)


@lowers("reshape", "view", "_unsafe_view", "view_copy", "_reshape_alias")
def reshape(x: Positional, *shape: Any) -> Positional:
    """Dimensions split and joined in row-major order, at axes that are there where that is so."""
    wanted = list(ints(shape))
    count = prod(x.shape)
    if -1 in wanted:
        rest = prod(n for n in wanted if n != -1)
        wanted[wanted.index(-1)] = count // rest if rest else 0
    if prod(wanted) != count:
        what = f"a tensor of shape {x.shape} cannot be reshaped to {tuple(wanted)}"
        raise InputError(Fault("", what, f"{count} elements"))
    if tuple(wanted) == x.shape:
        return x
    if not count:
        return Positional(tuple((fresh("n", n),) for n in wanted), Lit(0), x.dtype)
    axes = [a for dim in x.dims for a in dim if extent(a) != 1]
    ones = [a for dim in x.dims for a in dim if extent(a) == 1]
    found = _regroup(axes, [n for n in wanted if n != 1])
    if found is None:
        return _through_one(x, tuple(wanted))
    changes, groups = found
    x = rewritten(replace(x, dims=(tuple(axes), tuple(ones))), changes)
    filled = iter(groups)
    dims = tuple(() if n == 1 else next(filled) for n in wanted)
    return replace(x, dims=_with_ones(dims, ones))


def _with_ones(dims: tuple[Dim, ...], ones: list[Axis]) -> tuple[Dim, ...]:
    """Dimensions of one name the axes of one that are left, in order."""
    left = list(ones)
    return tuple((left.pop(0),) if dim == () and left else dim for dim in dims)


def _regroup(
    axes: Sequence[Axis], wanted: Sequence[int]
) -> tuple[dict[str, Dim], list[Dim]] | None:
    """How to split axes, and which parts make each wanted size; None if borders do not meet."""
    left = [(a, a.name) for a in axes]
    parts: dict[str, list[Axis]] = {}
    groups: list[Dim] = []
    splits = len(wanted) > len(axes)
    for position, n in reversed(list(enumerate(wanted))):
        group: list[Axis] = []
        need = n
        while need > 1:
            ax, origin = left.pop()
            here = extent(ax)
            if need % here == 0:
                part = ax
                need //= here
            elif here % need == 0:
                part = fresh(_guess(position, len(wanted), ax) if splits else hint_of(ax), need)
                left.append((fresh(_guess(position - 1, len(wanted), ax), here // need), origin))
                need = 1
            else:
                return None
            parts.setdefault(origin, []).insert(0, part)
            group.insert(0, part)
        groups.insert(0, tuple(group))
    changes = {n: tuple(p) for n, p in parts.items() if [a.name for a in p] != [n]}
    return changes, groups


def _guess(position: int, rank: int, ax: Axis) -> str:
    """What a part of a split is usually called: heads and their channels."""
    if rank in (3, 4, 5) and position >= rank - 2:
        return "d" if position == rank - 1 else "h"
    return hint_of(ax)


def _through_one(x: Positional, wanted: tuple[int, ...]) -> Positional:
    """Everything as one axis, then split again."""
    axes = tuple(a for dim in x.dims for a in dim)
    flat = single(replace(x, dims=(axes,)), 0)
    return reshape(flat, wanted)


@lowers("flatten")
def flatten(x: Positional, start_dim: int = 0, end_dim: int = -1) -> Positional:
    """Some dimensions as one, which makes no node."""
    if not x.rank:
        return replace(x, dims=((),))
    a, b = axis_of(start_dim, x.rank), axis_of(end_dim, x.rank)
    joined = tuple(ax for dim in x.dims[a : b + 1] for ax in dim)
    return replace(x, dims=(*x.dims[:a], joined, *x.dims[b + 1 :]))


@lowers("unflatten")
def unflatten(x: Positional, dim: int, sizes: Sequence[int]) -> Positional:
    """One dimension as several."""
    at = axis_of(dim, x.rank)
    known = prod(n for n in sizes if n != -1)
    sizes = [x.shape[at] // known if n == -1 else n for n in sizes]
    return reshape(x, (*x.shape[:at], *sizes, *x.shape[at + 1 :]))


@lowers("transpose", "swapaxes", "swapdims")
def transpose(x: Positional, a: int, b: int) -> Positional:
    """Two dimensions exchanged, which makes no node."""
    dims = list(x.dims)
    a, b = axis_of(a, x.rank), axis_of(b, x.rank)
    dims[a], dims[b] = dims[b], dims[a]
    return replace(x, dims=tuple(dims))


@lowers("permute")
def permute(x: Positional, *dims: Any) -> Positional:
    return replace(x, dims=tuple(x.dims[d] for d in ints(dims)))


@lowers("t", "numpy_T", "T")
def reverse(x: Positional) -> Positional:
    return replace(x, dims=x.dims[::-1])


@lowers("mT", "matrix_transpose", "adjoint", "mH", "H")
def matrix_transpose(x: Positional) -> Positional:
    return transpose(x, -1, -2)


@lowers("movedim", "moveaxis")
def movedim(x: Positional, source: Any, destination: Any) -> Positional:
    """Dimensions moved elsewhere, which makes no node."""
    sources = [axis_of(d, x.rank) for d in ints([source] if isinstance(source, int) else source)]
    places = ints([destination] if isinstance(destination, int) else destination)
    order: list[int | None] = [None] * x.rank
    for s, d in zip(sources, places, strict=True):
        order[axis_of(d, x.rank)] = s
    rest = iter(d for d in range(x.rank) if d not in sources)
    return replace(x, dims=tuple(x.dims[next(rest) if o is None else o] for o in order))


@lowers("unsqueeze", "expand_dims")
def unsqueeze(x: Positional, dim: int) -> Positional:
    """A dimension of one more."""
    at = axis_of(dim, x.rank + 1)
    return replace(x, dims=(*x.dims[:at], (), *x.dims[at:]))


@lowers("squeeze")
def squeeze(x: Positional, dim: Any = None) -> Positional:
    """Dimensions of one less."""
    gone = (
        range(x.rank)
        if dim is None
        else [axis_of(d, x.rank) for d in ints([dim] if isinstance(dim, int) else dim)]
    )
    return replace(
        x, dims=tuple(d for i, d in enumerate(x.dims) if i not in gone or length(d) != 1)
    )


@lowers("expand", "broadcast_to")
def expand(x: Positional, *sizes: Any) -> Positional:
    """Dimensions of one repeated, which moves nothing."""
    wanted = ints(sizes)
    dims = ((),) * (len(wanted) - x.rank) + x.dims
    found = []
    for dim, n in zip(dims, wanted, strict=True):
        if n in (-1, length(dim)):
            found.append(dim)
        elif length(dim) == 1:
            found.append((fresh("r", n),))
        else:
            what = f"shape {x.shape} cannot be expanded to {wanted}"
            raise InputError(Fault("", what, "sizes of 1 where it grows"))
    return replace(x, dims=tuple(found))


@lowers("expand_as")
def expand_as(x: Positional, like: Positional) -> Positional:
    return expand(x, like.shape)


@lowers("view_as", "reshape_as")
def view_as(x: Positional, like: Positional) -> Positional:
    return reshape(x, like.shape)


def expand_dim(x: Positional, at: int, times: int) -> Positional:
    """Every position of a dimension `times` times in a row, which moves nothing."""
    if times == 1:
        return x
    return replace(x, dims=(*x.dims[:at], (*x.dims[at], fresh("r", times)), *x.dims[at + 1 :]))


@lowers("repeat_interleave")
def repeat_interleave(x: Positional, repeats: Any, dim: int | None = None) -> Positional:
    """Every position several times in a row, which moves nothing."""
    if not isinstance(repeats, int):
        raise refuse("repeats that are a tensor (the shape depends on the data)", "one number")
    if dim is None:
        x, dim = flatten(x), 0
    return expand_dim(x, axis_of(dim, x.rank), repeats)


@lowers("repeat", "tile")
def repeat(x: Positional, *times: Any) -> Positional:
    """The whole several times over, which moves nothing."""
    counts = ints(times)
    dims = ((),) * (len(counts) - x.rank) + x.dims
    pairs = zip(dims, counts, strict=True)
    return replace(x, dims=tuple((fresh("r", n), *d) if n != 1 else d for d, n in pairs))
