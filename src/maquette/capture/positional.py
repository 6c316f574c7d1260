"""Tensors whose dimensions are positions, over values whose axes are names.

A dimension is a row-major product of axes; a dimension of one is the empty product.  So a reshape
that splits or joins dimensions, a transposition, a broadcast and a repeat of heads move nothing
and make no node: they only change which axes stand where.  A dimension may name axes that the
value lacks: the value is the same all along them.  A value may have axes of size one that no
dimension names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from math import prod
from typing import TypeAlias

from maquette.capture.expressions import indices, op, substitute
from maquette.ir.axes import Axis
from maquette.ir.dtypes import DType, dtype
from maquette.ir.patterns import Map, Value, View, draft
from maquette.ir.scalar import Arg, Index, Lit, Scalar
from maquette.ir.sizes import size

Dim: TypeAlias = tuple[Axis, ...]
Dims: TypeAlias = tuple[Dim, ...]

_numbers = count()
_size = lru_cache(maxsize=4096)(size)


@dataclass(frozen=True, eq=False)
class Positional:
    """A tensor as frameworks see it: `source` read along `dims`.

    `source` is a value, or an expression of coordinates where no tensor is needed.
    """

    dims: Dims
    source: Value | Scalar
    dtype: DType

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(length, self.dims))

    @property
    def rank(self) -> int:
        return len(self.dims)


def fresh(hint: str, extent: int) -> Axis:
    """An axis of its own; `hint` is what it would like to be called in the end."""
    return Axis(f"{hint}'{next(_numbers)}", _size(extent))


def hint_of(ax: Axis) -> str:
    """What an axis would like to be called."""
    return ax.name.partition("'")[0]


def extent(ax: Axis) -> int:
    """The size of an axis, a number."""
    terms = ax.size.terms
    return int(terms[0][1]) if terms else 0


def length(dim: Dim) -> int:
    """How many positions a dimension has."""
    return prod(map(extent, dim))


def number(value: float | int | bool) -> Positional:
    """A constant."""
    name = "bool" if isinstance(value, bool) else "i64" if isinstance(value, int) else "f32"
    return Positional((), Lit(value), dtype(name))


def named(p: Positional) -> list[Axis]:
    """Every axis that a dimension names, in order."""
    return [a for dim in p.dims for a in dim]


def tensor_of(p: Positional, must: Iterable[Axis] = ()) -> Value:
    """The value behind `p`; it has at least the axes `must`."""
    wanted = {a.name for a in must}
    if isinstance(p.source, Value):
        held = p.source.shape
        missing = [a for a in named(p) if a.name in wanted and a.name not in held]
        if not missing:
            return p.source
        order = [a for a in named(p) if a.name in held or a in missing]
        hidden = [a for a in p.source.axes if a not in order]
        body: Scalar = Arg(0)
        return draft(Map, axes=(*hidden, *order), dtype=p.dtype, args=(p.source,), body=body)
    used = wanted.union(indices(p.source))
    axes = tuple(a for a in named(p) if a.name in used)
    return draft(Map, axes=axes, dtype=p.dtype, args=(), body=p.source)


def solid(p: Positional) -> Positional:
    """`p` with a value that has every axis its dimensions name."""
    return replace(p, source=tensor_of(p, named(p)))


def rewritten(p: Positional, into: Mapping[str, Dim]) -> Positional:
    """`p` with axes renamed, or split where one becomes several."""
    names = {a.name for a in named(p)}
    into = {n: d for n, d in into.items() if n in names and not (len(d) == 1 and d[0].name == n)}
    if not into:
        return p
    dims = tuple(tuple(b for a in dim for b in into.get(a.name, (a,))) for dim in p.dims)
    source = p.source
    if not isinstance(source, Value):
        return replace(
            p, dims=dims, source=substitute(source, {n: place(d) for n, d in into.items()})
        )
    pairs = {n: d[0].name for n, d in into.items() if len(d) == 1 and n in source.shape}
    for name, parts in into.items():
        if len(parts) != 1 and name in source.shape:
            # A part may be called what another axis is called until all are renamed at once.
            free = tuple(fresh(hint_of(a), extent(a)) if a.name in source.shape else a
                         for a in parts)  # fmt: skip
            pairs |= {a.name: b.name for a, b in zip(free, parts, strict=True) if a != b}
            source = _split(source, name, free)
    if pairs:
        source = renamed(source, pairs)
    return replace(p, dims=dims, source=source)


def place(dim: Dim) -> Scalar:
    """The coordinate along a dimension, made of those along its axes."""
    found: Scalar | None = None
    for ax in dim:
        here: Scalar = Index(ax.name)
        found = here if found is None else op("add", op("mul", found, Lit(extent(ax))), here)
    return Lit(0) if found is None else found


def renamed(value: Value, names: Mapping[str, str]) -> Value:
    """`value` under other axis names, all at once."""
    axes = tuple(Axis(names.get(a.name, a.name), a.size) for a in value.axes)
    pairs = tuple(f"{old}:{new}" for old, new in names.items())
    return draft(
        View, axes=axes, dtype=value.dtype, kind="rename", args=(value,), names=pairs, start=None
    )


def _split(value: Value, name: str, parts: Dim) -> Value:
    axes = tuple(b for a in value.axes for b in (parts if a.name == name else (a,)))
    names = (name, *(a.name for a in parts))
    return draft(
        View, axes=axes, dtype=value.dtype, kind="split", args=(value,), names=names, start=None
    )


def whole(p: Positional, at: int) -> Positional:
    """`p` with dimension `at` as one axis, which its value has."""
    dim = p.dims[at]
    value = tensor_of(p, dim)
    if len(dim) == 1:
        return replace(p, source=value)
    if not dim:
        ax = fresh("u", 1)
        value = draft(Map, axes=(*value.axes, ax), dtype=value.dtype, args=(value,), body=Arg(0))
    else:
        largest = max(dim, key=extent)
        ax = fresh(hint_of(largest), length(dim))
        axes = tuple(ax if a == dim[0] else a for a in value.axes if a == dim[0] or a not in dim)
        names = (*(a.name for a in dim), ax.name)
        value = draft(
            View, axes=axes, dtype=value.dtype, kind="merge", args=(value,), names=names, start=None
        )
    return replace(p, dims=(*p.dims[:at], (ax,), *p.dims[at + 1 :]), source=value)
