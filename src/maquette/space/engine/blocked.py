"""Why a simulation stopped although work is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from maquette.space.engine.actors import Plan, Run
from maquette.space.engine.result import Deadlock, Wait
from maquette.space.engine.state import OfActor, OfQueue, State

Chosen = Callable[[int], Run | None]


def blocked(plan: Plan, state: State, chosen: Chosen) -> Deadlock | None:
    """The deadlock that a simulation ended in; None where all is done.

    A node has work left when a source has tokens left, when tokens wait for it (other than the
    credits that were there from the start) or when it is amid a block.  `chosen` says the rates of
    actors whose tokens decide them.
    """
    waiting = _Waiting(plan, state, chosen)
    stuck = [i for i in range(len(plan.actors)) if waiting.unfinished(i)]
    if not stuck:
        return None
    waits, cycle = waiting.chain(stuck)
    return Deadlock(waits, cycle, tuple(plan.actors[i].name for i in stuck))


class _Waiting:
    """Who waits for whom at the end."""

    def __init__(self, plan: Plan, state: State, chosen: Chosen) -> None:
        self._plan, self._state, self._chosen = plan, state, chosen
        self._writer = {q: i for i, a in enumerate(plan.actors) for q in a.outputs}
        self._reader = {q: i for i, a in enumerate(plan.actors) for q in a.inputs}

    def _there(self, queue: int) -> int:
        row = self._state.queues[queue]
        return int(row[OfQueue.PUTS] - row[OfQueue.TAKES])

    def unfinished(self, index: int) -> bool:
        actor, row = self._plan.actors[index], self._state.actors[index]
        if actor.firings >= 0:
            return bool(row[OfActor.FIRED] < actor.firings)
        if actor.runs and (row[OfActor.PHASE] or row[OfActor.LEFT] != actor.runs[0].times):
            return True
        return any(self._there(q) > self._plan.queues[q].initial for q in actor.inputs)

    def chain(self, stuck: Sequence[int]) -> tuple[tuple[Wait, ...], bool]:
        """The shortest cycle of waits; where there is none, the longest chain without an end."""
        longest: tuple[Wait, ...] = ()
        cycles: list[tuple[Wait, ...]] = []
        known: set[int] = set()
        for index in stuck:
            waits: list[Wait] = []
            own: dict[int, int] = {}
            while index not in known:
                known.add(index)
                own[index] = len(waits)
                found = self._wait(index)
                if found is None:
                    break
                wait, index = found
                waits.append(wait)
            if index in own and len(waits) > own[index]:
                cycles.append(tuple(waits[own[index] :]))
            longest = max(longest, tuple(waits), key=len)
        return (min(cycles, key=len), True) if cycles else (longest, False)

    def _wait(self, index: int) -> tuple[Wait, int] | None:
        """The first queue that keeps an actor from firing, and the actor at its other end."""
        actor, row = self._plan.actors[index], self._state.actors[index]
        if row[OfActor.FIRED] == actor.firings:
            return None
        run = actor.runs[row[OfActor.PHASE]] if actor.runs else self._chosen(index)
        needs = run.needs if run else (1, *(0 for _ in actor.inputs[1:]))
        gives = run.gives if run else ()
        queues = self._plan.queues
        for q, count in zip(actor.inputs, needs, strict=True):
            if self._there(q) < count:
                return Wait(actor.name, queues[q].name, "empty"), self._writer[q]
        for q, count in zip(actor.outputs, gives, strict=False):
            if self._there(q) + count > queues[q].slots:
                return Wait(actor.name, queues[q].name, "full"), self._reader[q]
        return None
