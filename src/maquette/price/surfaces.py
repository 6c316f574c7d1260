"""What single kernels take: functions of shape, machine and a few constants; arrays at once.

One place for the steps of an engine (`price.seconds`) and for rows of measured kernels
(`validate.kernels`).  Nothing here beats the speed of light of the machine's stated peaks.

- A **product** is cut into tiles that run in waves over the machine's units: the last wave is
  rarely full, small tiles reach less of the peak (they use an operand less often), a unit that
  fills its pipeline or writes a tile computes nothing, and with fewer tiles than units the depth
  is split.  The tile is the one that takes least.
- A unit draws only so many bytes per second (those in flight over the latency of memory), so a
  kernel that keeps few units busy does not saturate memory, and the last-level cache gives all
  units together no more than that.
- **Prefill attention** pays for keys that a row of queries does not see (tiles on the diagonal,
  prologue) and, beside the products, for the softmax; **decode attention** for filling and
  draining, however short the context, and where outputs are wide for joining its parts.

Tiles and split depths are those that libraries choose from (CUTLASS, "Efficient GEMM in CUDA";
Stream-K, arXiv 2301.03598; FlashAttention-2, arXiv 2307.08691).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from maquette.machines.facts import bandwidth, capacity
from maquette.machines.types import Machine
from maquette.price.calibration import Calibration
from maquette.price.rates import vector_peak

TILES = ((256, 128), (128, 128))  # rows × columns of an output, beside a narrow one for few rows
NARROW, ROWS = 64, 16.0  # columns of that, and at most rows; rows of one instruction
BETWEEN = 0.5  # of a last wave's waste is saved by tiles of other sizes, which libraries have
SPLIT_DEPTH = 4096.0  # a product is not split into parts less deep than this
QUERIES = 128.0  # rows of a tile of prefill attention
TILE = 64.0  # … of decode attention: of what one instruction multiplies (FlashMLA, WGMMA)
SOFTMAX = 4.0  # operations of a pair: less the largest, exponential, times a value's share, added
EXPONENTIALS = 5.5e10  # of a unit per second: 16 a cycle of 1.7 GHz, twice, as half is hidden
RAMP = 0.125  # megabytes a unit draws alone while decode attention fills: 256 tokens of 512 bytes
MEGABYTE = 1e6


class Pair(NamedTuple):
    """Seconds a kernel keeps the matrix engines and the memory; they overlap."""

    matrix: Any
    memory: Any

    @property
    def longest(self) -> Any:
        return np.maximum(self.matrix, self.memory)


def product(
    machine: Machine,
    cal: Calibration,
    peak: Any,
    rows: Any,
    columns: Any,
    depth: Any,
    nbytes: Any,
    groups: Any = None,
    near: Any = 0.0,
    even: bool = False,
) -> Pair:
    """Seconds of ``groups`` products of ``rows × depth`` by ``depth × columns`` in one kernel.

    `peak` is in flop/s of the whole machine, `near` the part of `nbytes` that is in the last-level
    cache already.  Of several groups `rows` is a mean, unless they are `even`: each fills half a
    tile more than it needs.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.price.calibration import first_principles
    >>> h100 = machine("h100")
    >>> cal = first_principles("h100-sxm", "any")
    >>> full, spilled = (product(h100, cal, 989e12, 128 * n, 128, 8192, 1e6) for n in (132, 133))
    >>> bool(spilled.matrix > 1.2 * full.matrix)  # one tile more is another wave
    True
    """
    flops = 2.0 * rows * columns * depth * (1.0 if groups is None else groups)
    if cal.ideal:
        return Pair(flops / peak, nbytes / float(bandwidth(machine)))
    parts = units(machine)
    # Of the depth, the least that a part of it has; kernels of several groups do not split it.
    shallow = np.minimum(1.0, SPLIT_DEPTH / depth) if groups is None else 1.0
    reached = peak * cal["matrix"] * (1.0 if groups is None else cal["grouped"])
    each = 2.0 * parts * depth / reached  # seconds for a point of the output
    # And to fill the pipeline and write it, in two bytes, while the unit computes nothing.
    stored = 2.0 * 2.0 / _each(machine, cal["draw"]) if parts > 1 else 0.0
    half, most = cal["rows"], TILES[0][0] * TILES[0][1] / sum(TILES[0])
    best: Any = np.inf
    for tall, wide in (*TILES, (_short(rows, groups, even), NARROW)):
        tiles = _down(rows, tall, groups, even) * np.ceil(columns / wide)
        filled = (tiles if groups is None else tiles * groups) / parts
        split = np.maximum(filled, np.minimum(shallow, filled * parts))
        waves = np.where(filled < 0.5, split, BETWEEN * filled + (1 - BETWEEN) * np.ceil(filled))
        # An operand is used rows · columns / (rows + columns) times a load: `half` of it is half.
        area = tall * wide
        spent = waves * (area + half * (tall + wide)) * (each / (1 + half / most))
        # A part of a split tile is as large as the tile.
        best = np.minimum(best, spent + np.maximum(waves, 1.0) * (area * stored))
    # Who reads the larger operand: units that read the same part of it find it in the cache.
    busy = np.maximum(np.ceil(columns / NARROW), np.ceil(rows / NARROW)) / shallow
    busy = busy if groups is None else busy * groups
    return Pair(best, stream(machine, cal["memory"], cal["draw"], nbytes, busy, near))


def _short(rows: Any, groups: Any, even: bool) -> Any:
    """Rows of a tile for few of them: a multiple of what one instruction takes."""
    if groups is None or even:
        return np.clip(ROWS * np.ceil(rows / ROWS), ROWS, NARROW)
    return np.clip(rows + ROWS / 2, ROWS, NARROW)


def _down(rows: Any, tall: Any, groups: Any, even: bool) -> Any:
    """Tiles one below another; without rows the weights are read all the same."""
    if groups is None or even:
        return np.maximum(np.ceil(rows / tall), 1.0)
    wasted = tall / 2 if isinstance(tall, int) else ROWS / 2
    return np.maximum((rows + wasted) / tall, 1.0)


def stream(
    machine: Machine, reached: float, draw: float, nbytes: Any, busy: Any = None, near: Any = 0.0
) -> Any:
    """Seconds to move `nbytes` with `busy` units at work, `near` of them from the cache.

    `reached` is a fraction of the memory's bandwidth, `draw` seconds a megabyte takes one unit.
    """
    main = float(bandwidth(machine))
    parts = units(machine)
    if busy is None:  # as many as there are
        return nbytes / (main * reached)
    if parts <= 1 or np.all(draw == 0.0):
        return nbytes / (main * reached)
    each = _each(machine, draw)
    together = np.clip(busy, 1.0, parts) * each
    far = np.minimum(main * reached, together)
    if np.all(np.asarray(near) == 0.0):
        return nbytes / far
    return (nbytes - near) / far + near / together


def _each(machine: Machine, draw: Any) -> Any:
    """Bytes per second that one unit draws: its share of the memory's at least."""
    return np.maximum(MEGABYTE / draw, float(bandwidth(machine)) / units(machine))


