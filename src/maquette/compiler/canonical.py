"""Kernels under names of no meaning: two that differ in names alone become equal.

Layers repeat; what is equal is tiled, emitted and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from maquette.compiler.kernel import Kernel, Result, Stage, Tensor
from maquette.ir.scalar import Apply, Arg, Index, Scalar


def canonical(kernel: Kernel) -> Kernel:
    """`kernel` with axes ``a0…``, tensors and results ``v0…``, buffers ``b0…`` in order of use."""
    axes = {n: f"a{i}" for i, n in enumerate(kernel.extents)}
    results = [r.name for s in kernel.stages for r in s.results]
    names = {n: f"v{i}" for i, n in enumerate([*(t.name for t in kernel.inputs), *results])}
    buffers: dict[str, str] = {}
    own: dict[str, str] = {}  # axes that only tensors have
    for t in (*kernel.inputs, *kernel.outputs):
        buffers.setdefault(t.buffer, f"b{len(buffers)}")
        for a in t.axes:
            if a not in axes:
                own.setdefault(a, f"o{len(own)}")
    renamed = {**own, **axes}

    def tensor(t: Tensor) -> Tensor:
        held = tuple(renamed[a] for a in t.axes)
        return replace(t, name=names[t.name], axes=held, buffer=buffers[t.buffer])

    return Kernel(
        "kernel",
        {axes[n]: size for n, size in kernel.extents.items()},
        tuple(map(tensor, kernel.inputs)),
        tuple(map(tensor, kernel.outputs)),
        tuple(_stage(s, names, renamed) for s in kernel.stages),
    )


def _stage(stage: Stage, names: Mapping[str, str], axes: Mapping[str, str]) -> Stage:
    results = tuple(
        Result(names[r.name], tuple(axes[a] for a in r.axes), r.dtype) for r in stage.results
    )
    return replace(
        stage,
        results=results,
        over=tuple(axes[a] for a in stage.over),
        leaves=tuple(_body(x, axes) for x in stage.leaves),
        reads=tuple(names[n] for n in stage.reads),
    )


def _body(body: Scalar, axes: Mapping[str, str]) -> Scalar:
    match body:
        case Index(axis):
            return Index(axes[axis])
        case Arg(number, at) if at:
            return Arg(number, tuple((axes[n], _body(c, axes)) for n, c in at))
        case Apply(op, args):
            return Apply(op, tuple(_body(a, axes) for a in args))
    return body
