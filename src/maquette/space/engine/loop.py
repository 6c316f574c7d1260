"""The simulation itself, one firing after another in the order of time.

A firing's start is known once its tokens and its room are: Kahn networks are deterministic, so it
never changes afterwards.  Firings are done in the order (start, node), which only matters where
nodes share a memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from maquette.space.engine.actors import Plan, Run
from maquette.space.engine.runner import Line, Phase, Runner
from maquette.space.engine.state import Numbers, State
from maquette.space.engine.types import Tier
from maquette.space.engine.values import Step


class Loop:
    """The loop in Python, which also carries tokens."""

    def __init__(
        self, plan: Plan, tiers: Sequence[Tier], steps: Sequence[Step | None] | None = None
    ) -> None:
        self.lines = [Line(q) for q in plan.queues]
        self._rates = [(t.rate.numerator, t.rate.denominator, t.latency) for t in tiers]
        self._free = [0] * len(tiers)
        self._bytes = [0] * len(tiers)
        self._limit = 0
        self.runners = [
            Runner(i, a, self.lines, s)
            for i, (a, s) in enumerate(zip(plan.actors, steps or [None] * len(plan.actors),
                                           strict=True))
        ]  # fmt: skip
        for r in self.runners:
            if r.step is not None and r.actor.name == f"{r.actor.node.name}.out":
                r.step = _permuted(r)

    def advance(self, state: State, firings: int, marks: Numbers) -> tuple[int, int]:
        """Fire as `steady.Advance` says; changes `state`."""
        self._load(state)
        ready: list[tuple[int, int]] = []
        for line in self.lines:
            line.hungry = line.cramped = None
        for runner in self.runners:
            runner.queued = False
        for runner in self.runners:
            self._offer(runner, ready)
        marked, mark = marks.tolist(), -1
        following = heapq.heappop(ready) if ready else None
        while following is not None:
            now, index = following
            runner = self.runners[index]
            phase = runner.phase
            assert phase is not None
            self._fire(runner, phase, now)
            for line, _ in phase.takes:
                if line.cramped is not None:
                    waits, line.cramped = line.cramped, None
                    self._offer(waits, ready)
            for line, _ in phase.gives:
                if line.hungry is not None:
                    waits, line.hungry = line.hungry, None
                    self._offer(waits, ready)
            start = -1 if runner.queued else runner.start()
            if start >= 0:
                runner.queued = True
                following = heapq.heappushpop(ready, (start, index))
            else:
                following = heapq.heappop(ready) if ready else None
            firings -= 1
            if marked[index] and runner.begins():
                mark = index
            if mark >= 0 or not firings:
                break
        self._store(state)
        return (following[0] if following else -1), mark

    def _offer(self, runner: Runner, ready: list[tuple[int, int]]) -> None:
        if not runner.queued:
            start = runner.start()
            if start >= 0:
                runner.queued = True
                heapq.heappush(ready, (start, runner.index))

    def _fire(self, runner: Runner, phase: Phase, now: int) -> None:
        runner.queued = False
        if runner.full:
            runner.blocked += now - runner.free
        else:
            runner.starved += now - runner.free
        end, free = now + runner.latency, now + runner.interval
        if runner.tier >= 0:
            asked, served = self._serve(runner.tier, now, runner.bytes)
            end += served - now + self._rates[runner.tier][2]
            if asked > free:
                runner.memory += asked - free
                free = asked
        runner.free = free
        tokens = None
        if runner.step is not None:
            tokens = runner.step([line.peek() for line, _ in phase.needs])
        for line, count in phase.takes:
            line.take(count, now, (end if line.held else now) + line.response)
        if tokens is None:
            for line, _ in phase.gives:
                line.arrive[line.puts % line.size] = end + line.latency
                line.puts += 1
        else:
            for made, (line, count) in zip(tokens, phase.gives, strict=False):
                for token in made if count > 1 else (made,):  # several at once are a list
                    line.put(end + line.latency, token)
        runner.end = end if end > free else free
        if self._limit:
            runner.note(now, end, self._limit)
        runner.fired += 1
        runner.left -= 1
        if not runner.left:
            runner.turn()

    def _serve(self, tier: int, now: int, count: int) -> tuple[int, int]:
        """From which cycle on one may ask again after a request of some bytes; when it is done."""
        parts, per_byte, _ = self._rates[tier]
        self._free[tier] = free = max(self._free[tier], now * parts) + count * per_byte
        self._bytes[tier] += count
        return free // parts, -(-free // parts)

    def _load(self, state: State) -> None:
        for q, line in enumerate(self.lines):
            span = slice(state.offsets[q], state.offsets[q + 1])
            line.arrive, line.release = state.arrive[span].tolist(), state.release[span].tolist()
            line.puts, line.takes, line.seen, line.high = state.queues[q].tolist()
        for i, r in enumerate(self.runners):
            (r.place, r.left, r.fired, r.free, r.end, r.starved, r.blocked, r.memory, noted,
             r.stride) = state.actors[i].tolist()  # fmt: skip
            r.track = [(start, end) for start, end in state.records[i, :noted].tolist()]
            r.phase = r.phases[r.place] if r.phases else None
        self._free, self._bytes = state.tiers[:, 0].tolist(), state.tiers[:, 1].tolist()
        self._limit = state.records.shape[1]

    def _store(self, state: State) -> None:
        for q, line in enumerate(self.lines):
            span = slice(state.offsets[q], state.offsets[q + 1])
            state.arrive[span], state.release[span] = line.arrive, line.release
            state.queues[q] = line.puts, line.takes, line.seen, line.high
        for i, r in enumerate(self.runners):
            state.actors[i] = (r.place, r.left, r.fired, r.free, r.end, r.starved, r.blocked,
                               r.memory, len(r.track), r.stride)  # fmt: skip
            if r.track:
                state.records[i, : len(r.track)] = r.track
        state.tiers[:, 0], state.tiers[:, 1] = self._free, self._bytes

    def chosen(self, actor: int) -> Run | None:
        """The rates that tokens choose for an actor's next firing; None where they are missing."""
        runner = self.runners[actor]
        return runner.steer(runner.inputs) if runner.steer else None


def _permuted(runner: Runner) -> Step:
    """The tokens of the block at the head, in the buffer's order."""
    order, line, outs = runner.actor.node.order, runner.inputs[0], max(len(runner.outputs), 1)
    return lambda _: (line.peek(order[runner.fired % len(order)]),) * outs
