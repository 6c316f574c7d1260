"""The passes in order: a captured Graph becomes a Flow of kernels, each with a Tiling.

Prices are arguments: one turns Counts into seconds, and of all ways to run a kernel that the
strategies of `compiler.tile` offer the quickest is taken; the other gives the seconds of a value,
and the search over equal graphs goes by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from maquette.compiler.canonical import canonical
from maquette.compiler.derive import Derived, derive, worthwhile
from maquette.compiler.fuse import Choices, fuse, show_flow, without_constants
from maquette.compiler.kernel import Flow, Interpreted, Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.rewrite.search import Rewritten, rewrite
from maquette.compiler.tiling import Candidate, Counts
from maquette.ir.graph import Graph
from maquette.ir.patterns import Input, Map, Value, View
from maquette.ir.text import show

Price: TypeAlias = Callable[[Counts, Processor], float]  # seconds of a tiled kernel
ValuePrice: TypeAlias = Callable[[Value], float]  # seconds of one value from its operands
Strategy: TypeAlias = Callable[[Kernel, Processor], Sequence[Candidate]]


@dataclass(frozen=True)
class Lowered:
    """What every pass made of a graph.  Tilings are of kernels under canonical names."""

    graph: Graph
    rewritten: Rewritten | None
    derived: Derived
    once: Graph  # what constants alone decide: made when they are bound
    flow: Flow
    tiled: tuple[Candidate | None, ...]  # one for each kernel; None: NumPy runs it

    def stages(self) -> dict[str, str]:
        """The text of each stage, by name, in order."""
        found = {"program": show(self.graph)}
        if self.rewritten is not None and self.rewritten.steps:
            found["rewritten"] = show(self.rewritten.graph)
        found["derived"] = show(self.derived.graph)
        if self.once.outputs:
            found["once"] = show(self.once)
        found["fused"] = show_flow(self.flow)
        found["tiled"] = "\n".join(
            f"{k.name}: {shown(t)}" for k, t in zip(self.flow.kernels, self.tiled, strict=True)
        )
        return found


@dataclass(frozen=True)
class Passes:
    """What the passes are given besides the graph."""

    processor: Processor
    strategies: Sequence[Strategy]
    price: Price
    value_price: ValuePrice | None = None  # None: the graph is taken as it is written
    known: dict[str, Candidate | None] = field(default_factory=dict)  # by canonical kernel

    def lower(
        self,
        graph: Graph,
        strides: Mapping[str, tuple[int, ...]] | None = None,
        constants: Collection[str] = (),
    ) -> Lowered:
        """Every pass on one graph whose sizes are numbers."""
        rewritten = None
        if self.value_price is not None:
            rewritten = rewrite(graph, self.value_price, constants=set(constants))
        source = graph if rewritten is None else rewritten.graph
        derived = derive(source, choose=worthwhile(self.processor.l2))
        once, rest = without_constants(derived.graph, constants)
        held = {n: s for n, s in (strides or {}).items() if n in rest.inputs}
        flow = fuse(rest, strides=held, choices=Choices(inlined=unpacking(rest)))
        tiled = tuple(self.best(k) for k in flow.kernels)
        return Lowered(graph, rewritten, derived, once, flow, tiled)

    def best(self, kernel: Kernel | Interpreted) -> Candidate | None:
        """The quickest of all ways to run a kernel; None where no strategy takes it."""
        if isinstance(kernel, Interpreted):
            return None
        same = canonical(kernel)
        key = repr(same)
        if key not in self.known:
            self.known[key] = best(same, self.processor, self.strategies, self.price)
        return self.known[key]


def unpacking(graph: Graph) -> frozenset[Value]:
    """Whole numbers made of bytes alone, such as halves of them: cheaper to make than to read."""
    found: set[Value] = set()

    def narrow(value: Value) -> bool:
        if isinstance(value, View):
            return all(map(narrow, value.args))
        if isinstance(value, Input):
            return value.dtype.kind == "int" and value.dtype.bits <= 8
        return value in found

    for value in graph.values:
        whole = isinstance(value, Map) and value.dtype.kind == "int" and value.args
        if whole and all(map(narrow, value.operands)):
            found.add(value)
    return frozenset(found)


def best(
    kernel: Kernel, processor: Processor, strategies: Iterable[Strategy], price: Price
) -> Candidate | None:
    """The quickest of all ways to run a kernel; None where no strategy takes it."""
    if 0 in kernel.extents.values():
        return None
    found = [c for strategy in strategies for c in strategy(kernel, processor)]
    return min(found, key=lambda c: price(c.counts, processor), default=None)


def shown(candidate: Candidate | None) -> str:
    """A tiling on one line."""
    if candidate is None:
        return "interpreted"
    t = candidate.tiling
    loops = " ".join(f"{loop.kind} {loop.axis}:{loop.step}" for loop in t.loops)
    registers = " ".join(f"{n}={v}x{r}" for n, (v, r) in t.registers.items())
    parts = [t.strategy, f"lanes {t.lanes}" if t.lanes else "", loops, registers, *t.notes]
    return "; ".join(p for p in parts if p)
