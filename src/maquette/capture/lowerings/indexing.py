"""Lowerings of reads at computed coordinates: indexing, gathers, embeddings, updates of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from maquette.capture.align import apart, broadcast
from maquette.capture.expressions import op, renumber, substitute
from maquette.capture.lowerings.elementwise import where
from maquette.capture.lowerings.pieces import select, taken
from maquette.capture.lowerings.shapes import unsqueeze
from maquette.capture.lowerings.table import BOOL, axis_of, lifted, lowers, refuse
from maquette.capture.pointwise import converted, made, together
from maquette.capture.positional import Dim, Positional, fresh, length, place, tensor_of
from maquette.capture.positional import whole as single
from maquette.errors import Fault, InputError
from maquette.ir.patterns import Value
from maquette.ir.scalar import Arg, Index, Lit, Scalar

Key = Any


def items(key: Key) -> tuple[Any, ...]:
    """The parts of a subscript."""
    return key if isinstance(key, tuple) else (key,)


@lowers("getitem")
def getitem(x: Positional, key: Key) -> Positional:
    """Numbers, slices, None and ``...`` first; then tensors of positions, all at once."""
    parts = _spelled(x, items(key))
    at = 0
    found = x
    lookups: list[tuple[int, Positional]] = []
    for part in parts:
        if part is None:
            found = unsqueeze(found, at)
            at += 1
        elif isinstance(part, bool):
            raise refuse(f"indexing by {part}", "numbers, slices, None, ... and positions")
        elif isinstance(part, int):
            found = select(found, at, part)
        elif isinstance(part, slice):
            begin, stop, step = part.indices(found.shape[at])
            found = taken(found, at, begin, len(range(begin, stop, step)), step)
            at += 1
        elif isinstance(part, Positional):
            lookups.append((at, part))
            at += 1
        else:
            raise refuse(f"indexing by a {type(part).__name__}", "numbers, slices and tensors")
    return looked_up(found, lookups) if lookups else found


def _spelled(x: Positional, parts: Sequence[Any]) -> list[Any]:
    """A subscript with ``...`` as the slices it stands for."""
    for p in parts:
        if isinstance(p, Positional) and p.dtype.kind == "bool":
            what = "the shape of a selection by a mask depends on the data"
            raise refuse(what, hint="use where(mask, x, 0), which keeps the shape")
    used = sum(p is not None and p is not Ellipsis for p in parts)
    if used > x.rank:
        raise InputError(Fault("", f"{used} indices of a tensor of {x.rank} dimensions"))
    fill = [slice(None)] * (x.rank - used)
    for i, p in enumerate(parts):
        if p is Ellipsis:
            return [*parts[:i], *fill, *parts[i + 1 :]]
    return [*parts, *fill]


def looked_up(x: Positional, lookups: Sequence[tuple[int, Positional]]) -> Positional:
    """`x` read at positions given by tensors, which broadcast; their dimensions stand where the
    first one stands if they stand side by side, else in front."""
    places = [at for at, _ in lookups]
    index_dims, indices = broadcast([apart(p, x) for _, p in lookups])
    found = replace(x, dims=x.dims)
    for at in places:
        found = _one_axis(found, at)
    args, reads = _coordinates(found, places, indices)
    value = tensor_of(found, [a for at in places for a in found.dims[at]])
    rest = [d for i, d in enumerate(found.dims) if i not in places]
    together_ = places == list(range(places[0], places[0] + len(places)))
    front = places[0] if together_ else 0
    dims = (*rest[:front], *index_dims, *rest[front:])
    at_ = tuple((found.dims[at][0].name, i) for at, i in zip(places, reads, strict=True))
    return made(Arg(0, at_), (value, *args), dims, x.dtype)


def _one_axis(x: Positional, at: int) -> Positional:
    return single(x, at) if len(x.dims[at]) != 1 else x


def _coordinates(
    x: Positional, places: Sequence[int], indices: Sequence[Positional]
) -> tuple[list[Value], list[Scalar]]:
    """Operands and coordinates, negative positions counted from the end."""
    args: list[Value] = []
    coordinates: list[Scalar] = []
    for at, p in zip(places, indices, strict=True):
        if isinstance(p.source, Value):
            args.append(p.source)
            here: Scalar = Arg(len(args))
            n = Lit(x.shape[at])
            here = op("where", op("lt", here, Lit(0)), op("add", here, n), here)
        else:
            here = p.source
        coordinates.append(here)
    return args, coordinates


@lowers("index")
def index(x: Positional, parts: Sequence[Positional | None]) -> Positional:
    return getitem(x, tuple(slice(None) if p is None else p for p in parts))


@lowers("embedding")
def embedding(a: Positional, b: Positional, *_: Any, **__: Any) -> Positional:
    """Rows of a table at positions; either order of arguments."""
    ids, table = (a, b) if a.dtype.kind == "int" else (b, a)
    index_dims, (ids,) = broadcast([apart(ids, table)])
    table = _one_axis(table, 0)
    value = tensor_of(table, table.dims[0])
    name = table.dims[0][0].name
    dims = (*index_dims, *table.dims[1:])
    if isinstance(ids.source, Value):
        return made(Arg(0, ((name, Arg(1)),)), (value, ids.source), dims, table.dtype)
    return made(Arg(0, ((name, ids.source),)), (value,), dims, table.dtype)


@lowers("index_select")
def index_select(x: Positional, dim: int, index: Positional) -> Positional:
    return looked_up(x, [(axis_of(dim, x.rank), index)])


@lowers("gather")
def gather(x: Positional, dim: int, index: Positional, *, sparse_grad: bool = False) -> Positional:
    """Along `dim` at the positions of `index`, elsewhere where `index` stands."""
    at = axis_of(dim, x.rank)
    x = _one_axis(x, at)
    index = apart(index, x)
    if any(i > n for k, (i, n) in enumerate(zip(index.shape, x.shape, strict=True)) if k != at):
        what = f"positions of shape {index.shape} in a tensor of shape {x.shape}"
        raise InputError(Fault("", what, "no more than the tensor has in other dimensions"))
    for k in range(x.rank):
        if k != at and index.shape[k] < x.shape[k]:
            x = taken(x, k, 0, index.shape[k])
    column = x.dims[at]
    rest = replace(x, dims=tuple(d for k, d in enumerate(x.dims) if k != at))
    frame = replace(index, dims=tuple(d for k, d in enumerate(index.dims) if k != at))
    dims, (rest, frame) = broadcast([rest, frame])
    full = (*dims[:at], index.dims[at], *dims[at:])
    return _read_along(replace(rest, dims=(column, *rest.dims)), column, frame, full)


def picked(x: Positional, at: int, index: Positional) -> Positional:
    """``x`` with dimension `at` read at a position for every position of the others."""
    return replace_dim(gather(x, at, unsqueeze(index, at)), at)


def replace_dim(x: Positional, at: int) -> Positional:
    """`x` without a dimension of one."""
    return replace(x, dims=(*x.dims[:at], *x.dims[at + 1 :]))


def _read_along(x: Positional, column: Dim, index: Positional, dims: tuple[Dim, ...]) -> Positional:
    value = tensor_of(x, column)
    name = column[0].name
    if isinstance(index.source, Value):
        return made(Arg(0, ((name, Arg(1)),)), (value, index.source), dims, x.dtype)
    return made(Arg(0, ((name, index.source),)), (value,), dims, x.dtype)


@lowers("take_along_dim", "take_along_axis")
def take_along_dim(x: Positional, index: Positional, dim: int) -> Positional:
    return gather(x, dim, index)


def updated(x: Positional, key: Key, value: Any) -> Positional:
    """`x` after ``x[key] = value``, for numbers, slices and ``...``."""
    parts = items(key)
    if len(parts) == 1 and isinstance(parts[0], Positional) and parts[0].dtype.kind == "bool":
        if lifted(value).rank:
            raise refuse("assigning a tensor where a mask is true", "a number")
        return where(parts[0], converted(lifted(value), x.dtype), x)
    spelled = _spelled(x, [p for p in parts if p is not None])
    if any(isinstance(p, Positional) for p in spelled):
        raise refuse("assigning at positions that a tensor gives", "numbers and slices")
    tests: list[Scalar] = []
    places: list[Scalar] = []
    sizes: list[int] = []
    for dim, part in zip(x.dims, spelled, strict=True):
        n = length(dim)
        i = place(dim)
        if isinstance(part, int):
            tests.append(op("eq", i, Lit(part % n)))
            continue
        begin, stop, step = part.indices(n)
        count = len(range(begin, stop, step))
        if step < 1:
            raise refuse("assigning to a slice with a negative step", "a positive step")
        offset = op("sub", i, Lit(begin))
        sizes.append(count)
        places.append(offset if step == 1 else op("floordiv", offset, Lit(step)))
        if (begin, count, step) != (0, n, 1):
            tests += [op("ge", i, Lit(begin)), op("lt", i, Lit(begin + count * step))]
            tests += [op("eq", op("mod", offset, Lit(step)), Lit(0))] if step > 1 else []
    return _chosen(x, tests, places, sizes, converted(lifted(value), x.dtype))


def _chosen(
    x: Positional,
    tests: Sequence[Scalar],
    places: Sequence[Scalar],
    sizes: Sequence[int],
    new: Positional,
) -> Positional:
    """`new` read at `places` where all `tests` hold, else `x`."""
    new = apart(new, x)
    while new.rank > len(sizes) and length(new.dims[0]) == 1:
        new = replace(new, dims=new.dims[1:])
    offset = len(sizes) - new.rank
    if offset < 0 or any(n not in (1, m) for n, m in zip(new.shape, sizes[offset:], strict=True)):
        what = f"a value of shape {new.shape} is assigned to a slice of shape {tuple(sizes)}"
        raise InputError(Fault("", what))
    for k in range(new.rank):
        if length(new.dims[k]) > 1 and isinstance(new.source, Value):
            new = single(new, k)
    read, args = _placed(new, places[offset:])
    keep: Scalar = Lit(True)
    for test in tests:
        keep = op("and", keep, test)
    held = isinstance(x.source, Value)
    old: Scalar = Arg(0) if held else x.source  # type: ignore[assignment]
    operands = [x.source, *args] if held else list(args)
    read = renumber(read, {0: 1 if held else 0}) if args else read
    return made(op("where", keep, read, old), operands, x.dims, x.dtype)  # type: ignore[arg-type]


def _placed(new: Positional, places: Sequence[Scalar]) -> tuple[Scalar, tuple[Value, ...]]:
    """The body that reads `new` at a coordinate of each dimension, and what it reads."""
    positions = {d[0].name: p for d, p in zip(new.dims, places, strict=True) if length(d) > 1}
    if not isinstance(new.source, Value):
        return substitute(new.source, positions), ()
    at = [(a.name, positions.get(a.name, Lit(0))) for a in new.source.axes]
    return Arg(0, tuple(at)), (new.source,)


@lowers("slice_scatter")
def slice_scatter(
    x: Positional, src: Positional, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Positional:
    """`x` with a slice replaced."""
    at = axis_of(dim, x.rank)
    return updated(x, (*[slice(None)] * at, slice(start, end, step)), src)


@lowers("select_scatter")
def select_scatter(x: Positional, src: Positional, dim: int, index: int) -> Positional:
    """`x` with one position of a dimension replaced."""
    at = axis_of(dim, x.rank)
    return updated(x, (*[slice(None)] * at, index), src)


@lowers("one_hot")
def one_hot(x: Positional, num_classes: int = -1) -> Positional:
    """One where the class is the number, along a new last dimension."""
    if num_classes < 0:
        raise refuse("one_hot of as many classes as the data has", "num_classes")
    new = fresh("c", num_classes)
    dims = (*x.dims, (new,))
    hot = together(lambda v: op("eq", v, Index(new.name)), [x], dims, BOOL)
    return converted(hot, x.dtype)
