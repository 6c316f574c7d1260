"""The meaning of kernels and flows, in NumPy: the path without a compiler, and the oracle.

Floats are computed in one format, 32 bits or 64, whatever the tensors store; integers in 64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.compiler.fuse.folding import Ranged, folded, scanned, summed
from maquette.compiler.kernel import Flow, Kernel, Stage, Tensor
from maquette.errors import Fault, InputError, nearest
from maquette.ir import evaluate
from maquette.ir.graph import Graph
from maquette.ir.scalar import Apply, Arg, Scalar
from maquette.ir.semantics import Array, Numbers, scalar


def evaluate_flow(
    flow: Flow, inputs: Mapping[str, Any], *, precise: bool = False
) -> dict[str, Array]:
    """Every output of a flow, its axes in the order of the output tensor.

    `inputs` are arrays by name, of the shape of the input tensor, however they lie in memory.

    Raises InputError for missing, unknown or misshapen inputs, all of them at once.
    """
    numbers = Numbers({}, np.float64 if precise else np.float32)
    _check(flow, inputs)
    buffers = {
        name: np.zeros(extent, numbers.format(dtype)) for name, (extent, dtype) in _sizes(flow)
    }
    for tensor in flow.inputs:
        _window(buffers, tensor)[...] = np.asarray(inputs[tensor.name])
    for kernel in flow.kernels:
        held = {t.name: _window(buffers, t) for t in kernel.inputs}
        if isinstance(kernel, Kernel):
            made = evaluate_kernel(kernel, held, precise=precise)
        else:
            assert isinstance(kernel.graph, Graph)
            made = evaluate(kernel.graph, held, precise=precise)
        for tensor in kernel.outputs:
            _window(buffers, tensor)[...] = made[tensor.name]
    return {t.name: np.array(_window(buffers, t)) for t in flow.outputs}


def evaluate_kernel(
    kernel: Kernel, tensors: Mapping[str, Array], *, precise: bool = False
) -> dict[str, Array]:
    """Every output of a kernel by name, from arrays of the shapes of its input tensors.

    >>> from maquette.compiler.fuse.parse import parse_kernel
    >>> k = parse_kernel('''
    ... kernel total
    ...   extent n=2, t=3
    ...   in x f32[n, t] strides 3, 1
    ...   out y f32[n] strides 1
    ...   f32 y[n] = add over t: %x * 2
    ... ''')
    >>> evaluate_kernel(k, {"x": np.ones((2, 3))})
    {'y': array([6., 6.], dtype=float32)}
    """
    numbers = Numbers({}, np.float64 if precise else np.float32)
    known = {
        t.name: Ranged(np.asarray(tensors[t.name]).astype(numbers.format(t.dtype)), t.axes)
        for t in kernel.inputs
    }
    with np.errstate(all="ignore"):
        for stage in kernel.stages:
            known.update(_Run(kernel, stage, known, numbers).results())
    return {t.name: known[t.name].over(t.axes, kernel.extents) for t in kernel.outputs}


@dataclass
class _Run:
    """One stage over arrays that have a place for every axis of its domain."""

    kernel: Kernel
    stage: Stage
    known: Mapping[str, Ranged]
    numbers: Numbers

    def __post_init__(self) -> None:
        held = (a for r in self.stage.results for a in r.axes)
        self.axes = tuple(dict.fromkeys([*held, *self.stage.over]))

    def results(self) -> dict[str, Ranged]:
        """Each component over its own axes."""
        stage, extents = self.stage, self.kernel.extents
        if stage.kind == "map":
            columns = [self.leaf(stage.leaves[0])]
        elif stage.kind == "scan":
            assert stage.monoid is not None
            leaves = [self.leaf(leaf) for leaf in stage.leaves]
            axis = self.axes.index(stage.over[0])
            columns = scanned(stage.monoid, leaves, axis, extents[stage.over[0]], self.numbers)
        else:
            columns = self._folded()
        found = {}
        for result, column in zip(stage.results, columns, strict=True):
            kept = [a for a in self.axes if a in result.axes]
            inner = tuple(0 for a in self.axes if a not in result.axes)
            place = tuple(slice(None) if a in result.axes else 0 for a in self.axes[: column.ndim])
            assert all(column.shape[i] == 1 for i, p in enumerate(place) if p == 0) or not inner
            array = column[place].astype(self.numbers.format(result.dtype))
            found[result.name] = Ranged(
                np.broadcast_to(array, [extents[a] for a in kept]), tuple(kept)
            )
        return found

    def _folded(self) -> list[Array]:
        stage = self.stage
        assert stage.monoid is not None
        over = tuple(self.axes.index(a) for a in stage.over)
        shape = tuple(self.kernel.extents[a] for a in self.axes)
        kinds = [self.numbers.format(r.dtype) for r in stage.results]
        if stage.monoid.name == "add" and len(stage.leaves) == 1:
            sides = [self.leaf(f) for f in _factors(stage.leaves[0])]
            if len(sides) > 1:
                return [summed(sides, over, shape)]
        leaves = [self.leaf(leaf).astype(k) for leaf, k in zip(stage.leaves, kinds, strict=True)]
        return folded(stage.monoid, leaves, over, shape, self.numbers)

    def leaf(self, body: Scalar) -> Array:
        """A body at every point, of length 1 along the axes on which it does not depend."""
        found = np.asarray(scalar(body, self.numbers, self._read, self._index))
        return found.reshape((1,) * (len(self.axes) - found.ndim) + found.shape)

    def _index(self, axis: str) -> Array:
        place = self.axes.index(axis)
        along = np.arange(self.kernel.extents[axis])
        return along.reshape([-1 if i == place else 1 for i in range(len(self.axes))])

    def _read(self, arg: Arg) -> Array:
        held = self.known[self.stage.reads[arg.number]]
        at = {n: self.leaf(c) for n, c in arg.at}
        for axis, extent in zip(held.axes, held.array.shape, strict=True):
            if axis not in at and extent != self.kernel.extents[axis]:
                at[axis] = self._index(axis)
        return held.at(at, self.axes)


def _factors(body: Scalar) -> list[Scalar]:
    match body:
        case Apply("mul", (left, right)):
            return [*_factors(left), *_factors(right)]
    return [body]


def _sizes(flow: Flow) -> list[tuple[str, tuple[int, Any]]]:
    """The elements and the format of every buffer."""
    found: dict[str, tuple[int, Any]] = {}
    used = [t for k in flow.kernels for t in (*k.inputs, *k.outputs)]
    for tensor in (*flow.inputs, *flow.outputs, *used):
        held = found.get(tensor.buffer, (0, tensor.dtype))
        found[tensor.buffer] = max(held[0], _end(tensor)), held[1]
    return list(found.items())


def _end(tensor: Tensor) -> int:
    if 0 in tensor.shape:
        return 0
    steps = zip(tensor.shape, tensor.strides, strict=True)
    return tensor.offset + 1 + sum(max(0, (n - 1) * s) for n, s in steps)


def _window(buffers: Mapping[str, Array], tensor: Tensor) -> Array:
    flat = buffers[tensor.buffer]
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, flat.dtype)
    steps = [s * flat.itemsize for s in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps)


def _check(flow: Flow, inputs: Mapping[str, Any]) -> None:
    faults: list[Fault] = []
    expected = {t.name: t for t in flow.inputs}
    for name in sorted(inputs.keys() - expected.keys()):
        hint = nearest(name, sorted(expected))
        faults.append(Fault(f"inputs: {name}", f"{flow.name} has no such input", hint=hint))
    for name, tensor in expected.items():
        where = f"inputs: {name}"
        if name not in inputs:
            faults.append(Fault(where, "missing", f"an array of shape {tensor.shape}"))
        elif np.shape(inputs[name]) != tensor.shape:
            what = f"has shape {np.shape(inputs[name])}"
            faults.append(Fault(where, what, f"{tensor.shape} for {', '.join(tensor.axes)}"))
    if faults:
        raise InputError(*faults)
