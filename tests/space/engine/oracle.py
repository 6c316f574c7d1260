"""The semantics once more, as plainly as they can be said: an oracle for networks without tiers.

Every node is a generator with a clock of its own; whole histories of channels are kept; nodes are
run in any order.  Rates per firing are written out here again, from the table in `types.Node`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil

from maquette.space.engine import Channel, Network, Node


@dataclass
class History:
    """Times of everything that ever happened to a channel."""

    slots: int
    channel: Channel
    put: list[int] = field(default_factory=list)  # when each token can be read
    freed: list[int] = field(default_factory=list)  # when the slot of each token can be written


@dataclass
class Clock:
    """What a node did."""

    end: int = 0
    starts: list[int] = field(default_factory=list)


def rates(node: Node) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """(needed, taken, given) of each firing, for ever."""
    i, o, n = len(node.inputs), len(node.outputs), node.count
    ones, none = [1] * i, [0] * i
    while True:
        if node.kind in ("fold", "pack"):
            for k in range(n):
                yield ones, ones, [int(k == n - 1)] * o
        elif node.kind in ("repeat", "flatten"):
            for k in range(n):
                yield (none if k else ones), (none if k else ones), [1] * o
        elif node.kind == "buffer":  # its reading side; the block is there until its last token
            size = len(node.order)
            for k in range(size):
                yield [size], [size * (k == size - 1)], [1] * o
        elif node.kind == "partition":
            for place in node.order:
                yield ones, ones, [int(k == place) for k in range(o)]
        elif node.kind == "merge":
            for place in node.order:
                chosen = [int(k == place) for k in range(i)]
                yield chosen, chosen, [1] * o
        else:
            yield ones, ones, [1] * o


def behave(node: Node, held: dict[str, History], clock: Clock) -> Iterator[bool]:
    """Yields True after every firing and False where it has to wait."""
    free = 0
    for needs, takes, gives in rates(node):
        if node.kind == "source" and len(clock.starts) == node.count:
            return
        start = free
        for name, count in zip(node.inputs, needs, strict=True):
            past = held[name].freed
            while len(held[name].put) < len(past) + count:
                yield False
            if count:
                start = max(start, held[name].put[len(past) + count - 1])
        for name, count in zip(node.outputs, gives, strict=True):
            channel = held[name]
            last = len(channel.put) + count - 1 - channel.slots
            while count and last >= len(channel.freed):
                yield False
            if count and last >= 0:
                start = max(start, channel.freed[last])
        end = start + node.latency
        for name, count in zip(node.inputs, takes, strict=True):
            channel = held[name].channel
            held[name].freed += [(end if channel.held else start) + channel.response] * count
        for name, count in zip(node.outputs, gives, strict=True):
            held[name].put += [end + held[name].channel.latency] * count
        free = start + node.interval
        clock.end = max(clock.end, end, free)
        clock.starts.append(start)
        yield True


def sides(node: Node, held: dict[str, History]) -> list[Node]:
    """A buffer is written and read at once: two nodes, with room for its blocks between them."""
    if node.kind != "buffer":
        return [node]
    inside = f"{node.name}.blocks"
    held[inside] = History(node.count * len(node.order), Channel(inside))
    return [
        replace(node, name=f"{node.name}.in", kind="map", outputs=(inside,)),
        replace(node, name=f"{node.name}.out", inputs=(inside,)),
    ]


def run(network: Network, seed: int = 0) -> tuple[int, dict[str, Clock]]:
    """Cycles and what every node did; nodes take their turns in random order."""
    held = {}
    for channel in network.channels:
        writer = next(n for n in network.nodes if channel.name in n.outputs)
        own = 0 if channel.held else ceil(writer.latency / max(writer.interval, 1))
        held[channel.name] = History(channel.depth + own, channel, [0] * channel.initial)
    nodes = [part for node in network.nodes for part in sides(node, held)]
    clocks = {n.name: Clock() for n in nodes}
    going = [behave(n, held, clocks[n.name]) for n in nodes]
    order = random.Random(seed)
    moved = True
    while moved:
        moved = False
        order.shuffle(going)
        for generator in going:
            for _ in range(order.randint(1, 20)):
                if not next(generator, False):
                    break
                moved = True
    return max(c.end for c in clocks.values()), clocks
