"""Loops that were split for one read and whose parts follow each other in every tensor: one again.

A projection that reads heads side by side needs no loop over heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from maquette.compiler.fuse.index import axes_of
from maquette.compiler.kernel import Kernel, Result, Stage, Tensor


def coalesced(kernel: Kernel, splits: Iterable[tuple[str, str, str]]) -> Kernel:
    """The kernel with every (name, outer, inner) that is one loop everywhere as one axis."""
    for name, outer, inner in reversed(list(splits)):
        if {outer, inner} <= kernel.extents.keys() and _one_loop(kernel, outer, inner):
            kernel = _joined(kernel, name, outer, inner)
    return kernel


def _one_loop(kernel: Kernel, outer: str, inner: str) -> bool:
    tensors = (*kernel.inputs, *kernel.outputs)
    return all(_follows(t, outer, inner, kernel.extents[inner]) for t in tensors) and all(
        _together(s, outer, inner) for s in kernel.stages
    )


def _follows(tensor: Tensor, outer: str, inner: str, extent: int) -> bool:
    strides = dict(zip(tensor.axes, tensor.strides, strict=True))
    if outer not in strides and inner not in strides:
        return True
    return outer in strides and strides[outer] == strides.get(inner, 0) * extent


def _together(stage: Stage, outer: str, inner: str) -> bool:
    for axes in (stage.over, *(r.axes for r in stage.results)):
        if (outer in axes) != (inner in axes):
            return False
    pair = [a for a in stage.over if a in (outer, inner)]
    adjacent = not pair or stage.over[stage.over.index(outer) :][:2] == (outer, inner)
    named = {a for leaf in stage.leaves for a in axes_of(leaf)}
    return adjacent and not named & {outer, inner} and not (pair and stage.kind == "scan")


def _joined(kernel: Kernel, name: str, outer: str, inner: str) -> Kernel:
    while name in kernel.extents and name not in (outer, inner):
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
        steps[outer] = steps[inner]
        sizes = dict(zip(held.axes, held.shape, strict=True)) | {outer: extent}
        kept = [a for a in held.axes if a != inner]
        shape, strides = tuple(sizes[a] for a in kept), tuple(steps[a] for a in kept)
        return replace(held, axes=axes(held.axes), shape=shape, strides=strides)

    def result(held: Result) -> Result:
        return replace(held, axes=axes(held.axes))

    stages = tuple(
        replace(s, results=tuple(map(result, s.results)), over=axes(s.over)) for s in kernel.stages
    )
    inputs, outputs = tuple(map(tensor, kernel.inputs)), tuple(map(tensor, kernel.outputs))
    return Kernel(kernel.name, extents, inputs, outputs, stages)
