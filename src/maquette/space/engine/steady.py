"""Periods that repeat are counted, not simulated.

What happens next depends on the state of a network relative to the time of the next firing: phases,
tokens and free slots of queues, when each is there.  Times before that firing are all alike.  So
where a state comes again, everything since comes again too, until a source ends or a long run of
equal firings does: as many periods as fit are added at once.  A period must be seen twice with the
same account of cycles, since how long a node has already waited is no part of the state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from maquette.space.engine.actors import Plan
from maquette.space.engine.state import Numbers, OfActor, OfQueue, OfTier, State
from maquette.space.engine.types import Tier

FIRINGS = 1024  # between two looks at the state, to begin with
_FRUITLESS = 64  # looks after which they become rarer
_KEPT = 4096  # states

_TIMES = (OfActor.FREE, OfActor.END)
_COUNTED = [
    int(c) for c in OfActor if c not in (*_TIMES, OfActor.PHASE, OfActor.NOTED, OfActor.STRIDE)
]


class Advance(Protocol):
    """A loop: fires until nothing can, some firings are done, or a marked actor begins anew.

    Returns when the next firing starts, -1 where there is none; and which marked actor began anew.
    """

    def __call__(self, state: State, firings: int, marks: Numbers) -> tuple[int, int]: ...


def run(advance: Advance, plan: Plan, tiers: Sequence[Tier], state: State) -> int:
    """Run to the end; how many cycles were skipped.  Changes `state`."""
    watch = _Watch(plan, tiers, state)
    pace, looks, skipped = max(FIRINGS, len(state.arrive)), 0, 0
    while True:
        now, mark = advance(state, pace, (watch.cycle * 4 >= pace).astype(np.int64))
        if now < 0:
            return skipped
        before = state.firings
        skipped += watch.skip(state, now, mark)
        looks += 1
        if state.firings - before > _FRUITLESS * pace:
            pace, looks = max(FIRINGS, len(state.arrive)), 0
        elif looks >= _FRUITLESS:
            pace, looks = pace * 2, 0


@dataclass(frozen=True)
class _Seen:
    """The counters of a state when it was last met, and what was added to them since before."""

    counters: Numbers
    added: Numbers | None


class _Watch:
    """States met so far."""

    def __init__(self, plan: Plan, tiers: Sequence[Tier], state: State) -> None:
        runs = [a.runs for a in plan.actors]
        self.cycle = np.array([sum(r.times for r in phases) for phases in runs], np.int64)
        self._long = self.cycle >= FIRINGS // 16
        self._limit = np.array([a.firings for a in plan.actors], np.int64)
        self._parts = np.array([t.rate.numerator for t in tiers], np.int64)
        self._slots = np.diff(state.offsets)
        self._queue = np.repeat(np.arange(len(plan.queues)), self._slots)
        self._place = np.arange(len(self._queue)) - state.offsets[self._queue]
        self._met: dict[bool, dict[bytes, _Seen]] = {True: {}, False: {}}  # by whether marked

    def skip(self, state: State, now: int, mark: int) -> int:
        """Add all the periods that surely follow, where one is known; cycles added."""
        key = self._key(state, now, mark)
        counters = np.concatenate([
            [now], state.actors[:, _COUNTED].ravel(), state.queues[:, :OfQueue.HIGH].ravel(),
            state.tiers[:, OfTier.BYTES],
        ])  # fmt: skip
        met = self._met[mark >= 0]
        before = met.get(key)
        added = counters - before.counters if before else None
        if len(met) >= _KEPT:
            met.clear()
        met[key] = _Seen(counters, added)
        if added is None or before is None or before.added is None:
            return 0
        if not np.array_equal(added, before.added):
            return 0
        times = self._times(state, added[1 : 1 + len(state.actors) * len(_COUNTED)])
        if times < 1:
            return 0
        self._add(state, added, times)
        self._met[False].clear()  # marked states are of longer periods, which the skip is part of
        return int(added[0]) * times

    def _key(self, state: State, now: int, mark: int) -> bytes:
        takes, puts = state.queues[:, OfQueue.TAKES], state.queues[:, OfQueue.PUTS]
        size = self._slots[self._queue]
        slot = state.offsets[self._queue] + (takes[self._queue] + self._place) % size
        held = self._place < (puts - takes)[self._queue]
        queues = np.where(held, state.arrive[slot], state.release[slot])
        tiers = state.tiers[:, OfTier.FREE] - now * self._parts
        times = np.concatenate([queues - now, state.actors[:, OfActor.FREE] - now, tiers])
        left = np.where(self._long, 0, state.actors[:, OfActor.LEFT])
        digest = hashlib.blake2b(np.maximum(times, 0).tobytes(), digest_size=32)
        digest.update(np.concatenate([[mark], state.actors[:, OfActor.PHASE], left]).tobytes())
        digest.update((puts - takes).tobytes())
        return digest.digest()

    def _times(self, state: State, added: Numbers) -> int:
        """How many more periods are like the last one."""
        rows = added.reshape(len(state.actors), len(_COUNTED))
        fired, left = (rows[:, _COUNTED.index(c)] for c in (OfActor.FIRED, OfActor.LEFT))
        moves = fired > 0
        if not moves.any():
            return 0
        around = (left == 0) & (fired % np.maximum(self.cycle, 1) == 0)
        within = left == -fired  # inside one run all along
        if not np.all(around | within):
            return 0
        ends = moves & (self._limit >= 0)
        runs = moves & ~around
        rest = [
            *((self._limit - state.actors[:, OfActor.FIRED])[ends] // fired[ends]),
            *((state.actors[:, OfActor.LEFT] - 1)[runs] // fired[runs]),
        ]
        return int(min(rest, default=0))

    def _add(self, state: State, added: Numbers, times: int) -> None:
        shift = int(added[0]) * times
        actors = added[1 : 1 + len(state.actors) * len(_COUNTED)] * times
        rows = actors.reshape(len(state.actors), len(_COUNTED))
        moved = rows[:, _COUNTED.index(OfActor.FIRED)] > 0
        state.actors[:, _COUNTED] += rows
        for column in _TIMES:
            state.actors[moved, column] += shift
        rest = added[1 + len(actors) :] * times
        queues = rest[: len(state.queues) * OfQueue.HIGH].reshape(-1, OfQueue.HIGH)
        state.tiers[:, OfTier.BYTES] += rest[queues.size :]
        state.tiers[:, OfTier.FREE] += shift * self._parts
        for q, turned in enumerate(queues[:, OfQueue.TAKES] % self._slots):
            span = slice(state.offsets[q], state.offsets[q + 1])
            state.arrive[span] = np.roll(state.arrive[span], turned)
            state.release[span] = np.roll(state.release[span], turned)
        state.arrive += shift
        state.release += shift
        state.queues[:, : OfQueue.HIGH] += queues
