"""Axes that follow each other in every tensor become one, and axes of one point go away.

Heads read side by side are one loop of a projection, batch and sequence are its rows.  An axis of
a body's own arithmetic stays, and so does the last pair of a kernel: lanes want their own loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from maquette.compiler.fuse.index import axes_of
from maquette.compiler.kernel import Kernel, Result, Stage, Tensor
from maquette.ir.scalar import Apply, Arg, Index, Lit, Scalar, reads


def coalesced(kernel: Kernel) -> Kernel:
    """The kernel with as few axes as its tensors allow."""
    kernel = _without_units(kernel)
    while (pair := next(_pairs(kernel), None)) is not None:
        kernel = _joined(kernel, *pair)
    return kernel


def _without_units(kernel: Kernel) -> Kernel:
    """Without the axes of one point; what folds along nothing else is its leaf."""
    gone = {a for a, n in kernel.extents.items() if n == 1}
    if not gone:
        return kernel
    kept = {a: n for a, n in kernel.extents.items() if a not in gone}
    placed: dict[str, set[str]] = {}  # axes of tensors that stay, for some read computes them
    for stage in kernel.stages:
        for arg in (arg for leaf in stage.leaves for arg in reads(leaf)):
            placed.setdefault(stage.reads[arg.number], set()).update(n for n, _ in arg.at)
    axes = {t.name: set(t.axes) for t in kernel.inputs}

    def tensor(held: Tensor) -> Tensor:
        stays = placed.get(held.name, set())
        places = [i for i, a in enumerate(held.axes) if a not in gone or a in stays]
        return replace(
            held,
            axes=tuple(held.axes[i] for i in places),
            shape=tuple(held.shape[i] for i in places),
            strides=tuple(held.strides[i] for i in places),
        )

    def leaf(body: Scalar, names: tuple[str, ...]) -> Scalar:
        match body:
            case Index(axis) if axis in gone:
                return Lit(0)
            case Arg(number, at):
                own = gone & placed.get(names[number], set()) & axes.get(names[number], set())
                rest = ((n, Lit(0)) for n in sorted(own - {n for n, _ in at}))
                return Arg(number, (*((n, leaf(c, names)) for n, c in at), *rest))
            case Apply(op, args):
                return Apply(op, tuple(leaf(x, names) for x in args))
        return body

    def stages(stage: Stage) -> Iterator[Stage]:
        over = tuple(a for a in stage.over if a not in gone)
        results = tuple(
            replace(r, axes=tuple(a for a in r.axes if a not in gone)) for r in stage.results
        )
        leaves = tuple(leaf(x, stage.reads) for x in stage.leaves)
        if over or stage.kind == "map":
            yield replace(stage, over=over, results=results, leaves=leaves)
            return
        for result, body in zip(results, leaves, strict=True):
            yield _mapping(result, body, stage.reads)

    found = tuple(made for stage in kernel.stages for made in stages(stage))
    inputs, outputs = tuple(map(tensor, kernel.inputs)), tuple(map(tensor, kernel.outputs))
    return Kernel(kernel.name, kept, inputs, outputs, found)


def _mapping(result: Result, body: Scalar, names: tuple[str, ...]) -> Stage:
    """A map of one result; it reads what its body names, in order."""
    used = list(dict.fromkeys(arg.number for arg in reads(body)))

    def numbered(body: Scalar) -> Scalar:
        match body:
            case Arg(number, at):
                return Arg(used.index(number), tuple((n, numbered(c)) for n, c in at))
            case Apply(op, args):
                return Apply(op, tuple(map(numbered, args)))
        return body

    named = tuple(names[i] for i in used)
    return Stage("map", (result,), (), None, (numbered(body),), named)


def _pairs(kernel: Kernel) -> Iterator[tuple[str, str]]:
    """Pairs of axes, the outer one first, that are one loop everywhere."""
    named = {a for s in kernel.stages for leaf in s.leaves for a in axes_of(leaf)}
    free = [a for a in kernel.extents if a not in named]
    rank = max((len({*r.axes, *s.over}) for s in kernel.stages for r in s.results), default=0)
    for outer in free:
        for inner in free:
            if inner == outer or not all(_alike(s, outer, inner) for s in kernel.stages):
                continue
            combined = any(outer in s.over for s in kernel.stages)
            if (rank > 2 or combined) and _follow(kernel, outer, inner):
                yield outer, inner


def _follow(kernel: Kernel, outer: str, inner: str) -> bool:
    """Whether one step of the outer axis is all of the inner one, in every tensor."""
    extent = kernel.extents[inner]
    for tensor in (*kernel.inputs, *kernel.outputs):
        strides = dict(zip(tensor.axes, tensor.strides, strict=True))
        if outer not in strides and inner not in strides:
            continue
        if outer not in strides or inner not in strides:
            return False
        if strides[outer] != strides[inner] * extent:
            return False
    return True


def _alike(stage: Stage, outer: str, inner: str) -> bool:
    """Whether a stage treats two axes as it could treat one."""
    if any((outer in r.axes) != (inner in r.axes) for r in stage.results):
        return False
    if outer not in stage.over and inner not in stage.over:
        return True
    if stage.kind == "scan" or outer not in stage.over:
        return False
    place = stage.over.index(outer)
    return stage.over[place : place + 2] == (outer, inner)


def _joined(kernel: Kernel, outer: str, inner: str) -> Kernel:
    name = f"{outer}{inner}"
    while name in kernel.extents:
        name += "_"
    extent = kernel.extents[outer] * kernel.extents[inner]
    extents = {
        (name if a == outer else a): (extent if a == outer else n)
        for a, n in kernel.extents.items()
        if a != inner
    }

    def axes(held: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name if a == outer else a for a in held if a != inner)

    def tensor(held: Tensor) -> Tensor:
        if outer not in held.axes:
            return held
        steps = dict(zip(held.axes, held.strides, strict=True))
        sizes = dict(zip(held.axes, held.shape, strict=True)) | {outer: extent}
        steps[outer] = steps[inner]
        kept = [a for a in held.axes if a != inner]
        shape, strides = tuple(sizes[a] for a in kept), tuple(steps[a] for a in kept)
        return replace(held, axes=axes(held.axes), shape=shape, strides=strides)

    return _mapped(kernel, extents, axes, tensor)


def _mapped(
    kernel: Kernel,
    extents: dict[str, int],
    axes: Callable[[tuple[str, ...]], tuple[str, ...]],
    tensor: Callable[[Tensor], Tensor],
) -> Kernel:
    stages = tuple(
        replace(
            s,
            results=tuple(replace(r, axes=axes(r.axes)) for r in s.results),
            over=axes(s.over),
        )
        for s in kernel.stages
    )
    inputs, outputs = tuple(map(tensor, kernel.inputs)), tuple(map(tensor, kernel.outputs))
    return Kernel(kernel.name, extents, inputs, outputs, stages)
