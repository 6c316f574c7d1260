"""The passes in order: a captured Graph becomes a Flow of kernels, each with a Tiling.

The price, an argument, turns Counts into seconds; of all ways to run a kernel that the strategies
of `compiler.tile` offer, the quickest is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tiling import Candidate, Counts

Price: TypeAlias = Callable[[Counts, Processor], float]  # seconds
Strategy: TypeAlias = Callable[[Kernel, Processor], Sequence[Candidate]]


def best(
    kernel: Kernel, processor: Processor, strategies: Iterable[Strategy], price: Price
) -> Candidate | None:
    """The quickest of all ways to run a kernel; None where no strategy takes it."""
    found = [c for strategy in strategies for c in strategy(kernel, processor)]
    return min(found, key=lambda c: price(c.counts, processor), default=None)
