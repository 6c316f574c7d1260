"""The decoding sequences of a lane, and a run of their steps in closed form.

Between two changes of the batch every sequence's context grows by one token a step, so the time of
step j of a run is affine in j: ``first + rise * j``.  What bounds a run besides the outside world:
the next sequence to finish, a sequence whose context reaches an attention window, the next piece
of the price to bind (the floor of a step is the first), and the cache's room.  All of these are
found from a few sums and heaps keyed by `tick`, the number of decode steps so far; no sequence is
touched by a run.
"""

from __future__ import annotations

from array import array
from heapq import heappop, heappush
from math import sqrt

import numpy as np

from maquette.serve.costs import ENDLESS, AttentionCost, Costs
from maquette.serve.sequence import RID, RID_BITS, Seq


class Windowed:
    """The contexts of the decoding sequences, clipped at the window of one attention class."""

    __slots__ = ("_crossings", "_within", "clipped", "cost", "total", "within")

    def __init__(self, cost: AttentionCost) -> None:
        self.cost = cost
        self.within = 0  # sequences whose context still grows
        self.total = 0  # sum of their bases
        self.clipped = 0
        self._within: dict[int, int] = {}  # base by request
        self._crossings: list[int] = []  # tick and request

    def join(self, seq: Seq, tick: int) -> None:
        """A sequence is clipped once ``base + tick + 1``, its context, exceeds the window."""
        crossing = self.cost.window - seq.base
        if crossing <= tick:
            self.clipped += 1
            return
        self.within += 1
        self.total += seq.base
        self._within[seq.rid] = seq.base
        heappush(self._crossings, crossing << RID_BITS | seq.rid)

    def leave(self, seq: Seq) -> None:
        if seq.rid in self._within:
            self.within -= 1
            self.total -= self._within.pop(seq.rid)
        else:
            self.clipped -= 1

    def cross(self, tick: int) -> int:
        """Clip what has crossed by `tick`; the steps to the next crossing."""
        crossings = self._crossings
        while crossings:
            at, rid = crossings[0] >> RID_BITS, crossings[0] & RID
            live = self._within.get(rid) == self.cost.window - at
            if live and at > tick:
                return at - tick
            heappop(crossings)
            if live:
                self.within -= 1
                self.total -= self._within.pop(rid)
                self.clipped += 1
        return ENDLESS


