"""One program for one set of shapes: compiled to native code, or run by the interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from maquette.capture import Captured
from maquette.compiler.canonical import canonical
from maquette.compiler.fuse import evaluate_kernel
from maquette.compiler.kernel import Kernel, Tensor
from maquette.compiler.pipeline import Lowered, Passes
from maquette.errors import Fault, InputError, NotYet, ProgramError
from maquette.ir.interpret import evaluate
from maquette.ir.patterns import Input
from maquette.price.kernel import seconds
from maquette.price.kernel_values import value_price
from maquette.run import remembered
from maquette.run.flow import Ready
from maquette.run.integers import integers
from maquette.run.measured import processor
from maquette.run.source import Source
from maquette.run.specialised import Specialised, arguments
from maquette.run.strategies import STRATEGIES, emit
from maquette.run.tensors import (
    STORED,
    Layout,
    kept,
    layout,
    maker,
    pointer,
    reach,
    stored_as,
    supported,
    widened,
    window,
)
from maquette.run.toolchain import HINT, toolchain


def specialise(captured: Captured, flat: Sequence[Any], target: str) -> Any:
    """A captured program made ready for arguments like `flat`."""
    if target == "triton":
        from maquette.run.triton.program import blocked

        return blocked(captured, flat)
    if target == "cpu" and toolchain() is None:
        _say_once(f"no C++ compiler found; NumPy runs the program instead ({HINT})")
        target = "numpy"
    lowered = _lower(captured, flat)
    return (Native if target == "cpu" else Interpreter)(captured, lowered, flat)


@cache
def passes() -> Passes:
    """The passes for this processor, with what they have tiled already."""
    host = processor()
    return Passes(host, STRATEGIES, seconds, value_price(host))


def _lower(captured: Captured, flat: Sequence[Any]) -> Lowered:
    given = arguments(captured, flat)
    strides = {}
    for name, x in {**given, **captured.constants}.items():
        value = captured.graph.inputs.get(name)
        if value is None:
            continue
        held = layout(x, name)
        if held.format == value.dtype.name:
            strides[name] = held.strides
    return remembered.lowered(passes(), captured.graph, strides, captured.constants)


class Interpreter(Specialised):
    """The program as the interpreter runs it."""

    source = ""
    bytes = 0

    def __call__(self, flat: Sequence[Any], out: Any = None) -> Any:
        inputs = dict(self.captured.constants)
        inputs |= {name: flat[i] for name, i in self.places}
        graph = self.captured.graph
        given = {n: _array(x, graph.inputs[n]) for n, x in inputs.items() if n in graph.inputs}
        found = evaluate(graph, given)
        results = []
        for name in self.captured.outputs:
            kind = graph.outputs[name].dtype
            held = maker(found[name].shape, kind, torch=self.torch)()
            _array_of(held)[...] = stored_as(found[name], kind)
            results.append(held)
        return _returned(self.captured, results, out)


class Native(Specialised):
    """The program as compiled kernels."""

    def __init__(self, captured: Captured, lowered: Lowered, flat: Sequence[Any]) -> None:
        super().__init__(captured, lowered, flat)
        flow = lowered.flow
        self._unwritten: list[str] = []
        self._written: dict[str, Source] = {}  # by canonical kernel
        self._integers = integers(flow)
        self._wide: Interpreter | None = None  # of numbers that kernels have no bits for
        sources = [self._source(k, i) for i, k in enumerate(flow.kernels)]
        self.sources = tuple({s.symbol: s for s in sources if s is not None}.values())
        self._held, bound = self._constants(flat)
        self.ready = Ready(flow, sources, bound, evaluate_kernel)
        inputs = {t.name: t for t in flow.inputs}
        self._limited = [i for n, i in self.places if n in self._integers.inputs]
        self._inputs = [
            (i, inputs[n].buffer, self._conversion(n, flat[i]))
            for n, i in self.places
            if n in inputs
        ]
        by_name = {t.name: t for t in flow.outputs}
        outputs = [by_name[n] for n in captured.outputs]
        self._outputs = [(t.buffer, t.shape, t.dtype) for t in outputs]
        self._new = [maker(t.shape, t.dtype, torch=self.torch) for t in outputs]

    @property
    def source(self) -> str:
        """The generated code of all kernels that differ."""
        return "\n\n".join(s.text for s in self.sources)

    @property
    def bytes(self) -> int:
        """Memory of its own: the arena between kernels and their workspace."""
        return self.ready.bytes

    @property
    def report(self) -> tuple[str, ...]:
        """What was rewritten and derived, what was refused and why, what NumPy runs."""
        return (*super().report, *self._unwritten)

    def __call__(self, flat: Sequence[Any], out: Any = None) -> Any:
        if self._wide is not None or not all(self._fits(flat[i]) for i in self._limited):
            wide = self._wide or Interpreter(self.captured, self.lowered, flat)
            return wide(flat, out)
        pointers, held, results = self._bound(flat, out)
        self.ready(pointers)
        del held
        return _returned(self.captured, results, None if out is None else out)

    def timed(self, *flat: Any) -> list[tuple[str, float]]:
        """The seconds of each kernel in one call with these tensors, in order."""
        pointers, held, _ = self._bound(flat, None)
        found = self.ready.timed(pointers)
        del held
        return found

    def _bound(self, flat: Sequence[Any], out: Any) -> tuple[dict[str, int], list[Any], list[Any]]:
        pointers: dict[str, int] = {}
        held: list[Any] = []
        for i, buffer, convert in self._inputs:
            x = flat[i]
            if convert is not None:
                x = convert(x)
                held.append(x)
            pointers[buffer] = pointer(x)
        results = [new() for new in self._new] if out is None else self._given(out, flat)
        for (buffer, _, _), result in zip(self._outputs, results, strict=True):
            pointers[buffer] = pointer(result)
        return pointers, held, results

    def _source(self, kernel: Any, number: int) -> Source | None:
        candidate = self.lowered.tiled[number]
        if candidate is None or not isinstance(kernel, Kernel):
            return None
        if number in self._integers.refused:
            self._unwritten.append(f"interpreted: {kernel.name}: its integers need 64 bits")
            return None
        same = canonical(kernel)
        key = repr(same)
        try:
            if key not in self._written:  # layers repeat
                self._written[key] = emit(same, candidate.tiling, processor())
            return self._written[key]
        except (NotYet, ProgramError) as error:
            self._unwritten.append(f"interpreted: {kernel.name}: {error}")
            return None

    def _constants(self, flat: Sequence[Any]) -> tuple[list[Any], dict[str, int]]:
        """Constants as the kernels read them, and their addresses by buffer."""
        held, bound = [], {}
        inputs: Mapping[str, Tensor] = {t.name: t for t in self.lowered.flow.inputs}
        constants = {**self.captured.constants, **self._once()}
        for name, x in constants.items():
            if name not in inputs:
                continue
            convert = self._conversion(name, x)
            if name in self._integers.inputs and not self._fits(x):
                self._wide = Interpreter(self.captured, self.lowered, flat)
            x = kept(x) if convert is None else convert(x)
            held.append(x)
            bound[inputs[name].buffer] = pointer(x)
        return held, bound

    def _fits(self, x: Any) -> bool:
        """Whether kernels compute rightly with the integers of a tensor."""
        most = self._integers.most
        return 0 in x.shape or bool(-most <= x.min() and x.max() < most)

    def _once(self) -> dict[str, Any]:
        """What constants alone decide, as the kernels read it."""
        graph = self.lowered.once
        if not graph.outputs:
            return {}
        constants = self.captured.constants
        given = {n: _array(constants[n], v) for n, v in graph.inputs.items()}
        found = evaluate(graph, given)
        return {
            n: np.ascontiguousarray(stored_as(a, graph.outputs[n].dtype)) for n, a in found.items()
        }

    def _conversion(self, name: str, x: Any) -> Any:
        """How to bring a tensor to the format that kernels read, if it has another."""
        wanted = {t.name: t for t in self.lowered.flow.inputs}[name].dtype
        found = layout(x, name)
        if found.format == wanted.name or STORED[wanted.name] == found.format:
            return None
        if wanted.kind != "int" or not supported(wanted.name):
            what = f"is {found.format}"
            raise InputError(Fault(name, what, f"{wanted.name}, which kernels read"))
        return lambda y: _converted(y, wanted)

    def _given(self, out: Any, flat: Sequence[Any]) -> list[Any]:
        """Tensors of the caller to write to.  Raises InputError where they do not fit."""
        from maquette.capture import leaves

        tensors = [x for _, x in leaves([out])]
        if len(tensors) != len(self._outputs):
            what = f"has {len(tensors)} tensors"
            raise InputError(Fault("out", what, f"{len(self._outputs)}"))
        read = [(flat[i], "an argument") for i, _, _ in self._inputs]
        read += [(x, "a constant") for x in self._held]
        for x, (_, shape, kind) in zip(tensors, self._outputs, strict=True):
            found = layout(x, "out")
            if found.shape != shape or found.format != kind.name or not _dense(found):
                what = f"has {found.format}{list(found.shape)} strides {found.strides}"
                raise InputError(Fault("out", what, f"contiguous {kind}{list(shape)}"))
            if isinstance(x, np.ndarray) and not x.flags.writeable:
                raise InputError(Fault("out", "is read-only", "one that may be written"))
            for other, whose in read:
                if _overlap(x, other):
                    raise InputError(Fault("out", f"shares memory with {whose}", "another"))
            read.append((x, "another result"))
        return tensors


def _returned(captured: Captured, results: list[Any], out: Any) -> Any:
    if out is not None:
        from maquette.capture import leaves

        for held, result in zip((x for _, x in leaves([out])), results, strict=True):
            if held is not result:
                _array_of(held)[...] = _array_of(result)
        return out
    return captured.rebuild(results)


def _array(x: Any, read: Input) -> Any:
    """A tensor as numbers that the interpreter computes with, for the input that reads it."""
    if not supported(layout(x, read.name).format):
        return _converted(x, read.dtype)
    found = x if isinstance(x, np.ndarray) else _array_of(x)
    if str(x.dtype).endswith("uint8"):
        return found.view(np.int8 if read.dtype.name == "int8" else np.uint8)
    return widened(found, layout(x, read.name).dtype)


def _array_of(x: Any) -> Any:
    """A tensor's elements, without a copy, as what holds them."""
    if isinstance(x, np.ndarray):
        return x
    held = layout(x, "")
    axes = tuple(str(i) for i in range(len(held.shape)))
    return window(Tensor("", held.dtype, axes, held.shape, held.strides, ""), pointer(x))


def _converted(x: Any, wanted: Any) -> Any:
    made = np.ascontiguousarray(np.asarray(x))
    return stored_as(made, wanted)


def _dense(found: Layout) -> bool:
    step = 1
    for n, s in zip(reversed(found.shape), reversed(found.strides), strict=True):
        if n > 1 and s != step:
            return False
        step *= n
    return True


def _overlap(x: Any, y: Any) -> bool:
    ends = []
    for z in (x, y):
        held = layout(z, "")
        low, high = reach(held.shape, held.strides)
        size = z.itemsize if isinstance(z, np.ndarray) else z.element_size()
        ends.append((pointer(z) + low * size, pointer(z) + high * size))
    return ends[0][0] < ends[1][1] and ends[1][0] < ends[0][1]


_said: set[str] = set()


def _say_once(text: str) -> None:
    if text not in _said:
        _said.add(text)
        warnings.warn(text, RuntimeWarning, stacklevel=6)
