"""A simulation in progress, as arrays: what both loops read and write, and what repeats.

Rows of actors and queues are named by the enumerations; times are cycles, those of tiers parts of
a cycle so that rates may be fractions.  Slots of queue q are ``offsets[q]`` to ``offsets[q + 1]``
of `arrive` (by the number of the token) and `release` (by the number of the token that left).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maquette.space.engine.actors import Plan
from maquette.space.engine.types import Tier

Numbers: TypeAlias = NDArray[np.int64]


class OfActor(IntEnum):
    """Columns of `State.actors`."""

    PHASE = 0  # which run
    LEFT = 1  # firings left in it
    FIRED = 2
    FREE = 3  # when its interval, or its memory, lets it start again
    END = 4  # of its last firing
    STARVED = 5
    BLOCKED = 6
    MEMORY = 7
    NOTED = 8  # records kept
    STRIDE = 9  # every so many firings


class OfQueue(IntEnum):
    """Columns of `State.queues`; tokens by number, counted from the first."""

    PUTS = 0
    TAKES = 1
    SEEN = 2  # arrived before the last take
    HIGH = 3  # most waiting


class OfTier(IntEnum):
    """Columns of `State.tiers`."""

    FREE = 0
    BYTES = 1


@dataclass
class State:
    """All that changes while a network runs."""

    actors: Numbers
    queues: Numbers
    tiers: Numbers
    offsets: Numbers
    arrive: Numbers
    release: Numbers
    records: Numbers  # of each actor, (start, end) of the firings kept

    @property
    def firings(self) -> int:
        return int(self.actors[:, OfActor.FIRED].sum())

    @property
    def cycles(self) -> int:
        return int(self.actors[:, OfActor.END].max(initial=0))

    def copy(self) -> State:
        return State(*(np.array(field) for field in vars(self).values()))


def begin(plan: Plan, tiers: Sequence[Tier], records: int = 0) -> State:
    """Nothing has fired; queues hold their initial tokens."""
    sizes = [q.slots for q in plan.queues]
    actors = _rows(plan.actors, OfActor)
    for i, actor in enumerate(plan.actors):
        actors[i, OfActor.LEFT] = actor.runs[0].times if actor.runs else 0
    actors[:, OfActor.STRIDE] = 1
    queues = _rows(plan.queues, OfQueue)
    queues[:, OfQueue.PUTS] = [q.initial for q in plan.queues]
    return State(
        actors,
        queues,
        _rows(tiers, OfTier),
        np.cumsum([0, *sizes], dtype=np.int64),
        np.zeros(sum(sizes), np.int64),
        np.zeros(sum(sizes), np.int64),
        np.zeros((len(plan.actors), records, 2), np.int64),
    )


def _rows(held: Sequence[Any], columns: type[IntEnum]) -> Numbers:
    return np.zeros((len(held), len(columns)), np.int64)
