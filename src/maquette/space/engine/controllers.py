"""Nests of controllers as networks: sequential, parallel, metapipelined and streaming loops.

What starts a controller is a token, what ends it too.  A stage of a metapipeline holds a credit for
each of its buffers, given back when the stage after it is done with the tile: two credits are a
double buffer.  `cycles` is the closed form of the same nest (DHDL, ISCA'16, §IV-B).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from maquette.space.engine.types import Channel, Network, Node


@dataclass(frozen=True)
class Leaf:
    """Work of so many cycles that overlaps with nothing of its own."""

    time: int


@dataclass(frozen=True)
class Sequential:
    """`times` iterations, every stage after the one before: ``times · ΣT``."""

    times: int
    stages: tuple[Nest, ...]


@dataclass(frozen=True)
class Parallel:
    """All stages at once: ``max T``."""

    stages: tuple[Nest, ...]


@dataclass(frozen=True)
class Pipeline:
    """A metapipeline: stages work on different iterations, ``(times - 1) · max T + ΣT``.

    `buffers` tiles fit between two stages; with one, neighbours take turns and the closed form is
    too low.
    """

    times: int
    stages: tuple[Nest, ...]
    buffers: int = 2


@dataclass(frozen=True)
class Stream:
    """Stages (initiation interval, latency) joined by queues.

    ``(times - 1) · max interval + Σ latency``, no latency being shorter than its interval.
    """

    times: int
    stages: tuple[tuple[int, int], ...]


Nest: TypeAlias = Leaf | Sequential | Parallel | Pipeline | Stream


def cycles(nest: Nest) -> int:
    """The closed form.

    >>> cycles(Pipeline(10, (Leaf(3), Leaf(5))))
    53
    """
    match nest:
        case Leaf(time):
            return time
        case Sequential(times, stages):
            return times * sum(map(cycles, stages))
        case Parallel(stages):
            return max(map(cycles, stages))
        case Pipeline(times, stages):
            each = [*map(cycles, stages)]
            return (times - 1) * max(each) + sum(each)
        case Stream(times, stages):
            return (times - 1) * max(i for i, _ in stages) + sum(latency for _, latency in stages)


def network(nest: Nest, name: str = "nest") -> Network:
    """A network that runs a nest once.

    >>> from maquette.space.engine.simulate import simulate
    >>> simulate(network(Pipeline(10, (Leaf(3), Leaf(5))))).cycles
    53
    """
    drawing = _Drawing()
    drawing.put("start", "source", (), (drawing.line("go"),))
    drawing.put("end", "sink", (drawing.nest(nest, "go", "top"),))
    return Network(name, tuple(drawing.nodes), tuple(drawing.channels))


@dataclass
class _Drawing:
    """Nodes and channels so far.  Nodes of control take no time."""

    nodes: list[Node] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)

    def line(self, name: str, depth: int = 1, initial: int = 0) -> str:
        self.channels.append(Channel(name, depth, initial=initial))
        return name

    def put(
        self,
        name: str,
        kind: str,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        count: int = 1,
        time: tuple[int, int] = (0, 0),
    ) -> None:
        self.nodes.append(
            Node(name, kind, tuple(inputs), tuple(outputs), *time, count)  # type: ignore[arg-type]
        )

    def nest(self, nest: Nest, go: str, name: str) -> str:
        """Draw a nest that starts with a token of `go`; the channel that tells its end."""
        match nest:
            case Leaf(time):
                self.put(name, "map", (go,), (self.line(f"{name}.done"),), 1, (time, time))
                return f"{name}.done"
            case Parallel(stages):
                return self._parallel(stages, go, name)
            case Sequential(times, stages):
                return self._loop(times, stages, 0, go, name)
            case Pipeline(times, stages, buffers):
                return self._loop(times, stages, buffers, go, name)
            case Stream(times, stages):
                return self._stream(times, stages, go, name)

    def _parallel(self, stages: Sequence[Nest], go: str, name: str) -> str:
        goes = [self.line(f"{name}.{i}.go") for i in range(len(stages))]
        self.put(f"{name}.fork", "map", (go,), goes)
        pairs = zip(stages, goes, strict=True)
        dones = [self.nest(s, g, f"{name}.{i}") for i, (s, g) in enumerate(pairs)]
        self.put(f"{name}.join", "map", dones, (self.line(f"{name}.done"),))
        return f"{name}.done"

    def _begin(self, times: int, go: str, name: str) -> str:
        """Iterations of a loop, which does not start again before it has ended."""
        alone = self.line(f"{name}.alone", 1, 1)
        self.put(f"{name}.enter", "map", (go, alone), (self.line(f"{name}.entered"),))
        self.put(
            f"{name}.count", "repeat", (f"{name}.entered",), (self.line(f"{name}.each"),), times
        )
        return f"{name}.each"

    def _finish(self, times: int, last: str, name: str) -> str:
        self.put(
            f"{name}.all", "fold", (last,), (f"{name}.alone", self.line(f"{name}.done")), times
        )
        return f"{name}.done"

    def _loop(self, times: int, stages: Sequence[Nest], buffers: int, go: str, name: str) -> str:
        """Stages one after another; with buffers, each may be that many tiles ahead of the next."""
        here = self._begin(times, go, name)
        turn = self.line(f"{name}.turn", 1, 1) if not buffers else ""
        for i, stage in enumerate(stages):
            own = f"{name}.{i}"
            last = i == len(stages) - 1
            waits = [here]  # what the stage needs to start
            tells = [self.line(f"{own}.next", max(buffers, 1))]
            if buffers:
                waits.append(self.line(f"{own}.free", 1, 1))
                tells.append(f"{own}.free")
                waits += [] if last else [self.line(f"{own}.credit", buffers, buffers)]
                tells += [f"{name}.{i - 1}.credit"] if i else []
            else:
                waits += [turn] if not i else []
                tells += [turn] if last else []
            self.put(f"{own}.start", "map", waits, (self.line(f"{own}.go"),))
            self.put(f"{own}.end", "map", (self.nest(stage, f"{own}.go", own),), tells)
            here = tells[0]
        return self._finish(times, here, name)

    def _stream(self, times: int, stages: Sequence[tuple[int, int]], go: str, name: str) -> str:
        here = self._begin(times, go, name)
        for i, time in enumerate(stages):
            made = self.line(f"{name}.{i}.out")
            self.put(f"{name}.{i}", "map", (here,), (made,), 1, time)
            here = made
        return self._finish(times, here, name)
