"""What a timed Kahn network is made of: nodes with clocks of their own, joined by bounded channels.

Time is whole cycles.  A node fires again and again: a firing starts when the tokens it needs have
arrived, its outputs have room and `interval` cycles have passed since the one before; what it gives
leaves `latency` cycles later.  A token stands for a scalar, a tile or a tuple of them; the words it
has say how large a buffer it needs and do not slow it down, which `interval` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Literal, get_args

from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Scalar

Kind = Literal[
    "source", "sink", "map", "fold", "scan", "buffer", "repeat", "flatten", "pack",
    "partition", "merge",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True)
class Channel:
    """A bounded queue with one writer and one reader.

    The writer's own pipeline has registers (``⌈latency / interval⌉`` tokens) that hold tokens in
    addition to `depth`.  A `held` channel is an N-buffer of tiles instead: a slot is taken when the
    writer starts and given back when the reader has finished, and there are `depth` of them, no
    more; two make a double buffer.
    """

    name: str
    depth: int = 2
    latency: int = 0  # cycles a token is on its way
    response: int = 0  # cycles before a slot given back can be taken again
    words: int = 1  # per token
    held: bool = False
    initial: int = 0  # tokens there before anything fires: credits of a loop


@dataclass(frozen=True)
class Stop:
    """A token that ends a row; of rank 2, rows of rows, and so on.

    Where rows are of lengths that only the tokens know, sources give stops among their tokens, and
    a `count` of 0 means until a stop.  Nodes that do not end rows pass stops on.
    """

    rank: int = 1


@dataclass(frozen=True)
class Tier:
    """A memory that several nodes share: bytes per cycle in all, and cycles until data are there.

    Requests are served one after another in the order they are made, ties in the order of names.
    """

    name: str
    bandwidth: Fraction | float
    latency: int = 0

    @property
    def rate(self) -> Fraction:
        """Bytes per cycle as the clock counts them: the nearest fraction of 1024ths or coarser."""
        return Fraction(self.bandwidth).limit_denominator(1024)


@dataclass(frozen=True)
class Node:
    """One actor.

    =========  ==================================================================================
    source     gives `count` tokens: those of the array under its name, or their numbers
    sink       takes every token; with values, keeps them
    map        takes one token of every input, gives one: of `body` or of the function `call`
    fold       gives the total under `monoid` of every `count` tokens taken
    scan       gives every prefix under `monoid`, afresh every `count` tokens
    repeat     gives every token `count` times
    flatten    gives the `count` elements of every token one by one
    pack       gives one token made of `count` taken, stacked
    buffer     takes blocks of ``len(order)`` tokens, gives each in that order; `count` blocks fit
    partition  gives each token at the output that `order` says, over and over; or, where `order` is
               empty, that its first input says
    merge      takes each token from the input that `order` says; or, where `order` is empty, that
               its first input says, counting the others from 0
    =========  ==================================================================================

    With a `count` of 0 fold and pack take tokens until a stop, and give the stop on with one rank
    less, or not at all; repeat then has a second input and gives its token for every token there
    until a stop, which it passes on.  A stop that steers a partition goes to every output, one that
    steers a merge is taken from every input.

    A node of several outputs other than a partition gives the same token to each, or one of several
    bodies to each.  Bodies read the inputs as ``$0, $1, …``, a tuple counting as its components.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    interval: int = 1  # cycles between starts
    latency: int = 1  # cycles from start to what is given
    count: int = 1
    body: tuple[Scalar, ...] = ()
    call: str = ""  # a function that whoever simulates supplies, of one token per input
    monoid: Monoid | None = None
    order: tuple[int, ...] = ()
    tier: str = ""  # every firing moves `bytes` through it
    bytes: int = 0


@dataclass(frozen=True)
class Network:
    """Nodes, the channels between them, and the memories they share, in a fixed order.

    >>> stages = (Node("in", "source", outputs=("a",), count=3), Node("out", "sink", ("a",)))
    >>> Network("wire", stages, (Channel("a"),)).writer["a"].name
    'in'
    """

    name: str
    nodes: tuple[Node, ...]
    channels: tuple[Channel, ...]
    tiers: tuple[Tier, ...] = field(default=())

    @cached_property
    def writer(self) -> Mapping[str, Node]:
        """The node that writes each channel."""
        return {c: n for n in self.nodes for c in n.outputs}

    @cached_property
    def reader(self) -> Mapping[str, Node]:
        """The node that reads each channel."""
        return {c: n for n in self.nodes for c in n.inputs}
