"""One program for one set of shapes, run as Triton kernels on a GPU (or by their interpreter)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from maquette.capture import Captured
from maquette.compiler.canonical import canonical
from maquette.compiler.kernel import Interpreted, Kernel, Tensor
from maquette.compiler.pipeline import Lowered, Passes
from maquette.compiler.processor import Processor
from maquette.compiler.tiling import Candidate, Counts
from maquette.errors import Fault, InputError, NotYet
from maquette.ir.dtypes import DType
from maquette.ir.interpret import evaluate
from maquette.price.kernel import seconds
from maquette.price.kernel_work import work
from maquette.run.measured import processor
from maquette.run.source import Source
from maquette.run.specialised import Specialised, arguments
from maquette.run.tensors import torch_formats
from maquette.run.triton.emit import emit
from maquette.run.triton.load import launch
from maquette.run.triton.roles import candidates


def interpreted() -> bool:
    """Whether Triton runs kernels by its interpreter, on tensors of the CPU."""
    return os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")


def blocked(captured: Captured, flat: Sequence[Any]) -> Blocked:
    """A captured program made ready for arguments like `flat`."""
    device = _device(arguments(captured, flat))
    return Blocked(captured, lower(captured, flat), flat, device)


def lower(captured: Captured, flat: Sequence[Any]) -> Lowered:
    """The passes without tilings: those are of a processor's strategies."""
    graph = captured.graph
    given = {**arguments(captured, flat), **captured.constants}
    strides = {n: tuple(x.stride()) for n, x in given.items() if n in graph.inputs}
    return Passes(processor(), (tilings,), seconds, tries=0).lower(
        graph, strides, captured.constants
    )


class Blocked(Specialised):
    """The program as kernels of blocks.

    Raises InputError for tensors that are not on one GPU, NotYet for kernels without block form.
    """

    def __init__(
        self, captured: Captured, lowered: Lowered, flat: Sequence[Any], device: Any
    ) -> None:
        super().__init__(captured, lowered, flat)
        self.device = device
        flow = lowered.flow
        both = zip(flow.kernels, lowered.tiled, strict=True)
        self.sources = tuple(_source(kernel, chosen) for kernel, chosen in both)
        inputs = {t.name for t in flow.inputs}
        held = {**captured.constants, **_once(captured, lowered)}
        self._bound = {n: x.to(self.device) for n, x in held.items() if n in inputs}
        self._arena = _bytes(flow.arena_bytes, self.device)
        named = {t.name: t for t in flow.outputs}
        self._outputs = [named[n] for n in captured.outputs]

    @property
    def source(self) -> str:
        """The generated code of all kernels that differ."""
        return "\n\n".join({s.symbol: s.text for s in self.sources}.values())

    @property
    def bytes(self) -> int:
        """Memory of its own: the arena between kernels."""
        return self.lowered.flow.arena_bytes

    def __call__(self, flat: Sequence[Any], out: Any = None) -> Any:
        if out is not None:
            raise NotYet(Fault("out", "results on a GPU are new tensors", hint="copy_ them"))
        buffers = {n: flat[i] for n, i in self.places} | self._bound
        results = []
        for tensor in self._outputs:
            results.append(_empty(tensor, self.device))
            buffers[tensor.buffer] = results[-1]
        for b in self.lowered.flow.arena:
            buffers[b.name] = self._arena[b.offset : b.offset + b.bytes]
        for kernel, source in zip(self.lowered.flow.kernels, self.sources, strict=True):
            both = (*kernel.inputs, *kernel.outputs)
            launch(source, [_typed(buffers[t.buffer], t) for t in both])
        return self.captured.rebuild(results)


def tilings(kernel: Kernel, _: Processor) -> Sequence[Candidate]:
    """The first tiling whose blocks fit, with the work and the traffic that every one has."""
    found = next(candidates(kernel), None)
    if found is None:
        return ()
    done = work(kernel)
    moved = sum(done.reads.values()) + sum(done.writes.values())
    return (Candidate(found, Counts(done.matrix, done.vector, {"memory": moved})),)


def _source(kernel: Kernel | Interpreted, chosen: Candidate | None) -> Source:
    if isinstance(kernel, Interpreted):
        raise NotYet(Fault("triton", f"{kernel.name}: {kernel.reason}", hint='target="cpu"'))
    if chosen is None:
        what = f"{kernel.name}: a block that a program must hold whole is too large"
        raise NotYet(Fault("triton", what, hint='target="cpu"'))
    return emit(canonical(kernel), chosen.tiling)


def _device(given: dict[str, Any]) -> Any:
    devices = {n: getattr(x, "device", "cpu") for n, x in given.items()}
    wanted = "cpu" if interpreted() else "cuda"
    faults = [
        Fault(f"argument {n}", f"is on {d}", f"a torch tensor on {wanted}")
        for n, d in devices.items()
        if getattr(d, "type", "") != wanted
    ]
    if len(set(devices.values())) > 1 and not faults:
        faults.append(Fault("arguments", "are on several devices", "one"))
    if faults:
        raise InputError(*faults)
    return next(iter(devices.values()), wanted)


def _once(captured: Captured, lowered: Lowered) -> dict[str, Any]:
    """What constants alone decide."""
    import torch

    graph = lowered.once
    given = {n: captured.constants[n].float().cpu().numpy() for n in graph.inputs}
    found = evaluate(graph, given)
    return {n: torch.as_tensor(x).to(_format(graph.outputs[n].dtype)) for n, x in found.items()}


def _bytes(size: int, device: Any) -> Any:
    import torch

    return torch.empty(size, dtype=torch.uint8, device=device)


def _empty(tensor: Tensor, device: Any) -> Any:
    import torch

    return torch.empty(tensor.shape, dtype=_format(tensor.dtype), device=device)


def _typed(held: Any, tensor: Tensor) -> Any:
    wanted = _format(tensor.dtype)
    return held if held.dtype == wanted else held.view(wanted)


def _format(kind: DType) -> Any:
    return next(f for f, name in torch_formats().items() if name == kind.name)
