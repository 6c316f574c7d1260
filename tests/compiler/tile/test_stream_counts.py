"""Counts of streamed folds against a walk of their loops, one tile after another."""

from collections import Counter
from dataclasses import replace
from itertools import product
from math import ceil

import numpy as np
import pytest

from maquette.compiler.tile.phases import Phases
from maquette.compiler.tile.stream import accepts, candidates
from maquette.compiler.tile.stream_counts import counts
from maquette.compiler.tile.stream_places import placed
from maquette.compiler.tile.stream_sizes import Sizes
from maquette.run.host import processor
from run.cpp.folds import Case, first

LANES = processor().lanes
FULL, CAUSAL = "%p * 0.25", "where(t <= s, %p * 0.25, -inf)"
WINDOW = "where((t <= s) & (s - t < 100), %p * 0.25, -inf)"
SEEN = {
    FULL: lambda s, t: t >= 0 * s,
    CAUSAL: lambda s, t: t <= s,
    WINDOW: lambda s, t: (t <= s) & (s - t < 100),
}
# How often phases read tiles and write them, where a mask is open and where it is not: the first
# reads scores for a maximum (and writes masked ones), the second reads them and writes weights.
TOUCHED = {True: (2, 1), False: (2, 2)}


class Walk:
    """The loops of generated code, with what every tile moves."""

    def __init__(self, case, sizes, tiles):
        self.case, self.sizes = case, sizes
        self.places = {(t.result, len(t.shape), t.shape[0][1]): t.tier for t in tiles}
        self.fma = 0
        self.moved = Counter()
        self.held = {}  # (tier, what) → which piece of it was touched last

    def run(self):
        c, z = self.case, self.sizes
        rows = -(-c.s // z.block)
        for b, h in product(range(c.b), range(c.h)):
            for base in range(0, c.s, z.super):
                blocks = [i for i in range(rows) if base <= i * z.block < base + z.super]
                spans = {i: self.span(i) for i in blocks}
                some = [x for x in spans.values() if x[1] > x[0]]
                low, high = min(x[0] for x in some), max(x[1] for x in some)
                for start in range(low, high, z.depth):
                    for i in blocks:
                        t0, t1 = max(start, spans[i][0]), min(start + z.depth, spans[i][1])
                        if t0 < t1:
                            self.tile((b, h), base, start, i, t0, t1)
        for tier in ("l1", "l2", "l3"):  # queries and results pass once
            self.moved[tier] += 4 * c.b * c.h * c.s * (c.d + c.e)
        return self

    def span(self, i):
        """First and last position that some row of a block sees, in whole register tiles."""
        seen = self.seen(i).any(0).nonzero()[0]
        low, high = seen[0], seen[-1] + 1
        grain = self.sizes.grain
        return low // grain * grain, min(self.case.t, ceil(high / grain) * grain)

    def seen(self, i):
        c, z = self.case, self.sizes
        s = np.arange(i * z.block, min((i + 1) * z.block, c.s))[:, None]
        return SEEN[c.score](s, np.arange(c.t)[None, :])

    def tile(self, spot, base, start, i, t0, t1):
        c, z = self.case, self.sizes
        n, width = t1 - t0, LANES * 4
        self.fma += 2 * z.block * n * (c.d + c.e)
        for _ in range(0, z.block, z.vectors * LANES):
            for t in range(t0, t1, z.grain):
                self.moved["registers"] += c.d * width * (z.vectors + min(z.grain, t1 - t))
            for e in range(0, c.e, z.contractions[1]):
                some = min(z.contractions[1], c.e - e)
                self.moved["registers"] += width * (n * (z.vectors + some) + some * z.vectors)
        opened = self.seen(i).all(0)[t0:t1].sum()
        for is_open, positions in ((True, opened), (False, n - opened)):
            self.moved["registers"] += 4 * z.block * positions * TOUCHED[is_open][0]
        for tier in ("l1", "l2", "l3"):
            self.stream(tier, spot, base, start, i, t0, t1)
            self.rows(tier)
            self.between(tier, n, opened)

    def far(self, tier, what, axes, extent):
        order = ("l1", "l2", "l3", "memory")
        place = self.places.get((what, axes, extent))
        return place is not None and order.index(place) > order.index(tier)

    def stream(self, tier, spot, base, start, i, t0, t1):
        """k and v, read again unless this tier still has the same block, or all of them."""
        c, z = self.case, self.sizes
        b, h = spot
        whole = (b, h // c.groups)
        for name, each in (("k", 4 * c.d), ("v", 4 * c.e)):
            if not self.far(tier, name, 1, c.t):
                if (tier, name, whole) not in self.held:
                    self.moved[tier] += each * c.t
                    self.held[tier, name, whole] = True
                continue
            again = z.super == z.block or self.far(tier, name, 1, z.depth)
            for t in range(t0, t1):
                key = (tier, name, spot, base, t, i if again else -1)
                if key not in self.held:
                    self.held[key] = True
                    self.moved[tier] += each

    def rows(self, tier):
        c, z = self.case, self.sizes
        state = {"rows of p": c.d, "m": 1, "l": 1, "o": c.e}
        for name, values in state.items():
            if self.far(tier, name, 2, z.super):
                self.moved[tier] += 4 * z.block * values * (1 if name == "rows of p" else 2)

    def between(self, tier, n, opened):
        c, z = self.case, self.sizes
        one = 4 * z.block
        if self.far(tier, "tile 0", 2, z.depth):
            passes = ceil(c.e / z.contractions[1])
            self.moved[tier] += one * n * (1 + passes)
            self.moved[tier] += one * opened * sum(TOUCHED[True])
            self.moved[tier] += one * (n - opened) * sum(TOUCHED[False])
        elif self.far(tier, "p", 2, z.depth):
            self.moved[tier] += one * n * 2


SIZES = [
    Sizes(LANES, LANES, 24, (1, 8), (1, 8)),
    Sizes(4 * LANES, 4 * LANES, 60, (4, 6), (4, 6)),
    Sizes(2 * LANES, 8 * LANES, 36, (2, 12), (2, 8)),
    Sizes(4 * LANES, 64 * LANES, 120, (4, 6), (4, 5)),
    Sizes(3 * LANES, 6 * LANES, 1208, (3, 8), (3, 8)),
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("score", [FULL, CAUSAL, WINDOW], ids=["full", "causal", "window"])
@pytest.mark.parametrize("shape", [(1, 2, 1, 300, 300), (2, 4, 2, 77, 1201)], ids=str)
@pytest.mark.parametrize("caches", [(48, 2048, 9000), (16, 80, 400)], ids=str)
def test_counts_are_those_of_a_walk(score, sizes, shape, caches):
    b, h, groups, s, t = shape
    case = Case(b=b, h=h, groups=groups, s=s, t=t, d=64, e=80, score=score)
    phases = Phases(first(case.kernel))
    l1, l2, l3 = (n << 10 for n in caches)
    host = replace(processor(), l1=l1, l2=l2, l3=l3)
    tiles = placed(phases, sizes, host)
    found = counts(phases, sizes, tiles, host)
    walk = Walk(case, sizes, tiles).run()
    assert found.fma == walk.fma
    assert dict(found.traffic) == dict(walk.moved)


def test_both_orders_of_the_loops_are_candidates():
    kernel = Case(b=2, h=8, s=512, t=512, d=64, e=64, score=CAUSAL).kernel
    tasks = {
        (c.tiling.loops[2].step, c.tiling.loops[4].step) for c in candidates(kernel, processor())
    }
    assert any(task == block for task, block in tasks)  # states stay, the stream passes
    assert any(task >= 512 for task, _ in tasks)  # the stream passes once for all rows


def test_what_a_mask_leaves_empty_is_not_counted():
    host = processor()
    least = {}
    for score in (FULL, CAUSAL, WINDOW):
        kernel = Case(s=1024, t=1024, d=64, e=64, score=score).kernel
        least[score] = min(c.counts.fma for c in candidates(kernel, host))
    assert least[CAUSAL] < 0.55 * least[FULL] and least[WINDOW] < 0.2 * least[FULL]


def test_masks_of_narrow_numbers_are_seen_through():
    narrow = "to_f32(where(t <= s, to_bf16(%p) * 0.25, -inf))"
    host = processor()
    wide, found = (
        min(c.counts.fma for c in candidates(Case(s=512, t=512, score=x).kernel, host))
        for x in (CAUSAL, narrow)
    )
    assert found == wide


def test_a_product_alone_is_of_another_class():
    kernel = Case().kernel
    assert accepts(kernel) == ""
    assert (
        accepts(replace(kernel, stages=kernel.stages[:1]))
        == "no contraction feeds the fold and none is in it"
    )


def test_a_scan_is_of_another_class():
    kernel = Case(form="passes").kernel
    scanned = replace(kernel.stages[2], kind="scan")
    assert "scan" in accepts(replace(kernel, stages=(*kernel.stages[:2], scanned)))
