"""Queues and actors while they run, in Python: what the loop steps through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maquette.space.engine.actors import Actor, Queue, Run
from maquette.space.engine.steer import Steer, steer
from maquette.space.engine.values import Step


class Line:
    """A queue while it runs: rings of arrival and release times by slot, and of tokens."""

    __slots__ = ("arrive", "cramped", "held", "high", "hungry", "latency", "puts", "release",
                 "response", "seen", "size", "takes", "tokens")  # fmt: skip

    def __init__(self, queue: Queue) -> None:
        self.size, self.held = queue.slots, queue.held
        self.latency, self.response = queue.latency, queue.response
        self.tokens: list[Any] = [None] * queue.slots
        self.arrive: list[int] = []
        self.release: list[int] = []
        self.puts = self.takes = self.seen = self.high = 0
        self.hungry: Runner | None = None  # who waits for a token
        self.cramped: Runner | None = None  # who waits for room

    def peek(self, ahead: int = 0) -> Any:
        return self.tokens[(self.takes + ahead) % self.size]

    def take(self, count: int, now: int, release: int) -> None:
        """Take tokens at `now`; their slots are free from `release` on."""
        size, seen, puts, takes = self.size, self.seen, self.puts, self.takes
        arrive = self.arrive
        while seen < puts and arrive[seen % size] <= now:
            seen += 1
        self.seen = seen
        if seen - takes > self.high:
            self.high = seen - takes
        self.takes = takes + count
        while takes < self.takes:
            self.release[takes % size] = release
            takes += 1

    def put(self, time: int, token: Any) -> None:
        slot = self.puts % self.size
        self.arrive[slot] = time
        self.tokens[slot] = token
        self.puts += 1


Ports = tuple[tuple[Line, int], ...]


class Phase:
    """A run with the queues that its firings touch."""

    __slots__ = ("gives", "needs", "run", "takes")

    def __init__(self, run: Run, inputs: Sequence[Line], outputs: Sequence[Line]) -> None:
        self.run = run
        self.needs = _ports(inputs, run.needs)
        self.takes = _ports(inputs, run.takes)
        self.gives = _ports(outputs, run.gives)


def _ports(lines: Sequence[Line], rates: Sequence[int]) -> Ports:
    return tuple((line, n) for line, n in zip(lines, rates, strict=True) if n)


class Runner:
    """An actor while it runs."""

    __slots__ = ("actor", "blocked", "bytes", "end", "fired", "firings", "free", "full", "index",
                 "inputs", "interval", "latency", "left", "memory", "outputs", "phase",
                 "phases", "place", "queued", "starved", "steer", "step", "stride", "tier",
                 "track")  # fmt: skip

    def __init__(self, index: int, actor: Actor, lines: Sequence[Line], step: Step | None) -> None:
        self.index, self.actor, self.step = index, actor, step
        node = actor.node
        self.interval, self.latency, self.bytes = node.interval, node.latency, node.bytes
        self.firings, self.tier = actor.firings, actor.tier
        self.inputs = [lines[i] for i in actor.inputs]
        self.outputs = [lines[i] for i in actor.outputs]
        self.phases = [Phase(r, self.inputs, self.outputs) for r in actor.runs]
        self.steer: Steer | None = None if actor.runs else steer(node)
        self.phase: Phase | None = None
        self.place = self.left = self.fired = self.free = self.end = 0
        self.starved = self.blocked = self.memory = 0
        self.full = self.queued = False  # whether room, not tokens, sets the next start
        self.track: list[tuple[int, int]] = []
        self.stride = 1

    def start(self) -> int:
        """When the next firing starts, as far as is known; -1: not yet known, or never."""
        if self.fired == self.firings:
            return -1
        if self.steer is not None:
            run = self.steer(self.inputs)
            self.phase = Phase(run, self.inputs, self.outputs) if run else None
        phase = self.phase
        if phase is None:
            for line in self.inputs:
                line.hungry = self
            return -1
        ready = room = 0
        for line, count in phase.needs:
            last = line.takes + count
            if last > line.puts:
                line.hungry = self
                return -1
            time = line.arrive[(last - 1) % line.size]
            if time > ready:
                ready = time
        for line, count in phase.gives:
            last = line.puts + count
            if last - line.takes > line.size:
                line.cramped = self
                return -1
            time = line.release[(last - 1) % line.size]
            if time > room:
                room = time
        self.full = room > ready
        time = room if self.full else ready
        return time if time > self.free else self.free

    def turn(self) -> None:
        """Go on to the next phase, this one being over."""
        if self.steer is None:
            self.place = (self.place + 1) % len(self.phases)
            self.phase = self.phases[self.place]
            self.left = self.phase.run.times

    def begins(self) -> bool:
        """Whether the next firing is the first of its cycle of phases."""
        return not self.place and self.phase is not None and self.left == self.phase.run.times

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
