"""A machine that is simulated tile by tile, to make kernel rows no formula of ours has made.

Units take work from a queue.  A product is a list of tiles; a tile is a prologue, steps along the
depth, each as long as its slowest of multiply, cache and memory at the contention of its wave, and
a store.  The library picks among many tiles and splits by an estimate that is off by some percent.
Attention is a list of query tiles with as many key tiles as their masks leave, handed out longest
first.  Routing of experts is drawn.  Timings scatter, and another version of the library has other
efficiencies.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

TILES = [(256, 128), (128, 256), (192, 128), (128, 160), (128, 128), (128, 96), (128, 64),
         (64, 256), (64, 128), (64, 64), (32, 128), (16, 128), (16, 64)]  # fmt: skip


@dataclass(frozen=True)
class Gpu:
    """Facts, and what no data sheet says."""

    units: int
    peak: float  # flop/s
    exps: float  # exponentials per second
    memory: float  # bytes per second, as stated
    l2: float  # bytes
    l2_rate: float  # bytes per second, of all units
    seed: int = 0
    issue: float = 0.86  # of its peak that a unit's best tile issues
    dram: float = 0.91
    launch: float = 2.4e-6
    prologue: float = 0.9e-6
    unit_rate: float = 55e9  # bytes per second in flight

    def clock(self, version: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, version])


H100 = Gpu(132, 989e12, 3.9e12, 3.35e12, 50e6, 9.5e12, unit_rate=70e9)
A100 = Gpu(108, 312e12, 2.4e12, 2.04e12, 40e6, 4.2e12, seed=1, issue=0.88, dram=0.88)


def efficiencies(gpu: Gpu, version: int) -> dict[tuple[int, int], float]:
    """What of the peak each tile issues: larger is better, with luck of the compiler."""
    rng = gpu.clock(version)
    return {t: gpu.issue * (t[0] * t[1] / (t[0] * t[1] + 2600)) * np.exp(rng.normal(0, 0.02))
            for t in TILES}  # fmt: skip


def tile_seconds(gpu, eff, tile, depth, each, busy, cold_share):
    """One tile among `busy` running ones; `cold_share` of what it loads comes from memory."""
    tall, wide = tile
    steps = -(-depth // 64)
    multiply = 2 * tall * wide * 64 / (gpu.peak / gpu.units * eff[tile])
    loaded = (tall + wide) * 64 * each
    cache = loaded / min(gpu.unit_rate * 2.2, gpu.l2_rate / busy)
    memory = loaded * cold_share / min(gpu.unit_rate, gpu.memory * gpu.dram / busy)
    slowest = max(multiply, cache, memory)
    return gpu.prologue + steps * slowest + tall * wide * 2 / (gpu.unit_rate * 1.6)


def run_tiles(gpu, eff, tile, counts, wide_tiles, depth, each, warm):
    """Seconds of waves of tiles: `counts` row tiles of each group, over all columns."""
    total = sum(counts) * wide_tiles
    done, took = 0, 0.0
    while done < total:
        busy = min(gpu.units, total - done)
        rows = min(busy, max(1, round(busy / wide_tiles)))
        columns = -(-busy // rows)
        unique = (
            rows * tile[0]
            + min(columns * max(1, len(counts) * busy // max(total, 1)), busy) * tile[1]
        )
        share = min(1.0, unique / (busy * (tile[0] + tile[1]))) * (1 - warm)
        took += tile_seconds(gpu, eff, tile, depth, each, busy, share)
        done += busy
    return took


def product(gpu, m, n, k, version=0, rows=None, each=2.0):
    """Seconds of a product, or of several that share a kernel (`rows` of each)."""
    eff, rng = efficiencies(gpu, version), np.random.default_rng([m, n, k, version])
    held = (m * k + k * n * (len(rows) if rows else 1)) * each
    warm = float(np.clip(1.4 - held / gpu.l2, 0.0, 0.95)) if rows is None else 0.0
    found = []
    for tile in TILES:
        counts = [-(-r // tile[0]) for r in rows] if rows else [-(-m // tile[0])]
        across = -(-n // tile[1])
        for split in (1, 2, 4):
            if split > 1 and (sum(counts) * across * split > gpu.units or k / split < 512 or rows):
                continue
            took = run_tiles(gpu, eff, tile, counts, across * split, k // split, each, warm)
            took += (split > 1) * (1.5e-6 + m * n * 4 * split / gpu.l2_rate)
            found.append((took * np.exp(rng.normal(0, 0.03)), took))
    floor = (1 - warm) * held / (gpu.memory * gpu.dram)
    return gpu.launch + max(min(found)[1], floor)


def queue(units, jobs):
    """When the last of `jobs` ends, handed out longest first."""
    free = [0.0] * units
    for job in sorted(jobs, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + job)
    return max(free)


def prefill(gpu, batch, new, past, heads, kv_heads, dim, version=0):
    """Causal attention of prompts, query tiles of 128 rows against key tiles of 128."""
    rng = gpu.clock(version + 7)
    eff = 0.78 * np.exp(rng.normal(0, 0.05))
    multiply = 4 * 128 * 128 * dim / (gpu.peak / gpu.units * eff)
    exponentials = 128 * 128 / (gpu.exps / gpu.units)
    step = max(multiply, exponentials) + 0.55 * min(multiply, exponentials)
    jobs = []
    for i in range(-(-new // 128)):
        keys = -(-(past + min(new, (i + 1) * 128)) // 128)
        jobs.append(2.2e-6 + keys * step)
    if batch * heads * len(jobs) > 40 * gpu.units:  # many: the mean is the queue
        return gpu.launch + batch * heads * sum(jobs) / gpu.units * 1.01
    return gpu.launch + queue(gpu.units, jobs * (batch * heads))


def decode(gpu, batch, context, heads, kv_heads, dim, version=0):
    """One query a sequence: the cache is streamed, split so that units are busy."""
    rng = gpu.clock(version + 11)
    per = batch * kv_heads
    split = max(1, min(-(-context // 256), gpu.units * 2 // per if per < gpu.units * 2 else 1))
    pieces = per * split
    nbytes = 4.0 * dim * -(-context // split)
    took = 0.0
    while pieces > 0:
        busy = min(pieces, gpu.units * 2)
        rate = min(gpu.unit_rate * 0.8, gpu.memory * gpu.dram * 0.95 / busy)
        took += 0.8e-6 + nbytes / rate
        pieces -= busy
    combine = (split > 1) * (2.0e-6 + 4.0 * per * split * dim / gpu.l2_rate)
    return gpu.launch + (took + combine) * np.exp(rng.normal(0, 0.03))


def experts(gpu, tokens, hidden, inter, total, topk, version=0):
    """Fused gated experts: sorting, two grouped products and a sum, for one draw of routing."""
    rng = np.random.default_rng([tokens, hidden, inter, total, version])
    chosen = rng.random((min(tokens, 4096), total)).argpartition(topk, axis=1)[:, :topk]
    loads = np.bincount(chosen.ravel(), minlength=total) * max(1, tokens / 4096)
    rows = [int(x) for x in loads if x > 0]
    sort = 4e-6 + tokens * topk * 1.2e-9
    up = product(gpu, tokens, 2 * inter, hidden, version, rows) * 1.12
    down = product(gpu, tokens, hidden, inter, version, rows) * 1.12
    return sort + up + down + tokens * topk * hidden * 4 / (gpu.memory * gpu.dram)


def noisy(seconds: float, *shape: int) -> float:
    """A timing of it: 2 % scatter."""
    return float(seconds * np.exp(np.random.default_rng([*shape, 99]).normal(0, 0.02)))
