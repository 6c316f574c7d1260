"""Values that travel with tile tokens: a simulation is a test of the mapping.

A token holds what its stage made for one tile, the rest of each tensor being nowhere: a stage that
reads what has not reached it computes nothing that is a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import gcd
from typing import Any

import numpy as np

from maquette.compiler.fuse import evaluate_kernel
from maquette.compiler.kernel import Kernel, Tensor
from maquette.compiler.kernel import Stage as Pattern
from maquette.ir.scalar import Apply, Arg, Index, Lit, Scalar
from maquette.ir.semantics import Numbers, scalar
from maquette.machines.types import Machine
from maquette.space.mapping.network import Simulated, network, simulate_section
from maquette.space.mapping.part import Part, tile
from maquette.space.mapping.recounted import recounted
from maquette.space.mapping.routing import Routing, found_counts
from maquette.space.mapping.types import Mapped, Section, Stage

Array = Any  # of NumPy
Token = dict[str, Array]  # flat buffers by name, NaN where nothing was written


def simulate_values(
    part: Part, found: Mapped, machine: Machine, inputs: Mapping[str, Array]
) -> tuple[dict[str, Array], tuple[Simulated, ...]]:
    """Every output of a part under its name, computed tile by tile by its sections in time.

    Where data decide how many points an axis has, time is of as many as there were.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> from maquette.space.mapping import mapped, part
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> chip, whole = machine("plasticine"), part(Graph("g", {"y": y.value}), {"n": 8})
    >>> arrays = {"x": np.ones((8, 64)), "w": np.ones((64, 32))}
    >>> outputs, runs = simulate_values(whole, mapped(whole, chip), chip, arrays)
    >>> float(outputs["y"].min()), float(outputs["y"].max())
    (64.0, 64.0)
    """
    assert machine.fabric is not None
    memory = _memory(part, inputs)
    runs = []
    counts: dict[str, int] = {}
    for section in found.sections:
        before = dict(counts)
        functions = _functions(part, section, machine, memory, counts)
        run = simulate_section(section, machine, functions)
        if counts:  # the values are known, and with them how many there are of what takes time
            actual = recounted(section, part, counts, machine.fabric)
            functions = _functions(part, section, machine, memory, before)
            run = replace(simulate_section(actual, machine, functions), section=section)
        runs.append(run)
        for name, tokens in run.result.outputs.items():
            if name.endswith(".store"):
                buffer = name.removesuffix(".store").partition(">")[2]
                for token in tokens:
                    _merge(memory, {buffer: token[buffer]})
    outputs = {t.name: np.array(_window(memory[t.buffer], t)) for t in part.flow.outputs}
    return outputs, tuple(runs)


def _memory(part: Part, inputs: Mapping[str, Array]) -> Token:
    """Buffers as they are before the first section: inputs, and states where they stay."""
    memory: Token = {}
    used = [t for k in (*part.kernels, *part.carried) for t in (*k.inputs, *k.outputs)]
    for tensor in (*part.flow.inputs, *part.flow.outputs, *used):
        size = max(_end(tensor), memory[tensor.buffer].size if tensor.buffer in memory else 0)
        memory[tensor.buffer] = np.full(size, np.nan)
    for tensor in part.flow.inputs:
        _window(memory[tensor.buffer], tensor)[...] = inputs[tensor.name]
    for kernel in part.carried:
        held = {t.name: _window(memory[t.buffer], t) for t in kernel.inputs}
        for name, array in evaluate_kernel(kernel, held, precise=True).items():
            out = next(t for t in kernel.outputs if t.name == name)
            _window(memory[out.buffer], out)[...] = array
    return memory


def _functions(
    part: Part, section: Section, machine: Machine, memory: Token, counts: dict[str, int]
) -> dict[str, Callable[..., Token]]:
    assert machine.fabric is not None
    drawn = network(section, machine, machine.fabric, values=True)
    inputs = {n.name: n.inputs for n in drawn.nodes}
    stages = {s.stage.name: s.stage for s in section.shares}
    found: dict[str, Callable[..., Token]] = {}
    for kernel in part.kernels:
        for pattern in kernel.stages:
            name = pattern.results[-1].name
            if name in stages:
                makers = tuple(line.partition(">")[0] for line in inputs[name])
                found[name] = _Function(
                    part, section.tiles, kernel, pattern, stages[name], makers, memory, counts
                )
    return found


@dataclass
class _Function:
    """One stage, called once per tile in order."""

    part: Part
    tiles: int
    kernel: Kernel
    pattern: Pattern
    stage: Stage
    makers: tuple[str, ...]  # of each token
    memory: Token
    counts: dict[str, int]  # of axes whose extent the data decided
    calls: int = 0
    kept: Token = field(default_factory=dict)  # what came with earlier tiles
    carry: list[Array] = field(default_factory=list)  # of a scan, over the tiles so far

    def __call__(self, *tokens: Any) -> Token:
        arrived = self._arrived(tokens)
        offsets = starts(self.kernel, self.part, self.tiles, self.calls)
        self.calls += 1
        piece = tile(self.kernel, self.part, self.tiles)
        assert piece is not None
        tensors, views = self._operands(arrived, piece, offsets)
        leaves = tuple(_moved(leaf, offsets) for leaf in self.pattern.leaves)
        pattern = replace(self.pattern, leaves=leaves)
        outs = tuple(_dense(r.name, r.axes, r.dtype, piece.extents) for r in pattern.results)
        one = Kernel(self.kernel.name, piece.extents, views, outs, (pattern,))
        if isinstance(self.kernel, Routing):
            made = self._routed(tensors)
        else:
            made = evaluate_kernel(one, tensors, precise=True)
        if pattern.kind == "scan" and pattern.over[0] in offsets:
            made = self._continued(made, piece, offsets)
        return {
            **{n: self._placed(n, array, offsets) for n, array in made.items()},
            **self._stored(made, offsets),
        }

    def _routed(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """Coordinates, and what they came to."""
        assert isinstance(self.kernel, Routing)
        ((key,), (name,)) = (self.kernel.inputs, self.pattern.reads)
        order = [key.axes.index(a.name) for a in self.kernel.rule.key.axes]
        made = self.kernel.coordinates(tensors[name].transpose(order))
        for axis, count in found_counts(self.kernel.rule, list(made.values())).items():
            self.counts[axis] = max(self.counts.get(axis, 0), count)
        return {n: x.astype(float) for n, x in made.items()}

    def _continued(
        self, made: dict[str, Array], piece: Kernel, offsets: Mapping[str, int]
    ) -> dict[str, Array]:
        """Prefixes of a tile after what the tiles before it came to."""
        axis, monoid = self.pattern.over[0], self.pattern.monoid
        assert monoid is not None
        axes = tuple(a for a in piece.extents if any(a in r.axes for r in self.pattern.results))
        wide = [_aligned(made[r.name], r.axes, axes) for r in self.pattern.results]
        if offsets[axis]:
            both = [*self.carry, *wide]
            numbers = Numbers({}, np.float64)
            wide = [
                np.asarray(scalar(c, numbers, lambda a: both[a.number], None))
                for c in monoid.combine
            ]
        place = axes.index(axis)
        self.carry = [w.take([-1], place) for w in wide]
        return {
            r.name: _narrowed(w, axes, r.axes)
            for r, w in zip(self.pattern.results, wide, strict=True)
        }

    def _arrived(self, tokens: tuple[Any, ...]) -> Token:
        """Buffers from the tokens of this tile, and of earlier ones where those are read."""
        kept = {r.other for r in self.stage.reads if r.access == "prefix"}
        found: Token = {}
        for maker, token in zip(self.makers, tokens, strict=True):
            for held in token if isinstance(token, list | np.ndarray) else (token,):
                if isinstance(held, dict):
                    _merge(self.kept if maker in kept else found, held)
        _merge(found, self.kept)
        return found

    def _operands(
        self, arrived: Token, piece: Kernel, offsets: Mapping[str, int]
    ) -> tuple[dict[str, Array], tuple[Tensor, ...]]:
        wholes = {t.name: t for t in self.kernel.inputs}
        smalls = {t.name: t for t in piece.inputs}
        results = {r.name: r for s in self.kernel.stages for r in s.results}
        tensors, views = {}, []
        for name in dict.fromkeys(self.pattern.reads):
            if name in wholes:
                whole, small = wholes[name], smalls[name]
                flat = np.copy(self.memory[whole.buffer])
                if whole.buffer in arrived:
                    _merge({"": flat}, {"": arrived[whole.buffer]})
            else:
                r = results[name]
                whole = _dense(name, r.axes, r.dtype, self.kernel.extents)
                small = _dense(name, r.axes, r.dtype, piece.extents)
                flat = arrived[name]
            array = _sliced(_window(flat, whole), whole, small, offsets)
            if self._unwritten(whole.buffer):
                array = np.nan_to_num(array)
            tensors[name] = array.astype(np.int64) if small.dtype.kind == "int" else array
            views.append(replace(small, shape=array.shape))
        return tensors, tuple(views)

    def _unwritten(self, name: str) -> bool:
        """Whether what no tile has reached yet may be read, for a fold takes none of it in."""
        return any(r.access == "prefix" and r.name == name for r in self.stage.reads)

    def _placed(self, name: str, array: Array, offsets: Mapping[str, int]) -> Array:
        result = next(r for r in self.pattern.results if r.name == name)
        whole = _dense(name, result.axes, result.dtype, self.kernel.extents)
        flat = np.full(max(1, _end(whole)), np.nan)
        _at(_window(flat, whole), array, whole.axes, offsets)[...] = array
        return flat

    def _stored(self, made: Mapping[str, Array], offsets: Mapping[str, int]) -> Token:
        found: Token = {}
        for out in self.kernel.outputs:
            if out.name in made:
                result = next(r for r in self.pattern.results if r.name == out.name)
                array = made[out.name].transpose([result.axes.index(a) for a in out.axes])
                flat = np.full(self.memory[out.buffer].size, np.nan)
                _at(_window(flat, out), array, out.axes, offsets)[...] = array
                found[out.buffer] = flat
        return found


def _aligned(array: Array, own: tuple[str, ...], axes: tuple[str, ...]) -> Array:
    """An array with a place for every axis, of length 1 where it does not vary."""
    kept = [a for a in axes if a in own]
    turned = array.transpose([own.index(a) for a in kept])
    return turned.reshape([turned.shape[kept.index(a)] if a in own else 1 for a in axes])


def _narrowed(array: Array, axes: tuple[str, ...], own: tuple[str, ...]) -> Array:
    """The inverse of `_aligned`."""
    places = tuple(slice(None) if a in own else 0 for a in axes)
    kept = [a for a in axes if a in own]
    return array[places].transpose([kept.index(a) for a in own])


def starts(kernel: Kernel, part: Part, tiles: int, number: int) -> dict[str, int]:
    """The first coordinate of a tile along each streamed axis of a kernel."""
    found, left, sizes = {}, tiles, []
    for axis in part.streamed(kernel):
        step = gcd(left, kernel.extents[axis])
        sizes.append((axis, step, kernel.extents[axis] // step))
        left //= step
    for axis, step, extent in reversed(sizes):
        found[axis] = number % step * extent
        number //= step
    return found


def _moved(body: Scalar, offsets: Mapping[str, int]) -> Scalar:
    """A body of a tile: coordinates along streamed axes count from where the tile begins."""
    match body:
        case Index(axis) if offsets.get(axis):
            return Apply("add", (body, Lit(offsets[axis])))
        case Arg(number, at):
            return Arg(number, tuple((n, _moved(c, offsets)) for n, c in at))
        case Apply(op, args):
            return Apply(op, tuple(_moved(a, offsets) for a in args))
    return body


def _sliced(array: Array, whole: Tensor, small: Tensor, offsets: Mapping[str, int]) -> Array:
    places = []
    for axis, n, m in zip(whole.axes, whole.shape, small.shape, strict=True):
        begin = offsets.get(axis, 0) if m < n else 0
        places.append(slice(begin, begin + m))
    return array[tuple(places)]


def _at(window: Array, array: Array, axes: tuple[str, ...], offsets: Mapping[str, int]) -> Array:
    """The place of one tile in the window of the whole."""
    places = tuple(
        slice(offsets.get(a, 0), offsets.get(a, 0) + n)
        for a, n in zip(axes, array.shape, strict=True)
    )
    return window[(*places, ...)]  # a view, of a tensor without axes as well


def _merge(into: Token, other: Token) -> None:
    for name, array in other.items():
        if name in into and into[name].size:
            written = ~np.isnan(array)
            into[name][written] = array[written]
        else:
            into[name] = np.copy(array)


def _dense(name: str, axes: tuple[str, ...], dtype: Any, extents: Mapping[str, int]) -> Tensor:
    shape = tuple(extents[a] for a in axes)
    strides = tuple(int(np.prod(shape[i + 1 :], dtype=int)) for i in range(len(shape)))
    return Tensor(name, dtype, axes, shape, strides, name)


def _end(tensor: Tensor) -> int:
    if 0 in tensor.shape:
        return 0
    steps = zip(tensor.shape, tensor.strides, strict=True)
    return tensor.offset + 1 + sum(max(0, (n - 1) * s) for n, s in steps)


def _window(flat: Array, tensor: Tensor) -> Array:
    if 0 in tensor.shape:
        return np.zeros(tensor.shape)
    steps = [s * flat.itemsize for s in tensor.strides]
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps)
