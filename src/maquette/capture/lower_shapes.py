"""Lowerings of what only says where things stand: most of them make no node at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from maquette.capture.align import broadcast
from maquette.capture.expressions import op
from maquette.capture.positional import (
    Dim,
    Positional,
    converted,
    extent,
    fresh,
    length,
    made,
    place,
    renamed,
    rewritten,
    tensor_of,
    together,
)
from maquette.capture.positional import whole as single
from maquette.capture.table import axis_of, lowers, promoted, refuse
from maquette.errors import Fault, InputError
from maquette.ir.axes import Axis
from maquette.ir.patterns import Value, View, make
from maquette.ir.scalar import Arg, Index, Lit, Scalar
from maquette.ir.sizes import size


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
                part = fresh(_guess(position, len(wanted), ax) if splits else _hint(ax), need)
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
    return _hint(ax)


def _hint(ax: Axis) -> str:
    return ax.name.partition("'")[0]


def _through_one(x: Positional, wanted: tuple[int, ...]) -> Positional:
    """Everything as one axis, then split again."""
    axes = tuple(a for dim in x.dims for a in dim)
    flat = single(replace(x, dims=(axes,)), 0)
    return reshape(flat, wanted)


@lowers("flatten")
def flatten(x: Positional, start_dim: int = 0, end_dim: int = -1) -> Positional:
    if not x.rank:
        return replace(x, dims=((),))
    a, b = axis_of(start_dim, x.rank), axis_of(end_dim, x.rank)
    joined = tuple(ax for dim in x.dims[a : b + 1] for ax in dim)
    return replace(x, dims=(*x.dims[:a], joined, *x.dims[b + 1 :]))


@lowers("unflatten")
def unflatten(x: Positional, dim: int, sizes: Sequence[int]) -> Positional:
    at = axis_of(dim, x.rank)
    known = prod(n for n in sizes if n != -1)
    sizes = [x.shape[at] // known if n == -1 else n for n in sizes]
    return reshape(x, (*x.shape[:at], *sizes, *x.shape[at + 1 :]))


@lowers("transpose", "swapaxes", "swapdims")
def transpose(x: Positional, a: int, b: int) -> Positional:
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
    sources = [axis_of(d, x.rank) for d in ints([source] if isinstance(source, int) else source)]
    places = ints([destination] if isinstance(destination, int) else destination)
    order: list[int | None] = [None] * x.rank
    for s, d in zip(sources, places, strict=True):
        order[axis_of(d, x.rank)] = s
    rest = iter(d for d in range(x.rank) if d not in sources)
    return replace(x, dims=tuple(x.dims[next(rest) if o is None else o] for o in order))


@lowers("unsqueeze", "expand_dims")
def unsqueeze(x: Positional, dim: int) -> Positional:
    at = axis_of(dim, x.rank + 1)
    return replace(x, dims=(*x.dims[:at], (), *x.dims[at:]))


@lowers("squeeze")
def squeeze(x: Positional, dim: Any = None) -> Positional:
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
    if not isinstance(repeats, int):
        raise refuse("repeats that are a tensor (the shape depends on the data)", "one number")
    if dim is None:
        x, dim = flatten(x), 0
    return expand_dim(x, axis_of(dim, x.rank), repeats)


@lowers("repeat", "tile")
def repeat(x: Positional, *times: Any) -> Positional:
    counts = ints(times)
    dims = ((),) * (len(counts) - x.rank) + x.dims
    pairs = zip(dims, counts, strict=True)
    return replace(x, dims=tuple((fresh("r", n), *d) if n != 1 else d for d, n in pairs))


def taken(x: Positional, at: int, start: int, count: int, step: int = 1) -> Positional:
    """``count`` positions of a dimension, ``step`` apart."""
    if start == 0 and step == 1 and count == x.shape[at]:
        return x
    dim = x.dims[at]
    new = fresh(_hint(dim[-1]) if dim else "n", count)
    here = op("add", op("mul", Index(new.name), Lit(step)), Lit(start))
    names = {a.name for a in dim}
    dims = (*x.dims[:at], (new,), *x.dims[at + 1 :])
    if not isinstance(x.source, Value) or not names & x.source.shape.keys():
        return at_coordinates(x, at, here, (new,))
    if step == 1 and len(dim) == 1:
        value = _slice(x.source, dim[0].name, start, new)
        return Positional(dims, value, x.dtype)
    return at_coordinates(x, at, here, (new,))


def _slice(value: Value, name: str, start: int, new: Axis) -> Value:
    axes = tuple(Axis(name, new.size) if a.name == name else a for a in value.axes)
    cut = make(
        View,
        axes=axes,
        dtype=value.dtype,
        kind="slice",
        args=(value,),
        names=(name,),
        start=size(start),
    )
    return renamed(cut, {name: new.name})


def at_coordinates(x: Positional, at: int, where: Scalar, dim: Dim) -> Positional:
    """Dimension `at` read at a coordinate, which stands along `dim`; zero outside."""
    from maquette.capture.expressions import substitute

    old = x.dims[at]
    dims = (*x.dims[:at], dim, *x.dims[at + 1 :])
    positions: dict[str, Scalar] = {}
    rest = where
    for i, a in enumerate(reversed(old)):
        last = i == len(old) - 1
        positions[a.name] = rest if last else op("mod", rest, Lit(extent(a)))
        rest = rest if last else op("floordiv", rest, Lit(extent(a)))
    if not isinstance(x.source, Value):
        body = substitute(x.source, positions)
        return made(body, (), dims, x.dtype)
    held = x.source.shape
    read = Arg(0, tuple((n, i) for n, i in positions.items() if n in held))
    return made(read, (x.source,), dims, x.dtype)


@lowers("narrow")
def narrow(x: Positional, dim: int, start: int, length: int) -> Positional:
    at = axis_of(dim, x.rank)
    return taken(x, at, start + x.shape[at] if start < 0 else start, length)


@lowers("slice")
def slice_(
    x: Positional, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Positional:
    at = axis_of(dim, x.rank)
    begin, stop, by = slice(start, end, step).indices(x.shape[at])
    return taken(x, at, begin, len(range(begin, stop, by)), by)


@lowers("select")
def select(x: Positional, dim: int, index: int) -> Positional:
    at = axis_of(dim, x.rank)
    n = x.shape[at]
    if not -n <= index < n:
        raise InputError(Fault("", f"index {index} of dimension {at}, which has {n}", "one inside"))
    found = x
    if x.dims[at]:
        found = at_coordinates(x, at, Lit(index % n), ())
    return replace(found, dims=(*found.dims[:at], *found.dims[at + 1 :]))


@lowers("flip", "fliplr_dims")
def flip(x: Positional, *dims: Any) -> Positional:
    for d in ints(dims):
        at = axis_of(d, x.rank)
        x = taken(x, at, x.shape[at] - 1, x.shape[at], -1)
    return x


@lowers("roll")
def roll(x: Positional, shifts: Any, dims: Any = None) -> Positional:
    if dims is None:
        raise refuse("roll of a flattened tensor", "dims")
    for shift, d in zip(
        ints([shifts] if isinstance(shifts, int) else shifts),
        ints([dims] if isinstance(dims, int) else dims),
        strict=True,
    ):
        at = axis_of(d, x.rank)
        n = x.shape[at]
        new = fresh(_hint(x.dims[at][-1]) if x.dims[at] else "n", n)
        here = op("mod", op("add", Index(new.name), Lit(-shift % n)), Lit(n))
        x = at_coordinates(x, at, here, (new,))
    return x


@lowers("split")
def split(x: Positional, size: Any, dim: int = 0) -> tuple[Positional, ...]:
    at = axis_of(dim, x.rank)
    n = x.shape[at]
    if isinstance(size, int):
        size = [min(size, n - i) for i in range(0, n, size)] or [0]
    starts = [sum(size[:i]) for i in range(len(size))]
    return tuple(taken(x, at, s, c) for s, c in zip(starts, size, strict=True))


@lowers("split_with_sizes")
def split_with_sizes(x: Positional, sizes: Sequence[int], dim: int = 0) -> tuple[Positional, ...]:
    return split(x, list(sizes), dim)


@lowers("chunk")
def chunk(x: Positional, chunks: int, dim: int = 0) -> tuple[Positional, ...]:
    n = x.shape[axis_of(dim, x.rank)]
    return split(x, max(-(-n // chunks), 1), dim)


@lowers("unbind")
def unbind(x: Positional, dim: int = 0) -> tuple[Positional, ...]:
    return tuple(select(x, dim, i) for i in range(x.shape[axis_of(dim, x.rank)]))


@lowers("cat", "concat", "concatenate")
def cat(tensors: Sequence[Positional], dim: int = 0) -> Positional:
    """Tensors end to end, as one view."""
    parts = [p for p in tensors if p.shape != (0,)]
    to = promoted(parts)
    parts = [converted(p, to) for p in parts]
    if len(parts) == 1:
        return parts[0]
    at = axis_of(dim, parts[0].rank)
    rests = [replace(p, dims=(*p.dims[:at], *p.dims[at + 1 :])) for p in parts]
    if len({r.shape for r in rests}) > 1:
        what = f"tensors of shapes {', '.join(str(p.shape) for p in parts)} end to end along {at}"
        raise InputError(Fault("", what, "equal sizes of the other dimensions"))
    dims, found = broadcast(rests)
    others = [a for d in dims for a in d]
    return _end_to_end(
        [replace(r, dims=(*r.dims[:at], p.dims[at], *r.dims[at:])) for r, p in zip(found, parts, strict=True)],
        at, (*dims[:at], (), *dims[at:]), others,
    )  # fmt: skip


def _end_to_end(
    parts: Sequence[Positional], at: int, dims: tuple[Dim, ...], others: Sequence[Axis]
) -> Positional:
    total = sum(p.shape[at] for p in parts)
    hint = next((_hint(p.dims[at][-1]) for p in parts if p.dims[at]), "n")
    along = fresh(hint, total)
    values = []
    for p in parts:
        flat = single(p, at)
        value = renamed(
            tensor_of(flat, (*others, *flat.dims[at])), {flat.dims[at][0].name: along.name}
        )
        values.append(_over(value, others, along.name))
    axes = tuple(along if a.name == along.name else a for a in values[0].axes)
    found = make(
        View,
        axes=axes,
        dtype=parts[0].dtype,
        kind="concat",
        args=tuple(values),
        names=(along.name,),
        start=None,
    )
    return Positional((*dims[:at], (along,), *dims[at + 1 :]), found, parts[0].dtype)


def _over(value: Value, others: Sequence[Axis], along: str) -> Value:
    """`value` over `others` and `along` and no other axes (those of one position go)."""
    from maquette.ir.patterns import Map

    names = {a.name for a in others} | {along}
    extra = [a for a in value.axes if a.name not in names]
    missing = [a for a in others if a.name not in value.shape]
    if not extra and not missing:
        return value
    read = Arg(0, tuple((a.name, Lit(0)) for a in extra))
    axes = (*(a for a in value.axes if a.name in names), *missing)
    return make(Map, axes=axes, dtype=value.dtype, args=(value,), body=read)


@lowers("stack")
def stack(tensors: Sequence[Positional], dim: int = 0) -> Positional:
    """Few tensors are chosen from by their number, many are laid end to end."""
    at = axis_of(dim, tensors[0].rank + 1)
    if len(tensors) > 4:
        return cat([unsqueeze(p, at) for p in tensors], at)
    to = promoted(tensors)
    new = fresh("n", len(tensors))
    dims, parts = broadcast([converted(p, to) for p in tensors])

    def choose(*xs: Scalar) -> Scalar:
        body = xs[-1]
        for i in reversed(range(len(xs) - 1)):
            body = op("where", op("eq", Index(new.name), Lit(i)), xs[i], body)
        return body

    return together(choose, parts, (*dims[:at], (new,), *dims[at:]), to)


@lowers("pad", "constant_pad_nd")
def pad(
    x: Positional, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Positional:
    """Reads outside are zero; any other number is chosen where a read would be outside."""
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise refuse(f"padding by {mode!r}", "constant, reflect, replicate or circular")
    for i in range(len(pad) // 2):
        before, after = int(pad[2 * i]), int(pad[2 * i + 1])
        if before or after:
            x = _padded(x, x.rank - 1 - i, before, after, mode, value or 0)
    return x


def _padded(x: Positional, at: int, before: int, after: int, mode: str, value: float) -> Positional:
    n = x.shape[at]
    new = fresh(_hint(x.dims[at][-1]) if x.dims[at] else "n", n + before + after)
    i = op("sub", Index(new.name), Lit(before))
    if mode == "replicate":
        return at_coordinates(x, at, op("max", op("min", i, Lit(n - 1)), Lit(0)), (new,))
    if mode == "circular":
        return at_coordinates(x, at, op("mod", i, Lit(n)), (new,))
    if mode == "reflect":
        i = op("abs", i)
        turned = op("sub", Lit(n - 1), op("abs", op("sub", Lit(n - 1), i)))
        return at_coordinates(x, at, turned, (new,))
    inside = op("and", op("ge", i, Lit(0)), op("lt", i, Lit(n)))
    solid = (
        x
        if isinstance(x.source, Value)
        and x.dims[at]
        and all(a.name in x.source.shape for a in x.dims[at])
        else None
    )
    if solid is None:
        x = single(x, at)
    found = at_coordinates(x, at, i, (new,))
    if not value:
        return found
    kind: Callable[[Any], Any] = float if x.dtype.kind == "float" else int
    return together(
        lambda v: op("where", inside, v, Lit(kind(value))), [found], found.dims, x.dtype
    )


@lowers("tril")
def tril(x: Positional, diagonal: int = 0) -> Positional:
    return _triangle(x, diagonal, "le")


@lowers("triu")
def triu(x: Positional, diagonal: int = 0) -> Positional:
    return _triangle(x, diagonal, "ge")


def _triangle(x: Positional, diagonal: int, test: str) -> Positional:
    """Zero where the column is on the other side of the diagonal."""
    row, column = place(x.dims[-2]), place(x.dims[-1])
    if (diagonal, test) in ((-1, "le"), (1, "ge")):
        kept = op("lt" if test == "le" else "gt", column, row)
    else:
        kept = op(test, column, op("add", row, Lit(diagonal)))
    zero: Any = {"float": 0.0, "int": 0, "bool": False}[x.dtype.kind]
    if x.dtype.kind == "bool":
        return together(lambda v: op("and", kept, v), [x], x.dims, x.dtype)
    return together(lambda v: op("where", kept, v, Lit(zero)), [x], x.dims, x.dtype)


@lowers("diagonal")
def diagonal(x: Positional, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Positional:
    a, b = axis_of(dim1, x.rank), axis_of(dim2, x.rank)
    n = min(x.shape[a] + min(offset, 0), x.shape[b] - max(offset, 0))
    new = fresh("n", n)
    x = at_coordinates(x, a, op("add", Index(new.name), Lit(max(-offset, 0))), ())
    x = at_coordinates(x, b, op("add", Index(new.name), Lit(max(offset, 0))), (new,))
    rest = tuple(d for i, d in enumerate(x.dims) if i not in (a, b))
    return replace(x, dims=(*rest, (new,)))
