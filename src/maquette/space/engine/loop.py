"""The simulation itself, one firing after another in the order of time.

A firing's start is known once its tokens and its room are: Kahn networks are deterministic, so it
never changes afterwards.  Firings are done in the order (start, node), which only matters where
nodes share a memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

from maquette.space.engine.actors import Actor, Plan, Queue, Run
from maquette.space.engine.result import Record
from maquette.space.engine.types import Tier
from maquette.space.engine.values import Step

STARVED, BLOCKED = 0, 1


class Line:
    """A queue while it runs: rings of arrival and release times by slot, and of tokens."""

    __slots__ = ("arrive", "held", "high", "initial", "latency", "name", "puts", "release",
                 "response", "seen", "size", "takes", "tokens")  # fmt: skip

    def __init__(self, queue: Queue) -> None:
        self.name, self.size, self.held = queue.name, queue.slots, queue.held
        self.latency, self.response = queue.latency, queue.response
        self.arrive = [0] * queue.slots
        self.release = [0] * queue.slots
        self.tokens: list[Any] = [None] * queue.slots
        self.puts = self.initial = queue.initial
        self.takes = self.seen = self.high = 0

    def peek(self, ahead: int = 0) -> Any:
        return self.tokens[(self.takes + ahead) % self.size]

    def take(self, count: int, now: int, release: int) -> None:
        """Take tokens at `now`; their slots are free from `release` on."""
        size = self.size
        while self.seen < self.puts and self.arrive[self.seen % size] <= now:
            self.seen += 1
        self.high = max(self.high, self.seen - self.takes)
        for k in range(self.takes, self.takes + count):
            self.release[k % size] = release
        self.takes += count

    def put(self, time: int, token: Any) -> None:
        slot = self.puts % self.size
        self.arrive[slot] = time
        self.tokens[slot] = token
        self.puts += 1


class Runner:
    """An actor while it runs."""

    __slots__ = ("actor", "blocked", "cause", "end", "fired", "free", "index", "inputs", "left",
                 "memory", "outputs", "phase", "queued", "run", "starved", "step", "stride",
                 "track")  # fmt: skip

    def __init__(self, index: int, actor: Actor, lines: Sequence[Line], step: Step | None) -> None:
        self.index, self.actor, self.step = index, actor, step
        self.inputs = [lines[i] for i in actor.inputs]
        self.outputs = [lines[i] for i in actor.outputs]
        self.phase = 0
        self.run: Run | None = actor.runs[0] if actor.runs else None
        self.left = self.run.times if self.run else 0
        self.fired = self.free = self.end = 0  # `free`: when its interval is over
        self.starved = self.blocked = self.memory = 0
        self.cause = STARVED
        self.queued = False
        self.track: list[tuple[int, int]] = []
        self.stride = 1

    def rates(self) -> Run | None:
        """The rates of the next firing; None where a token that decides them is not there."""
        if self.actor.runs:
            return self.run
        self.run = self._chosen()
        return self.run

    def _chosen(self) -> Run | None:
        selector = self.inputs[0]
        if selector.takes == selector.puts:
            return None
        place = int(selector.peek())
        ins, outs = len(self.inputs), len(self.outputs)
        if self.actor.node.kind == "partition":
            gives = tuple(int(i == place) for i in range(outs))
            return Run(1, (1,) * ins, (1,) * ins, gives)
        takes = (1, *(int(i == place) for i in range(ins - 1)))
        return Run(1, takes, takes, (1,) * outs)

    def start(self) -> int:
        """When the next firing starts, as far as is known; -1: not yet known, or never."""
        if self.fired == self.actor.firings:
            return -1
        run = self.rates()
        if run is None:
            return -1
        ready = room = 0
        for line, count in zip(self.inputs, run.needs, strict=True):
            if count:
                last = line.takes + count
                if last > line.puts:
                    return -1
                time = line.arrive[(last - 1) % line.size]
                ready = time if time > ready else ready
        for line, count in zip(self.outputs, run.gives, strict=True):
            if count:
                last = line.puts + count
                if last - line.takes > line.size:
                    return -1
                time = line.release[(last - 1) % line.size]
                room = time if time > room else room
        self.cause = BLOCKED if room > ready else STARVED
        return max(ready, room, self.free)

    def advance(self) -> None:
        """Go on to the next phase."""
        self.fired += 1
        if self.actor.runs:
            self.left -= 1
            if not self.left:
                self.phase = (self.phase + 1) % len(self.actor.runs)
                self.run = self.actor.runs[self.phase]
                self.left = self.run.times

    def note(self, start: int, end: int, limit: int) -> None:
        """Keep a record; of more than `limit`, every second one is dropped."""
        if self.fired % self.stride:
            return
        if len(self.track) == limit:
            self.track = self.track[::2]
            self.stride *= 2
            if self.fired % self.stride:
                return
        self.track.append((start, end))


class Memory:
    """A tier while it runs: its time in parts of a cycle, so that rates may be fractions."""

    def __init__(self, tier: Tier) -> None:
        self.parts, self.per_byte = tier.bandwidth.numerator, tier.bandwidth.denominator
        self.latency, self.free, self.bytes = tier.latency, 0, 0

    def serve(self, now: int, count: int) -> int:
        """The cycle in which a request of some bytes, made now, has been served."""
        self.free = max(self.free, now * self.parts) + count * self.per_byte
        self.bytes += count
        return -(-self.free // self.parts)


class Loop:
    """A whole simulation in progress."""

    def __init__(
        self, plan: Plan, tiers: Sequence[Tier], steps: Sequence[Step | None], records: int
    ) -> None:
        self.lines = [Line(q) for q in plan.queues]
        self.memories = [Memory(t) for t in tiers]
        self.runners = [
            Runner(i, a, self.lines, s)
            for i, (a, s) in enumerate(zip(plan.actors, steps, strict=True))
        ]
        for runner in self.runners:
            if runner.step is not None and runner.actor.name == f"{runner.actor.node.name}.out":
                runner.step = _permuted(runner)
        self.records = records
        self.firings = 0
        self._around = self._neighbours()

    def _neighbours(self) -> list[list[Runner]]:
        """Of each actor: itself, who writes what it reads, who reads what it writes."""
        writer = {id(line): r for r in self.runners for line in r.outputs}
        reader = {id(line): r for r in self.runners for line in r.inputs}
        return [
            list(
                {
                    id(n): n
                    for n in (
                        r,
                        *(writer[id(line)] for line in r.inputs),
                        *(reader[id(line)] for line in r.outputs),
                    )
                }.values()
            )
            for r in self.runners
        ]

    def run(self) -> None:
        """Fire until nothing can."""
        ready: list[tuple[int, int]] = []
        for runner in self.runners:
            self._offer(runner, ready)
        while ready:
            now, index = heapq.heappop(ready)
            runner = self.runners[index]
            runner.queued = False
            self._fire(runner, now)
            for near in self._around[index]:
                if not near.queued:
                    self._offer(near, ready)

    def _offer(self, runner: Runner, ready: list[tuple[int, int]]) -> None:
        start = runner.start()
        if start >= 0:
            runner.queued = True
            heapq.heappush(ready, (start, runner.index))

    def _fire(self, runner: Runner, now: int) -> None:
        node, run = runner.actor.node, runner.run
        assert run is not None
        if runner.cause == BLOCKED:
            runner.blocked += now - runner.free
        else:
            runner.starved += now - runner.free
        served, far = now, 0
        if runner.actor.tier >= 0:
            memory = self.memories[runner.actor.tier]
            served, far = memory.serve(now, node.bytes), memory.latency
        runner.free = max(now + node.interval, served)
        runner.memory += runner.free - now - node.interval
        end = served + node.latency + far
        tokens = None
        if runner.step is not None:
            heads = zip(runner.inputs, run.takes, strict=True)
            tokens = runner.step([line.peek() for line, count in heads if count])
        for line, count in zip(runner.inputs, run.takes, strict=True):
            if count:
                line.take(count, now, (end if line.held else now) + line.response)
        for i, (line, count) in enumerate(zip(runner.outputs, run.gives, strict=True)):
            if count:
                line.put(end + line.latency, tokens[i] if tokens is not None else None)
        runner.end = max(end, runner.free)
        if self.records:
            runner.note(now, end, self.records)
        runner.advance()
        self.firings += 1

    def noted(self) -> tuple[Record, ...]:
        """The records of every actor, in the order of time."""
        found = [Record(r.actor.name, *times) for r in self.runners for times in r.track]
        return tuple(sorted(found, key=lambda r: (r.start, r.node)))


def _permuted(runner: Runner) -> Step:
    """The tokens of the block at the head, in the buffer's order."""
    order, line, outs = runner.actor.node.order, runner.inputs[0], max(len(runner.outputs), 1)
    return lambda _: (line.peek(order[runner.fired % len(order)]),) * outs
