"""A torch function or module recorded: its arguments, its constants, its results."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from maquette.capture.aliasing import Storage
from maquette.capture.captured import Captured
from maquette.capture.positional import Positional
from maquette.capture.structure import filler, leaves, rebuilt
from maquette.capture.torch_names import format_of, torch_format
from maquette.capture.torch_recorder import Recorder
from maquette.capture.trace import Trace, finished, many
from maquette.errors import Fault, InputError
from maquette.ir.patterns import Role

FOREIGN = (
    os.path.dirname(os.path.abspath(__file__)),
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "run"),
    os.path.dirname(os.path.abspath(torch.__file__)),
)


def record(function: Any, tensors: Sequence[Any], kwargs: Mapping[str, Any]) -> Captured:
    """Run `function` once and keep what it did."""
    trace = Trace(foreign=FOREIGN)
    recorder = Recorder(trace, constant_names(function))
    names: list[str] = []
    shown = [_argument(trace, names, p, x) for p, x in _called(function, tensors)]
    given = {k: _argument(trace, names, k, x) for k, x in kwargs.items()}
    with torch.no_grad(), recorder:
        result = function(*shown, **given)
    many(trace.faults)
    return results(trace, recorder, function, names, result)


def results(
    trace: Trace, recorder: Recorder, function: Any, names: Sequence[str], result: Any
) -> Captured:
    """The graph of what a function returned."""
    found = [x for _, x in leaves([result]) if isinstance(x, torch.Tensor)]
    if not found:
        what = f"{name_of(function)} returns a {type(result).__name__}"
        raise InputError(Fault(name_of(function), what, "a tensor, or a nest of tensors"))
    positional = [recorder.symbolic(x) for x in found]
    rebuild = filler(result, lambda x: isinstance(x, torch.Tensor))
    return finished(trace, name_of(function), names, positional, rebuild)


def name_of(function: Any) -> str:
    """What to call the graph."""
    name = getattr(function, "__name__", type(function).__name__)
    return re.sub(r"\W", "_", name).strip("_") or "function"


def constant_names(function: Any) -> dict[int, str]:
    """Names of the parameters and buffers of a module, or of the module a method belongs to."""
    owner = (
        function if isinstance(function, torch.nn.Module) else getattr(function, "__self__", None)
    )
    if not isinstance(owner, torch.nn.Module):
        return {}
    named = [*owner.named_parameters(), *owner.named_buffers()]
    return {id(p): n for n, p in reversed(named)}


def _called(function: Any, tensors: Sequence[Any]) -> list[tuple[str, Any]]:
    """Arguments with the names of the parameters they are for."""
    call = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"x{i}" for i in range(len(names), len(tensors))]
    return list(zip(names, tensors, strict=False))


def _argument(trace: Trace, names: list[str], name: str, tree: Any) -> Any:
    """An argument as tensors without numbers, entered under its name."""
    places = iter([place for place, _ in leaves([tree], "")])

    def one(x: Any) -> Any:
        place = next(places).removeprefix("0").strip("_")
        if not isinstance(x, torch.Tensor):
            return x
        called = f"{name}_{place}" if place else name
        names.append(called)
        role: Role = "index" if x.dtype in (torch.int64, torch.int32) else "activation"
        to = format_of(x.dtype, f"argument {called}")
        if x.dtype == torch.uint8:
            held = trace.unsigned(called, tuple(x.shape), role)
        else:
            held = trace.input(called, tuple(x.shape), to, role)
        return shown_input(held, f"argument {called}")

    return rebuilt(tree, one)


def shown_input(p: Positional, owner: str) -> torch.Tensor:
    """A tensor without numbers for something from outside."""
    t = torch.empty(p.shape, dtype=torch_format(p.dtype), device="meta")
    storage = Storage(owner)
    t.__dict__["positional"], t.__dict__["storage"] = p, storage
    storage.add(t)
    return t
