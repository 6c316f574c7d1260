"""The passes in order: a captured Graph becomes a Flow of kernels, each with a Tiling.

Prices are arguments: one turns Counts into seconds, and of all ways to run a kernel that the
strategies of `compiler.tile` offer the quickest is taken, and of all flows that `alternatives`
tries the one whose kernels are quickest; the other gives the seconds of a value, and the search
over equal graphs goes by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from maquette.compiler.alternatives import Alternative, Search
from maquette.compiler.alternatives import Price as Total
from maquette.compiler.canonical import canonical
from maquette.compiler.derive import Derived, worthwhile
from maquette.compiler.fuse import show_flow
from maquette.compiler.kernel import Flow, Interpreted, Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.rewrite.search import Rewritten, rewrite
from maquette.compiler.tile.stream import STRATEGY as STREAM
from maquette.compiler.tile.stream import order
from maquette.compiler.tile.text import show_tiling
from maquette.compiler.tiling import Candidate, Counts, Tiling
from maquette.compiler.variants import Variant, Written, algebra, made
from maquette.ir.graph import Graph
from maquette.ir.patterns import Value
from maquette.ir.text import show

Price: TypeAlias = Callable[[Counts, Processor], float]  # seconds of a tiled kernel
ValuePrice: TypeAlias = Callable[[Value], float]  # seconds of one value from its operands
Strategy: TypeAlias = Callable[[Kernel, Processor], Sequence[Candidate]]


@dataclass(frozen=True)
class Algebra:
    """What was made of a graph before anything was fused."""

    rewritten: Rewritten | None  # None: the graph was taken as it is written
    derived: Derived


@dataclass(frozen=True)
class Lowered:
    """What every pass made of a graph.  Tilings are of kernels under canonical names."""

    graph: Graph
    variant: Variant  # what was chosen
    once: Graph  # what constants alone decide: made when they are bound
    flow: Flow
    tiled: tuple[Candidate | None, ...]  # one for each kernel; None: NumPy runs it
    alternatives: tuple[Alternative, ...]  # what else was priced, and what was chosen
    algebra: Callable[[], Algebra]  # asked where it is told, not where it is run

    @cached_property
    def _algebra(self) -> Algebra:
        return self.algebra()

    @property
    def rewritten(self) -> Rewritten | None:
        """What the search over equal graphs found, if it was taken."""
        return self._algebra.rewritten

    @property
    def derived(self) -> Derived:
        """What was derived, and what was refused."""
        return self._algebra.derived

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
            f"{k.name}: {shown(k, t)}" for k, t in zip(self.flow.kernels, self.tiled, strict=True)
        )
        return found


@dataclass(frozen=True)
class Passes:
    """What the passes are given besides the graph."""

    processor: Processor
    strategies: Sequence[Strategy]
    price: Price
    value_price: ValuePrice | None = None  # None: the graph is taken as it is written
    tries: int = 48  # flows that are priced at most; 0: the first guess is taken
    known: dict[str, Candidate | None] = field(default_factory=dict)  # by canonical kernel
    orders: dict[str, Alternative] = field(default_factory=dict)  # of streamed folds, likewise

    def lower(
        self,
        graph: Graph,
        strides: Mapping[str, tuple[int, ...]] | None = None,
        constants: Collection[str] = (),
    ) -> Lowered:
        """Every pass on one graph whose sizes are numbers."""
        original = Written(graph, frozenset(constants), dict(strides or {}))
        rewritten, source = self._rewritten(original)
        guess = worthwhile(self.processor.l2)
        search = Search(source, original, guess, self.seconds, self.tries, self.handed)
        variant, chosen = search.run()
        written = source if variant.rewritten else original
        found = search.made or made(written, variant, guess)
        tiled = tuple(self.best(k) for k in found.flow.kernels)
        chosen += tuple(self._orders(found.flow)) if self.tries else ()
        told = Algebra(rewritten if variant.rewritten else None, found.algebra.derived)
        once = found.algebra.once
        return Lowered(graph, variant, once, found.flow, tiled, chosen, lambda: told)

    def algebra(self, written: Written, variant: Variant) -> Algebra:
        """What `lower` made of a graph before it fused what it had chosen."""
        rewritten, source = self._rewritten(written) if variant.rewritten else (None, written)
        return Algebra(rewritten, algebra(source, variant, worthwhile(self.processor.l2)).derived)

    def _rewritten(self, original: Written) -> tuple[Rewritten | None, Written]:
        """What the search over equal graphs found, and what the passes go on with."""
        if self.value_price is None:
            return None, original
        found = rewrite(original.graph, self.value_price, constants=set(original.constants))
        return found, replace(original, graph=found.graph) if found.steps else original

    def _orders(self, flow: Flow) -> Iterator[Alternative]:
        """Of streamed folds, what the best tiling of each order of loops costs."""
        seen = set[str]()
        for kernel in flow.kernels:
            key = "" if isinstance(kernel, Interpreted) else repr(canonical(kernel))
            if key in self.orders and key not in seen:
                seen.add(key)
                yield replace(self.orders[key], what=f"loops of {kernel.name}")

    def seconds(self, kernel: Kernel | Interpreted) -> float | None:
        """The price of a kernel as it is tiled best; None where NumPy runs it."""
        found = self.best(kernel)
        return None if found is None else self.price(found.counts, self.processor)

    def handed(self, flow: Flow) -> float:
        """Seconds beyond those of its kernels that a flow takes for what they leave each other.

        What a kernel writes faster than caches drain does not overlap with its arithmetic: what is
        larger than the private caches is fetched, written and read back at the rate of memory.
        (Scores of an attention, stored: measured 1.3 to 1.9 times as slow, priced 1.0 to 1.5.)
        """
        private = self.processor.l2 * self.processor.threads
        large = sum(b.bytes for b in flow.arena if b.bytes > private)
        return 3.0 * large / self.processor.memory_bandwidth

    def best(self, kernel: Kernel | Interpreted) -> Candidate | None:
        """The quickest of all ways to run a kernel; None where no strategy takes it."""
        if isinstance(kernel, Interpreted):
            return None
        same = canonical(kernel)
        key = repr(same)
        if key not in self.known:
            priced = [(self.price(c.counts, self.processor), c) for c in self._tilings(same)]
            self.known[key] = min(priced, key=lambda found: found[0], default=(0.0, None))[1]
            if (orders := _by_order(same, priced)) is not None:
                self.orders[key] = orders
        return self.known[key]

    def _tilings(self, kernel: Kernel) -> Iterator[Candidate]:
        if 0 not in kernel.extents.values():
            for strategy in self.strategies:
                yield from strategy(kernel, self.processor)


def _by_order(kernel: Kernel, priced: Sequence[tuple[float, Candidate]]) -> Alternative | None:
    """The least price of each order of loops, where the quickest tiling is a streamed fold's."""
    found: dict[str, float] = {}
    for seconds, candidate in sorted(priced, key=lambda p: p[0]):
        if candidate.tiling.strategy == STREAM:
            found.setdefault(order(kernel, candidate.tiling), seconds)
        elif not found:
            return None
    options = tuple((label, Total(0, seconds)) for label, seconds in found.items())
    return Alternative("loops", options, options[0][0]) if len(options) > 1 else None


def shown(kernel: Kernel | Interpreted, candidate: Candidate | None) -> str:
    """How a kernel is tiled, in the kernel's own names; `tile.text.parse_tiling` reads it back."""
    if candidate is None or isinstance(kernel, Interpreted):
        return "interpreted"
    return show_tiling(named(candidate.tiling, kernel))


def named(tiling: Tiling, kernel: Kernel) -> Tiling:
    """A tiling of the canonical form of `kernel` as one of `kernel` itself."""
    same = canonical(kernel)
    axes = dict(zip(same.extents, kernel.extents, strict=True))
    pairs = zip(same.stages, kernel.stages, strict=True)
    results = {a.name: b.name for s, k in pairs for a, b in zip(s.results, k.results, strict=True)}

    def own(name: str) -> str:
        return "*".join(axes.get(part, results.get(part, part)) for part in name.split("*"))

    return replace(
        tiling,
        lanes=own(tiling.lanes),
        loops=tuple(replace(loop, axis=own(loop.axis)) for loop in tiling.loops),
        registers={own(n): r for n, r in tiling.registers.items()},
        tiles=tuple(
            replace(t, result=own(t.result), shape=tuple((own(a), n) for a, n in t.shape))
            for t in tiling.tiles
        ),
    )
