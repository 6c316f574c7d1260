"""Blocks that a mask leaves empty are not computed: the share of a fold that is left.

A fold whose leaf is its monoid's identity wherever a condition on coordinates fails takes nothing
in there, and whatever is made for such folds alone need not be made.  The condition bounds the
positions of every block of rows from below and from above (`compiler.tile.live`), so a causal
mask, a window and their product are one case.  Blocks are as wide as a unit has lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from maquette.compiler.kernel import Kernel
from maquette.compiler.kernel import Stage as Pattern
from maquette.compiler.tile.live import FIRST, LAST, possible
from maquette.ir.scalar import Apply, Index, Lit, Scalar
from maquette.space.mapping.types import Stage


def live(kernel: Kernel, block: int) -> dict[str, float]:
    """Of each stage, by its last result, the share of its blocks that may hold something; 1: all.

    >>> from maquette.compiler.fuse import parse_kernel
    >>> text = '''kernel causal
    ...   extent s=64, t=64
    ...   in x f32[s, t] strides 64, 1
    ...   out m f32[s] strides 1
    ...   f32 e[s, t] = exp(%x)
    ...   f32 m[s] = add over t: where(t <= s, %e, 0.0)
    ... '''
    >>> live(parse_kernel(text), 16)  # 4 + 3 + 2 + 1 of 16 blocks
    {'m': 0.625, 'e': 0.625}
    """
    found: dict[str, float] = {}
    stored = {t.name for t in kernel.outputs}
    folded: dict[str, str] = {}  # of a stage with a share: the axis whose positions it leaves out
    for stage in reversed(kernel.stages):
        name = stage.results[-1].name
        share, along = _guarded(stage, kernel, block)
        names = {r.name for r in stage.results}
        readers = [s for s in kernel.stages if names & {*s.reads}]
        if share == 1.0 and readers and not names & stored:
            after = {folded.get(s.results[-1].name, "") for s in readers}
            (axis,) = after if len(after) == 1 else ("",)
            if axis and all(axis in r.axes for r in stage.results):
                share = max(found[s.results[-1].name] for s in readers)
                along = axis
        if share < 1.0:
            found[name], folded[name] = share, along
    return found


def waiting(run: Sequence[Stage]) -> set[str]:
    """Kernels whose tiles wait for those before them."""
    return {s.kernel for s in run if any(r.access == "prefix" for r in s.reads)}


def skipped(run: Sequence[Stage]) -> Iterator[Stage]:
    """Stages without the blocks that their masks leave empty.

    Where a tile waits for those before it, tiles grow one after the other and units are there for
    the last.  Everywhere else blocks of rows are dealt out so that all tiles have as many.
    """
    ordered = waiting(run)
    for s in run:
        if s.live == 1.0 or s.kernel in ordered:
            yield s
            continue
        reads = tuple(replace(r, port=r.port * s.live) for r in s.reads)
        yield replace(s, work=s.work * s.live, flops=s.flops * s.live, reads=reads)


def _guarded(stage: Pattern, kernel: Kernel, block: int) -> tuple[float, str]:
    """The share that is left of a fold behind a condition, and the axis along which."""
    if stage.kind != "reduce" or stage.monoid is None:
        return 1.0, ""
    match stage.leaves[0]:
        case Apply("where", (test, _, Lit(value))) if Lit(value) == stage.monoid.identity[0]:
            rows = [a for a in _named(test) if a not in stage.over and a in kernel.extents]
            along = [a for a in _named(test) if a in stage.over]
            if len(rows) <= 1 and len(along) == 1:
                return _share(test, rows[0] if rows else "", along[0], kernel, block), along[0]
    return 1.0, ""


def _share(test: Scalar, rows: str, along: str, kernel: Kernel, block: int) -> float:
    extent, count = kernel.extents[along], kernel.extents.get(rows, 1)
    span = possible(test, rows, along)
    first = np.arange(0, count, block)
    last = np.minimum(first + block, count) - 1
    low, high = span.along({FIRST: first, LAST: last}, extent)
    begin, end = low // block * block, np.minimum(-(-high // block) * block, extent)
    return float(((last - first + 1) * np.where(high > low, end - begin, 0)).sum() / extent / count)


def _named(body: Scalar) -> list[str]:
    """Axes whose coordinates a condition compares, each once."""
    match body:
        case Index(axis):
            return [axis]
        case Apply(_, args):
            return list(dict.fromkeys(n for a in args for n in _named(a)))
    return []