class Decoders:
    """Sums over the decoding sequences of one lane."""

    __slots__ = (
        "_block_size",
        "_costs",
        "_full",
        "_stale",
        "_windowed",
        "active",
        "finishes",
        "first",
        "n",
        "phases",
        "rise",
        "stays",
        "tick",
        "total",
    )

    def __init__(self, costs: Costs, block_size: int) -> None:
        self._costs = costs
        self._block_size = block_size
        self._full = tuple(a for a in costs.attention if a.window == 0)
        self._windowed = tuple(Windowed(a) for a in costs.attention if a.window)
        self.tick = 0
        self.n = 0
        self.total = 0  # sum of bases: the contexts of the next step sum to total + n * (tick + 1)
        self.active: dict[int, Seq] = {}
        self.finishes: list[int] = []  # finish tick and request; the first is of an active one
        self._stale = 0  # how many of them have left
        self.phases = [0] * block_size  # sequences that need a block at ticks of each residue
        self.stays = array("q")  # of those that left: tokens in the cache, decode steps
        self.first = 0  # quanta of the first step of the planned run
        self.rise = 0  # by which each further step is longer

    def join(self, seq: Seq, cached: int, ahead: int = 0) -> None:
        """`seq`, with `cached` tokens in the cache, decodes from the next tick.

        `ahead` is 1 when its block for the step being formed is allocated already.
        """
        tick, size, rid = self.tick, self._block_size, seq.rid
        base = seq.base = cached - tick
        finish = seq.finish = tick + seq.output - seq.generated
        self.n += 1
        self.total += base
        self.active[rid] = seq
        self.phases[-base % size] += 1
        seq.blocks -= -(-(cached + ahead) // size)  # from here on they follow the tick
        heappush(self.finishes, finish << RID_BITS | rid)
        for windowed in self._windowed:
            windowed.join(seq, tick)

    def leave(self, seq: Seq, ahead: int = 0) -> None:
        """`seq` leaves before its last token.

        `ahead` is 1 when its block for the step being formed is allocated.
        """
        self._remove(seq, ahead)
        self._stale += 1
        self._skip_stale()

    def _remove(self, seq: Seq, ahead: int) -> None:
        base, tick, size = seq.base, self.tick, self._block_size
        self.n -= 1
        self.total -= base
        del self.active[seq.rid]
        self.phases[-base % size] -= 1
        tokens = seq.computed = base + tick
        seq.blocks += -(-(tokens + ahead) // size)
        generated = seq.output - seq.finish + tick
        self.stays.extend((tokens, generated - seq.generated))
        seq.generated = generated
        for windowed in self._windowed:
            windowed.leave(seq)

    def finished(self) -> list[Seq]:
        """The sequences whose last token has come, by request."""
        found: list[Seq] = []
        finishes, due = self.finishes, (self.tick + 1) << RID_BITS
        while finishes and finishes[0] < due:
            seq = self.active[heappop(finishes) & RID]
            found.append(seq)
            self._remove(seq, 0)
            if self._stale:
                self._skip_stale()
        return found

    def _skip_stale(self) -> None:
        """Forget the first finishes as long as they are of sequences that have left."""
        finishes, active = self.finishes, self.active
        while finishes:
            entry = finishes[0]
            seq = active.get(entry & RID)
            if seq is not None and seq.finish == entry >> RID_BITS:
                return
            heappop(finishes)
            self._stale -= 1

    def growth(self, skip: int, steps: int) -> int:
        """Blocks needed by `steps` steps from the one `skip` ticks ahead."""
        size = self._block_size
        rounds, rest = divmod(steps, size)
        start = (self.tick + skip) % size
        end = start + rest
        need = rounds * self.n + sum(self.phases[start:end])
        return need + sum(self.phases[: end - size]) if end > size else need

    def room(self, available: int, steps: int) -> int:
        """How many of `steps` steps fit in `available` blocks, the first one having its own."""
        n, size = self.n, self._block_size
        if n * (steps // size + 1) <= available or self.growth(1, steps - 1) <= available:
            return steps
        rounds = available // n
        left, fit = available - rounds * n, rounds * size + 1
        while True:
            left -= self.phases[(self.tick + fit) % size]
            if left < 0:
                return fit
            fit += 1

    def attention(self) -> int:
        """Quanta of the next step's decode attention."""
        if not self.n:
            return 0
        n, tick, time = self.n, self.tick, 0
        total = self.total + n * (tick + 1)
        for cost in self._full:
            time += cost.decode(n, total)
        for windowed in self._windowed:
            windowed.cross(tick)
            time += windowed.cost.decode(n, _context(windowed, tick))
        return time

    def plan(self, rows: int) -> int:
        """Price the next step and its successors, `rows` sequences in the batch.

        Sets `first` and `rise`; returns the number of steps for which they hold.
        """
        n, tick = self.n, self.tick
        first = self._costs.tokens[rows] + self._costs.seqs[rows]
        rise, steps = 0, (self.finishes[0] >> RID_BITS) - tick
        total = self.total + n * (tick + 1)
        for cost in self._full:
            upto, at, slope = cost.piece(n, total)
            first += at + slope * total
            rise += slope * n
            if upto < ENDLESS:
                steps = min(steps, (upto - total) // n + 1)
        for windowed in self._windowed:
            steps = min(steps, windowed.cross(tick))
            total = _context(windowed, tick)
            grows = windowed.within
            upto, at, slope = windowed.cost.piece(n, total)
            first += at + slope * total
            rise += slope * grows
            if upto < ENDLESS and grows:
                steps = min(steps, (upto - total) // grows + 1)
        least = self._costs.decoding[rows]
        if first < least:
            if rise:
                steps = min(steps, (least - first) // rise + 1)
            first, rise = least, 0
        self.first, self.rise = first, rise
        return steps

    def time(self, steps: int) -> int:
        """Quanta of the first `steps` steps of the planned run."""
        return steps * self.first + self.rise * (steps * (steps - 1) // 2)

    def steps_until(self, wait: int) -> int:
        """The least number of steps, at least one, of the planned run that take `wait` or more."""
        first, rise = self.first, self.rise
        if wait <= first:
            return 1
        level = first - rise / 2
        steps = int(2 * wait / (level + sqrt(level * level + 2.0 * rise * wait))) or 1
        # The square root is good to a step or so; the rest is exact.
        while steps * first + rise * (steps * (steps - 1) // 2) < wait:
            steps += 1
        while steps > 1 and self.time(steps - 1) >= wait:
            steps -= 1
        return steps

    def context_read(self, window: int) -> int:
        """Sum over decode steps so far, of those that left, of contexts clipped at `window`."""
        stays = np.frombuffer(self.stays, np.int64).reshape(-1, 2)
        tokens, steps = stays[:, 0], stays[:, 1]
        beyond = np.clip(tokens - window, 0, steps) if window else 0 * steps
        grown = steps - beyond  # steps before the window was reached
        last = tokens - beyond
        total = grown * last - grown * (grown - 1) // 2 + beyond * window
        return int(total.sum())


def _context(windowed: Windowed, tick: int) -> int:
    """The clipped contexts of the next step, summed."""
    grown = windowed.total + windowed.within * (tick + 1)
    return grown + windowed.clipped * windowed.cost.window
