"""Lowerings of parts of tensors and of tensors made of parts: slices, joints, edges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from maquette.capture.align import apart, broadcast
from maquette.capture.expressions import indices, op, substitute
from maquette.capture.lowerings.shapes import ints, unsqueeze
from maquette.capture.lowerings.table import apply, axis_of, lowers, promoted, refuse
from maquette.capture.pointwise import converted, made, together
from maquette.capture.positional import (
    Dim,
    Positional,
    extent,
    fresh,
    hint_of,
    place,
    renamed,
    tensor_of,
)
from maquette.capture.positional import whole as single
from maquette.errors import Fault, InputError
from maquette.ir.axes import Axis
from maquette.ir.patterns import Map, Value, View, draft
from maquette.ir.scalar import Arg, Index, Lit, Scalar, reads
from maquette.ir.sizes import size


def taken(x: Positional, at: int, start: int, count: int, step: int = 1) -> Positional:
    """``count`` positions of a dimension, ``step`` apart."""
    if start == 0 and step == 1 and count == x.shape[at]:
        return x
    dim = x.dims[at]
    new = fresh(hint_of(dim[-1]) if dim else "n", count)
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
    cut = draft(
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
    joined = _read_through(x, positions, dims)
    if joined is not None:
        return joined
    held = x.source.shape
    read = Arg(0, tuple((n, i) for n, i in positions.items() if n in held))
    return made(read, (x.source,), dims, x.dtype)


def _read_through(
    x: Positional, positions: Mapping[str, Scalar], dims: tuple[Dim, ...]
) -> Positional | None:
    """A read of what only reads, at coordinates of other axes, as one read."""
    if not isinstance(x.source, Map) or not isinstance(x.source.body, Arg):
        return None
    held, axes = x.source.body.at, x.source.shape
    used = {n for _, i in held for n in indices(i)}
    if any(True for _, i in held for _ in reads(i)) or used & positions.keys():
        return None
    inner = x.source.args[0].shape
    more = tuple((n, i) for n, i in positions.items() if n in axes)
    if any(n not in inner for n, _ in more):
        return None
    return made(Arg(0, (*held, *more)), x.source.args, dims, x.dtype)


@lowers("narrow")
def narrow(x: Positional, dim: int, start: int, length: int) -> Positional:
    """A range of a dimension."""
    at = axis_of(dim, x.rank)
    return taken(x, at, start + x.shape[at] if start < 0 else start, length)


@lowers("slice")
def slice_(
    x: Positional, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Positional:
    """A range of a dimension, some steps apart."""
    at = axis_of(dim, x.rank)
    begin, stop, by = slice(start, end, step).indices(x.shape[at])
    return taken(x, at, begin, len(range(begin, stop, by)), by)


@lowers("select")
def select(x: Positional, dim: int, index: int) -> Positional:
    """One position of a dimension, which goes away."""
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
    """Dimensions read backwards."""
    for d in ints(dims):
        at = axis_of(d, x.rank)
        x = taken(x, at, x.shape[at] - 1, x.shape[at], -1)
    return x


@lowers("roll")
def roll(x: Positional, shifts: Any, dims: Any = None) -> Positional:
    """Dimensions read from elsewhere, around the end."""
    if dims is None:
        raise refuse("roll of a flattened tensor", "dims")
    for shift, d in zip(
        ints([shifts] if isinstance(shifts, int) else shifts),
        ints([dims] if isinstance(dims, int) else dims),
        strict=True,
    ):
        at = axis_of(d, x.rank)
        n = x.shape[at]
        new = fresh(hint_of(x.dims[at][-1]) if x.dims[at] else "n", n)
        here = op("mod", op("add", Index(new.name), Lit(-shift % n)), Lit(n))
        x = at_coordinates(x, at, here, (new,))
    return x


@lowers("split")
def split(x: Positional, size: Any, dim: int = 0) -> tuple[Positional, ...]:
    """Pieces of a size, or of given sizes."""
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
    """About equal pieces, as many as asked for or fewer."""
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
    if to.kind == "int" and len(parts) <= 4 and len({p.shape for p in parts}) == 1:
        # Pieces of packed bytes: chosen from by their number, so that they need not be stored.
        chosen = stack(parts, at)
        whole = (*chosen.dims[at], *chosen.dims[at + 1])
        return replace(chosen, dims=(*chosen.dims[:at], whole, *chosen.dims[at + 2 :]))
    parts = [apart(p, *parts[:i]) for i, p in enumerate(parts)]
    rests = [replace(p, dims=(*p.dims[:at], *p.dims[at + 1 :])) for p in parts]
    if len({r.shape for r in rests}) > 1:
        what = f"tensors of shapes {', '.join(str(p.shape) for p in parts)} end to end along {at}"
        raise InputError(Fault("", what, "equal sizes of the other dimensions"))
    dims, found = broadcast(rests)
    again = [
        replace(r, dims=(*r.dims[:at], p.dims[at], *r.dims[at:]))
        for r, p in zip(found, parts, strict=True)
    ]
    return _end_to_end(again, at, (*dims[:at], (), *dims[at:]), [a for d in dims for a in d])


def _end_to_end(
    parts: Sequence[Positional], at: int, dims: tuple[Dim, ...], others: Sequence[Axis]
) -> Positional:
    total = sum(p.shape[at] for p in parts)
    hint = next((hint_of(p.dims[at][-1]) for p in parts if p.dims[at]), "n")
    along = fresh(hint, total)
    values = []
    for p in parts:
        flat = single(p, at)
        value = renamed(
            tensor_of(flat, (*others, *flat.dims[at])), {flat.dims[at][0].name: along.name}
        )
        values.append(_over(value, others, along.name))
    axes = tuple(along if a.name == along.name else a for a in values[0].axes)
    found = draft(
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
    names = {a.name for a in others} | {along}
    extra = [a for a in value.axes if a.name not in names]
    missing = [a for a in others if a.name not in value.shape]
    if not extra and not missing:
        return value
    read = Arg(0, tuple((a.name, Lit(0)) for a in extra))
    axes = (*(a for a in value.axes if a.name in names), *missing)
    return draft(Map, axes=axes, dtype=value.dtype, args=(value,), body=read)


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
    new = fresh(hint_of(x.dims[at][-1]) if x.dims[at] else "n", n + before + after)
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
    """Where two dimensions agree, as a last dimension."""
    a, b = axis_of(dim1, x.rank), axis_of(dim2, x.rank)
    n = min(x.shape[a] + min(offset, 0), x.shape[b] - max(offset, 0))
    new = fresh("n", n)
    x = at_coordinates(x, a, op("add", Index(new.name), Lit(max(-offset, 0))), ())
    x = at_coordinates(x, b, op("add", Index(new.name), Lit(max(offset, 0))), (new,))
    rest = tuple(d for i, d in enumerate(x.dims) if i not in (a, b))
    return replace(x, dims=(*rest, (new,)))


@lowers("glu")
def glu(x: Positional, dim: int = -1) -> Positional:
    """One half times the sigmoid of the other."""
    a, b = chunk(x, 2, dim)
    return apply("mul", a, apply("sigmoid", b))
