"""A captured program bound to the shapes of its arguments: what every way to run it shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from maquette.capture import Captured
from maquette.compiler.pipeline import Lowered
from maquette.run.tensors import is_tensor, is_torch


def arguments(captured: Captured, flat: Sequence[Any]) -> dict[str, Any]:
    """The tensors of a call by the names of the inputs they are."""
    return dict(zip(captured.arguments, filter(is_tensor, flat), strict=True))


def _untiled(kernel: Any) -> str:
    empty = [a for a, n in kernel.extents.items() if not n]
    return f"axis {empty[0]} has no points" if empty else "no strategy takes it"


class Specialised(ABC):
    """What all kinds share: the captured program, its arguments, its report."""

    def __init__(self, captured: Captured, lowered: Lowered, flat: Sequence[Any]) -> None:
        self.captured, self.lowered = captured, lowered
        graph = captured.graph
        given = arguments(captured, flat)
        self.torch = any(map(is_torch, (*captured.constants.values(), *given.values())))
        numbers = [i for i, x in enumerate(flat) if is_tensor(x)]
        places = zip(given, numbers, strict=True)
        self.places = [(n, i) for n, i in places if n in graph.inputs]

    @property
    def report(self) -> tuple[str, ...]:
        """What was rewritten and derived, what was refused and why, what NumPy runs."""
        made = self.lowered
        lines = [] if made.rewritten is None else [f"rewritten: {s}" for s in made.rewritten.steps]
        for d in made.derived.derivations:
            what = d.monoid or ("hoisted" if d.rules else "chunks")
            place = f" @{d.section}" if d.section else ""
            lines.append(f"derived: {len(d.replaced)} reductions become {what}{place}")
        lines += [f"priced: {a}" for a in made.alternatives]
        lines += [f"refused: {r}" for r in made.derived.refusals]
        for kernel, candidate in zip(made.flow.kernels, made.tiled, strict=True):
            if candidate is None:
                why = getattr(kernel, "reason", "") or _untiled(kernel)
                lines.append(f"interpreted: {kernel.name}: {why}")
        return tuple(lines)

    @property
    @abstractmethod
    def source(self) -> str:
        """The generated code of all kernels that differ."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Memory of its own: the arena between kernels, and workspace."""

    @abstractmethod
    def __call__(self, flat: Sequence[Any], out: Any = None) -> Any:
        """Run on arguments like those it was made for."""
