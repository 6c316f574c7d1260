"""Nodes as what a simulation steps through: rates of tokens per firing, in phases.

Most kinds have rates that repeat: a fold of n takes a token n times and gives one at the last.
They are runs of equal phases, which is all that time needs to know.  A kind whose rates depend on
tokens (a partition that a selector steers) decides when the tokens are there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from maquette.space.engine.types import Channel, Network, Node

Rates = tuple[int, ...]  # tokens, one number per channel


@dataclass(frozen=True)
class Run:
    """`times` firings with the same rates: tokens that must be there, are taken, are given."""

    times: int
    needs: Rates
    takes: Rates
    gives: Rates


@dataclass(frozen=True)
class Actor:
    """A node, or one port of a buffer.  Channels are numbers; -1 firings: as many as tokens allow.

    `runs` are empty where the rates depend on tokens.
    """

    name: str
    node: Node
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    runs: tuple[Run, ...]
    firings: int = -1
    tier: int = -1


@dataclass(frozen=True)
class Queue:
    """A channel with its slots: depth and the registers of its writer, or a buffer of tiles."""

    name: str
    slots: int
    latency: int
    response: int
    held: bool
    initial: int


@dataclass(frozen=True)
class Plan:
    """A network ready to be simulated; actors in the order of their names."""

    actors: tuple[Actor, ...]
    queues: tuple[Queue, ...]


def plan(network: Network) -> Plan:
    """The actors and queues of a network that has been verified.

    Actors are in the order of their names: who fires first in a cycle is told by nothing else.
    """
    numbers = {c.name: i for i, c in enumerate(network.channels)}
    tiers = {t.name: i for i, t in enumerate(network.tiers)}
    queues = [_queue(c, network.writer[c.name]) for c in network.channels]
    actors: list[Actor] = []
    for node in sorted(network.nodes, key=lambda n: n.name):
        found = Actor(
            node.name,
            node,
            tuple(numbers[c] for c in node.inputs),
            tuple(numbers[c] for c in node.outputs),
            runs(node),
            node.count if node.kind == "source" else -1,
            tiers.get(node.tier, -1),
        )
        if node.kind == "buffer":
            queues.append(_blocks(node))
            actors += _ports(found, len(queues) - 1)
        else:
            actors.append(found)
    return Plan(tuple(actors), tuple(queues))


def _queue(channel: Channel, writer: Node) -> Queue:
    registers = 0 if channel.held else -(-writer.latency // max(writer.interval, 1))
    slots = channel.depth + registers
    return Queue(channel.name, slots, channel.latency, channel.response, channel.held,
                 channel.initial)  # fmt: skip


def _blocks(node: Node) -> Queue:
    return Queue(f"{node.name}.blocks", node.count * len(node.order), 0, 0, False, 0)


def _ports(whole: Actor, inside: int) -> tuple[Actor, Actor]:
    """A buffer writes and reads at once: two actors with the blocks between them."""
    n = len(whole.node.order)
    writes = replace(whole, name=f"{whole.name}.in", outputs=(inside,), runs=(_each(1, 1),))
    outs = (1,) * len(whole.outputs)
    last = Run(1, (n,), (n,), outs)  # the block is given back at its last token
    reading = (Run(n - 1, (n,), (0,), outs), last) if n > 1 else (last,)
    reads = replace(whole, name=f"{whole.name}.out", inputs=(inside,), runs=reading, tier=-1)
    return writes, reads


def runs(node: Node) -> tuple[Run, ...]:
    """The phases of a node's firings, which repeat; none where tokens decide."""
    ins, outs, n = len(node.inputs), len(node.outputs), node.count
    one = (1,) * ins
    match node.kind:
        case "fold" | "pack" | "repeat" if not n:
            return ()
        case "fold" | "pack":
            none = (0,) * outs
            last = Run(1, one, one, (1,) * outs)
            return (Run(n - 1, one, one, none), last) if n > 1 else (last,)
        case "repeat" | "flatten":
            first, outputs = Run(1, one, one, (1,) * outs), (1,) * outs
            again = Run(n - 1, (0,) * ins, (0,) * ins, outputs)
            return (first, again) if n > 1 else (first,)
        case "partition" if node.order:
            return tuple(
                Run(len(list(same)), one, one, _one(place, outs))
                for place, same in groupby(node.order)
            )
        case "merge" if node.order:
            found = ((_one(p, ins), len(list(same))) for p, same in groupby(node.order))
            return tuple(Run(times, rates, rates, (1,) * outs) for rates, times in found)
        case "partition" | "merge":
            return ()
        case _:
            return (_each(ins, outs),)


def _each(ins: int, outs: int) -> Run:
    return Run(1, (1,) * ins, (1,) * ins, (1,) * outs)


def _one(place: int, count: int) -> Rates:
    return tuple(int(i == place) for i in range(count))
