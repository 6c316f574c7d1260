"""Why a simulation stopped although work is left."""

from __future__ import annotations

from collections.abc import Callable

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
    chains = [waiting.follow(i) for i in stuck]
    waits, cycle = max(chains, key=lambda c: (c[1], len(c[0]) if not c[1] else -len(c[0])))
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

    def follow(self, index: int) -> tuple[tuple[Wait, ...], bool]:
        """From an actor to the one it waits for, until one comes again or waits for nothing."""
        waits: list[Wait] = []
        seen: dict[int, int] = {}
        while index not in seen:
            seen[index] = len(waits)
            found = self._wait(index)
            if found is None:
                return tuple(waits), False
            wait, index = found
            waits.append(wait)
        return tuple(waits[seen[index] :]), True

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
