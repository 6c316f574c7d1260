"""Kernels under names of no meaning: two that differ in names alone become equal.

Layers repeat; what is equal is tiled, emitted, compiled and kept once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maquette.compiler.kernel import Kernel, Result, Stage, Tensor
from maquette.ir.scalar import Apply, Arg, Index, Scalar


@dataclass(frozen=True)
class Names:
    """All that a kernel calls by name, in order of use: what two kernels of one form differ in."""

    kernel: str
    axes: tuple[str, ...]  # of the extents, then those that only tensors have
    values: tuple[str, ...]  # tensors that are read, then results
    buffers: tuple[str, ...]


def names(kernel: Kernel) -> Names:
    """What a kernel calls its parts."""
    tensors = (*kernel.inputs, *kernel.outputs)
    results = (r.name for s in kernel.stages for r in s.results)
    return Names(
        kernel.name,
        tuple(dict.fromkeys((*kernel.extents, *(a for t in tensors for a in t.axes)))),
        tuple(dict.fromkeys((*(t.name for t in kernel.inputs), *results))),
        tuple(dict.fromkeys(t.buffer for t in tensors)),
    )


def canonical(kernel: Kernel) -> Kernel:
    """`kernel` with axes ``a0…`` (``o0…`` those of tensors alone), values ``v0…``, buffers ``b0…``.

    It is ``renamed(canonical(kernel), names(kernel))``.
    """
    own = names(kernel)
    shared = len(kernel.extents)
    axes = tuple(f"a{i}" if i < shared else f"o{i - shared}" for i in range(len(own.axes)))
    values = tuple(f"v{i}" for i in range(len(own.values)))
    buffers = tuple(f"b{i}" for i in range(len(own.buffers)))
    return _renamed(kernel, own, Names("kernel", axes, values, buffers))


def renamed(kernel: Kernel, called: Names) -> Kernel:
    """The kernel of the same form whose `names` are `called`."""
    return _renamed(kernel, names(kernel), called)


def _renamed(kernel: Kernel, before: Names, after: Names) -> Kernel:
    axes = dict(zip(before.axes, after.axes, strict=True))
    values = dict(zip(before.values, after.values, strict=True))
    buffers = dict(zip(before.buffers, after.buffers, strict=True))

    def tensor(t: Tensor) -> Tensor:
        held = tuple(axes[a] for a in t.axes)
        buffer = buffers[t.buffer]
        return Tensor(values[t.name], t.dtype, held, t.shape, t.strides, buffer, t.offset)

    return Kernel(
        after.kernel,
        {axes[n]: size for n, size in kernel.extents.items()},
        tuple(map(tensor, kernel.inputs)),
        tuple(map(tensor, kernel.outputs)),
        tuple(_stage(s, values, axes) for s in kernel.stages),
    )


def _stage(stage: Stage, names: Mapping[str, str], axes: Mapping[str, str]) -> Stage:
    results = tuple(
        Result(names[r.name], tuple(axes[a] for a in r.axes), r.dtype) for r in stage.results
    )
    over = tuple(axes[a] for a in stage.over)
    leaves = tuple(_body(x, axes) for x in stage.leaves)
    reads = tuple(names[n] for n in stage.reads)
    return Stage(stage.kind, results, over, stage.monoid, leaves, reads)


def _body(body: Scalar, axes: Mapping[str, str]) -> Scalar:
    match body:
        case Index(axis):
            return Index(axes[axis])
        case Arg(number, at) if at:
            return Arg(number, tuple((axes[n], _body(c, axes)) for n, c in at))
        case Apply(op, args):
            return Apply(op, tuple(_body(a, axes) for a in args))
    return body
