"""Maps: what happens at every position of tensors whose dimensions are aligned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from maquette.capture.align import broadcast
from maquette.capture.expressions import cast, cheap, indices, renumber
from maquette.capture.positional import Dims, Positional
from maquette.ir.axes import Axis
from maquette.ir.dtypes import DType
from maquette.ir.patterns import Map, Value, draft
from maquette.ir.scalar import Apply, Arg, Scalar, reads


def pointwise(build: Callable[..., Scalar], *ps: Positional, to: DType) -> Positional:
    """A scalar operation at every position, dimensions aligned from the last as frameworks do."""
    dims, ps = broadcast(ps)
    return together(build, ps, dims, to)


def together(
    build: Callable[..., Scalar], ps: Sequence[Positional], dims: Dims, to: DType
) -> Positional:
    """A scalar operation on tensors whose dimensions name the same axes already."""
    args: list[Value] = []
    scalars: list[Scalar] = []
    for p in ps:
        if isinstance(p.source, Value):
            if p.source not in args:
                args.append(p.source)
            scalars.append(Arg(args.index(p.source)))
        else:
            scalars.append(p.source)
    body = build(*scalars)
    return made(body, args, dims, to)


def made(body: Scalar, args: Sequence[Value], dims: Dims, to: DType) -> Positional:
    """A body over `args` as a tensor: no node where it is an operand or a cheap expression."""
    used = sorted({r.number for r in reads(body)})
    if not used and cheap(body):
        return Positional(dims, body, to)
    if isinstance(body, Arg) and not body.at and args[body.number].dtype == to:
        return Positional(dims, args[body.number], to)
    if len(used) < len(args):
        body = renumber(body, {n: i for i, n in enumerate(used)})
        args = [args[n] for n in used]
    taken = set(indices(body))
    hidden: dict[str, Axis] = {}
    for read in reads(body):
        placed = {n for n, _ in read.at}
        for a in args[read.number].axes:
            if a.name not in placed:
                taken.add(a.name)
                hidden[a.name] = a
    order = [a for dim in dims for a in dim if a.name in taken]
    shown = {a.name for a in order}
    axes = (*(a for n, a in hidden.items() if n not in shown), *order)
    return Positional(dims, draft(Map, axes=axes, dtype=to, args=tuple(args), body=body), to)


def converted(p: Positional, to: DType) -> Positional:
    """The same numbers in another format."""
    if p.dtype == to:
        return p
    if p.dtype.kind == to.kind and not isinstance(p.source, Value):
        return replace(p, dtype=to)

    def body(x: Scalar) -> Scalar:
        if to.kind == "bool" or p.dtype.kind == "bool" or not isinstance(x, Arg):
            return cast(x, to.kind, p.dtype.kind)
        return Apply(f"to_{to.name}", (x,))

    return together(body, [p], p.dims, to)
