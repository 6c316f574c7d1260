"""The timeline of a simulation: rows appended while the clock runs, read with NumPy afterwards.

A row is a run of decode steps or one step with prefill.  Rows are folded every so often into the
histograms and the timeline, so that memory does not grow with the number of steps.
"""

from __future__ import annotations

from array import array
from operator import add
from struct import pack

import numpy as np
from numpy.typing import NDArray

from maquette.serve.clock import HALF, QUANTA
from maquette.serve.types import Segments

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# lane, start, time taken, steps, sequences that decode, sequences in the batch, prefill tokens,
# first step's time, waiting, blocks in use; times in quanta
COLUMNS = 10
FOLD = COLUMNS << 15  # numbers between folds

# Bins of gaps between tokens: 1 us to 10,000 s, each 1 % wide, and one below.
GAP_EDGES_NS: Floats = np.concatenate([[0.0], 1e3 * 1.01 ** np.arange(2316)])


class Timeline:
    """What happened so far."""

    def __init__(self, lane_replica: list[int], max_tokens: int, max_seqs: int, cap: int) -> None:
        self.rows: list[int] = []  # integers of any size: packed when folded
        self.odd_gaps = array("d")  # (gap in quanta, count) pairs; counts may be negative
        self.gap_counts = np.zeros(len(GAP_EDGES_NS) - 1, np.int64)
        self.steps_by_tokens = np.zeros(max_tokens + 1, np.int64)
        self.steps_by_seqs = np.zeros(max_seqs + 1, np.int64)
        self.steps = 0
        self.events = 0
        self.end_ns = 0
        self.busy = [0] * (max(lane_replica) + 1)  # quanta of each replica, lanes added up
        self._owner = list(lane_replica)
        self._replica = np.array(lane_replica, np.int64)
        self._stretches: list[Floats] = []
        self._halvings = 0
        self._cap = cap

    def fold(self) -> None:
        """Move the rows into the histograms and the timeline."""
        self._sum(self.rows[0::COLUMNS], self.rows[1::COLUMNS], self.rows[2::COLUMNS])
        rows = np.frombuffer(pack(f"{len(self.rows)}d", *self.rows)).reshape(-1, COLUMNS).copy()
        odd = np.frombuffer(self.odd_gaps, np.float64).reshape(-1, 2).copy()
        self.rows.clear()
        del self.odd_gaps[:]
        rows[:, (1, 2, 7)] /= QUANTA
        odd[:, 0] /= QUANTA
        _, _, took, steps, live, seqs, prefill, first, _, _ = rows.T
        self.events += len(rows)
        self.steps += int(steps.sum())
        _tally(self.steps_by_tokens, np.where(prefill > 0, live + prefill, seqs), steps)
        _tally(self.steps_by_seqs, seqs, steps)
        _count_gaps(self.gap_counts, first, _rise(took, steps, first), steps, live)
        once = np.ones(len(odd))
        _count_gaps(self.gap_counts, odd[:, 0], 0 * once, once, odd[:, 1])
        self._extend(_as_segments(rows, self._replica))

    def _sum(self, lanes: list[int], starts: list[int], took: list[int]) -> None:
        """Busy time and the end, in whole quanta: the same whatever the rows are cut into."""
        for lane, time in zip(lanes, took, strict=True):
            self.busy[self._owner[lane]] += time
        end = max(map(add, starts, took), default=0)
        self.end_ns = max(self.end_ns, (end + HALF) // QUANTA)

    def _extend(self, segments: Floats) -> None:
        for _ in range(self._halvings):
            segments = _halved(segments)
        self._stretches.append(segments)
        if sum(map(len, self._stretches)) > 2 * self._cap:
            self._stretches = [_halved(np.concatenate(self._stretches))]
            self._halvings += 1

    def segments(self) -> Segments:
        """The timeline, at most `cap` stretches, by start and then replica."""
        rows = np.concatenate([np.zeros((0, 8)), *self._stretches])
        least = max(self._cap, len(np.unique(rows[:, 0])))
        while len(rows) > least:
            rows = _halved(rows)
        rows = np.rint(rows[np.lexsort((rows[:, 0], rows[:, 1]))]).astype(np.int64)
        return Segments(*(np.ascontiguousarray(column) for column in rows.T))


def _tally(counts: Ints, index: Floats, weight: Floats) -> None:
    found = np.bincount(index.astype(np.int64), weights=weight, minlength=len(counts))
    counts += np.rint(found).astype(np.int64)


def _rise(took: Floats, steps: Floats, first: Floats) -> Floats:
    """How much longer each step of a run is than the one before: times rise linearly."""
    excess = np.where(steps > 1, took - steps * first, 0.0)
    rise = 2 * excess / np.where(steps > 1, steps * (steps - 1), 1.0)
    flat: Floats = np.where(rise * steps > 1e-9 * first, rise, 0.0)
    return flat


def _count_gaps(counts: Ints, first: Floats, rise: Floats, steps: Floats, weight: Floats) -> None:
    """Add to the bins `weight` gaps each of first, first + rise, ... (`steps` of them)."""
    low = np.searchsorted(GAP_EDGES_NS, first, "right") - 1
    high = np.searchsorted(GAP_EDGES_NS, first + rise * (steps - 1), "right") - 1
    top = len(counts) - 1
    one = high == low
    _tally(counts, np.minimum(low[one], top), (weight * steps)[one])
    spread = np.flatnonzero(~one)
    bins = (high - low + 1)[spread]
    row = np.repeat(spread, bins)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(bins) - bins, bins)
    bin_ = low[row] + nth
    upper = np.append(GAP_EDGES_NS, np.inf)[bin_ + 1]
    under = np.clip(np.ceil((upper - first[row]) / rise[row]), 0, steps[row])  # gaps below `upper`
    under = np.where(bin_ == high[row], steps[row], under)
    before = np.where(nth == 0, 0, np.roll(under, 1))
    _tally(counts, np.minimum(bin_, top), weight[row] * (under - before))


def _as_segments(rows: Floats, replica: Ints) -> Floats:
    """Columns of Segments from rows of the timeline, by replica and then start."""
    lane, start, took, steps, _, seqs, prefill, _, waiting, blocks = rows.T
    owner = replica[lane.astype(np.int64)]
    columns = [owner, start, start + took, steps, seqs, waiting, prefill, blocks]
    return np.column_stack(columns)


def _halved(rows: Floats) -> Floats:
    """Join neighbours of the same replica pair by pair.

    Steps and prefill tokens add up; sequences and waiting are averaged over the joint time; blocks
    are those at the end.
    """
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    nth = np.arange(len(rows)) - np.searchsorted(rows[:, 0], rows[:, 0])
    left = np.flatnonzero((nth[:-1] % 2 == 0) & (rows[:-1, 0] == rows[1:, 0]))
    a, b = rows[left], rows[left + 1]
    joint = b.copy()
    joint[:, 1] = a[:, 1]
    joint[:, 2] = np.maximum(a[:, 2], b[:, 2])
    joint[:, (3, 6)] += a[:, (3, 6)]
    spans = [(x[:, 2] - x[:, 1])[:, None] for x in (a, b, joint)]
    area = a[:, 4:6] * spans[0] + b[:, 4:6] * spans[1]
    joint[:, 4:6] = area / np.maximum(spans[2], 1e-9)
    rows[left] = joint
    return np.delete(rows, left + 1, axis=0)
