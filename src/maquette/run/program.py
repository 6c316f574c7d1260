"""Functions and modules as compiled: one specialisation for every set of shapes and formats.

The first call with new shapes captures, rewrites, derives, fuses, tiles and builds; later ones look
it up, place a few pointers and run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

import numpy as np

from maquette.capture import Captured, capture, form, leaves
from maquette.compiler.pipeline import Lowered
from maquette.compiler.processor import Processor
from maquette.errors import Fault, InputError, UnknownName
from maquette.ir.graph import Graph
from maquette.machines.types import Machine
from maquette.price.kernel_flow import FlowCost, on_machine, on_processor
from maquette.run.collector import uncollected
from maquette.run.measured import processor
from maquette.run.specialise import specialise
from maquette.run.specialised import Specialised
from maquette.run.tensors import differentiated, is_tensor, key

TARGETS = ("cpu", "numpy", "triton")


class Compiled:
    """A callable that runs a function's program, compiled for the shapes that it is called with.

    Weights are bound when a specialisation is made: values in place may change, but what is
    computed from weights alone is computed once; after a change of weights, call `forget`.
    Results are new tensors, of torch where an argument or a weight is; ``out=`` names others.
    Calls are forward only, and may come from several threads.
    """

    def __init__(
        self,
        function: Callable[..., Any] | Graph,
        *,
        target: str = "cpu",
        machines: Callable[[str], Machine] | None = None,
    ) -> None:
        if target not in TARGETS:
            raise UnknownName("target", target, TARGETS)
        if not callable(function) and not isinstance(function, Graph):
            what = f"a {type(function).__name__} cannot be called"
            raise InputError(Fault("compile", what, "a function, a module or a Graph"))
        self.function = function
        self.target = target
        self._machines = machines  # a catalogue, for `cost`
        self._made: dict[Any, Specialised] = {}
        self._latest: Specialised | None = None
        self._making = RLock()

    def __call__(self, *args: Any, out: Any = None, **kwargs: Any) -> Any:
        flat = args
        if kwargs or not all(map(is_tensor, args)):
            flat = tuple(x for _, x in leaves([args, kwargs]))
            found = self._made.get(_signature(args, kwargs))
        else:
            found = self._made.get(tuple(map(key, args)))
        if found is None:
            found = self.prepare(*args, **kwargs)
        return found(flat, out)

    def prepare(self, *args: Any, **kwargs: Any) -> Specialised:
        """Compile for arguments like these, without running."""
        simple = not kwargs and all(map(is_tensor, args))
        signature = tuple(map(key, args)) if simple else _signature(args, kwargs)
        with self._making:
            found = self._made.get(signature)
            if found is None:
                _check_arguments(args, kwargs)
                with uncollected():
                    captured = capture(self.function, *args, **kwargs)
                    flat = [x for _, x in leaves([args, kwargs])]
                    found = self._made[signature] = specialise(captured, flat, self.target)
            self._latest = found
        return found

    def forget(self) -> None:
        """Drop all specialisations: weights are bound anew at the next call."""
        with self._making:
            self._made.clear()
            self._latest = None

    @property
    def latest(self) -> Specialised:
        """The specialisation made or asked for last."""
        if self._latest is None:
            what = "is not compiled yet: shapes are not known"
            hint = "call it, or prepare(*tensors)"
            raise InputError(Fault(getattr(self.function, "__name__", "function"), what, hint=hint))
        return self._latest

    @property
    def captured(self) -> Captured:
        """The graph, its constants, and how it is called."""
        return self.latest.captured

    @property
    def lowered(self) -> Lowered:
        """What every pass made."""
        return self.latest.lowered

    @property
    def processor(self) -> Processor:
        """What it is compiled for."""
        return processor()

    @property
    def program(self) -> str:
        """The text of the graph as it was captured."""
        return self.lowered.stages()["program"]

    @property
    def derived(self) -> str:
        """The text of the graph after rewriting and deriving."""
        return self.lowered.stages()["derived"]

    @property
    def schedule(self) -> str:
        """The text of the kernels, what else was priced, and how each kernel is tiled."""
        found = self.lowered.stages()
        priced = "\n".join(map(str, self.lowered.alternatives))
        return "\n\n".join(filter(None, (found["fused"], priced, found["tiled"])))

    @property
    def source(self) -> str:
        """The generated code, each kernel that differs once."""
        return self.latest.source

    @property
    def report(self) -> tuple[str, ...]:
        """What was rewritten, derived and priced, what was refused and why, what NumPy runs."""
        return self.latest.report

    def cost(self, machine: Machine | str | None = None) -> FlowCost:
        """What one call takes: here as it is tiled, or kernel by kernel on another machine.

        A machine may be a name or a path where the function was compiled by `maquette.compile`.
        """
        lowered = self.lowered
        if machine is None:
            return on_processor(lowered.flow, lowered.tiled, self.processor)
        if isinstance(machine, str):
            if self._machines is None:
                raise InputError(Fault("machine", "is a name", "a Machine"))
            machine = self._machines(machine)
        return on_machine(lowered.flow, lowered.tiled, machine)

    @property
    def bytes(self) -> int:
        """Memory of its own: the arena between kernels and their workspace."""
        return self.latest.bytes

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return f"<compiled {name} for {self.target}, {len(self._made)} signatures>"


def _signature(args: Any, kwargs: Mapping[str, Any]) -> Any:
    return form(args, _fixed), form(kwargs, _fixed)


def _fixed(name: str, x: Any) -> Any:
    if is_tensor(x):
        return key(x)
    if isinstance(x, float | complex | np.inexact):
        return type(x), repr(x)  # -0.0 is not 0.0, and what is no number is itself
    try:
        hash(x)
    except TypeError:
        what = f"a {type(x).__name__} that cannot be hashed"
        raise InputError(Fault(f"argument {name}", what, "tensors, numbers, strings")) from None
    return type(x), x


def _check_arguments(args: Any, kwargs: Mapping[str, Any]) -> None:
    """Gradients are not kept, so an argument that asks for them is refused."""
    faults = []
    for name, x in (*leaves(args), *leaves(kwargs)):
        if differentiated(x):
            what = "requires a gradient, and compiled functions only run forward"
            hint = "x.detach(), or call under torch.no_grad()"
            faults.append(Fault(f"argument {name}", what, hint=hint))
    if faults:
        raise InputError(*faults)