def resident(machine: Machine, nbytes: Any) -> Any:
    """Of the operands of a kernel that runs again and again, the bytes its cache still holds.

    All up to half of the last-level cache, none beyond one and a half of it: between kernels of a
    step others come, and nothing of the weights is left.
    """
    held = cache(machine)
    return nbytes * np.clip(1.5 - nbytes / held, 0.0, 1.0) if held else 0.0 * nbytes


def prefill(
    machine: Machine,
    cal: Calibration,
    peak: float,
    heads: Any,
    dim: Any,
    pairs: Any,
    tokens: Any,
    nbytes: Any,
    longest: Any = 0.0,
) -> Pair:
    """Seconds of attention of prompts of `tokens` tokens, with `pairs` of queries and keys.

    `longest` is the keys that a tile of queries of the longest sequence sees: one unit's work.
    """
    if cal.ideal:
        return Pair(4.0 * heads * dim * pairs / peak, nbytes / float(bandwidth(machine)))
    each = 4.0 * dim / (peak * cal["attention"]) + softmax(machine, cal)
    paid = heads * (pairs + cal["keys"] * tokens)
    return Pair(
        each * np.maximum(paid, longest * QUERIES * units(machine)),
        nbytes / (float(bandwidth(machine)) * cal["memory"]),
    )


def softmax(machine: Machine, cal: Calibration) -> float:
    """Seconds a query-key pair of a head takes beside its products, which it hardly overlaps.

    Exponentials set it: a unit evaluates some 16 a cycle (NVIDIA and AMD, special function units),
    an eighth of its other arithmetic.  FlashAttention-3 at head sizes of 64, 128 and 256 fits a
    constant time per pair, 2.4e-13 s on an H100.
    """
    parts = units(machine)
    rate = max(parts * EXPONENTIALS if parts > 1 else 0.0, vector_peak(machine) / 8)
    return 1.0 / (rate * cal["vector"])


def ramp(cal: Calibration) -> float:
    """Seconds that attention takes to fill and drain, whatever it attends to."""
    return RAMP * cal["draw"]


def joined(machine: Machine, cal: Calibration, sequences: Any, rows: Any, width: Any) -> Any:
    """Seconds to put together the outputs of decode attention that is cut between units.

    Each of `sequences` has `rows` queries that read one cache, tile by tile of `TILE` rows, and
    outputs of `width`.  Units get equal shares of all of it, so that each ends where the next one
    begins: it leaves a partial output, in four bytes, that is written and read again.  Of outputs
    as wide as latents (512) that is as much as hundreds of tokens of cache.
    """
    if cal.ideal:
        return np.asarray(sequences) * 0.0
    tiles = np.ceil(rows / TILE)
    tasks = np.asarray(sequences) * tiles
    pieces = units(machine) * (1.0 + np.minimum(1.0, tasks / units(machine))) * (tasks > 0)
    nbytes = 2.0 * 4.0 * pieces * (rows / tiles) * width
    near = resident(machine, nbytes / 2.0) * 2.0
    return stream(machine, cal["kv"], cal["draw"], nbytes, pieces, near)


def units(machine: Machine) -> float:
    """Units that tiles are dealt out to; 1 where a machine file states none: no waves then."""
    fact = machine.compute.units
    return float(fact.value) if fact is not None else 1.0


def cache(machine: Machine) -> float:
    """Bytes of the last-level cache, the tier before the main one; 0 where none is stated.

    >>> from maquette.catalogue.machines import machine
    >>> cache(machine("h100")) / 1e6
    52.4
    """
    nearer = list(machine.tiers)[: list(machine.tiers).index(machine.main)]
    known = [n for n in nearer if machine.tiers[n].capacity is not None]
    return float(capacity(machine, known[-1])) if known else 0.0
