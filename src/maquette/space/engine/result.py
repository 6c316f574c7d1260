"""What a simulation found: cycles, what every node did with them, and what blocked whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Spent:
    """The cycles of one node, which add up to those of the run."""

    firings: int
    busy: int  # in its own interval
    starved: int  # no token
    blocked: int  # no room
    memory: int  # waiting for a tier
    idle: int  # after its last firing


@dataclass(frozen=True)
class Record:
    """One firing, for a timeline."""

    node: str
    start: int
    end: int


@dataclass(frozen=True)
class Wait:
    """A node that cannot fire because a channel has no token, or no room."""

    node: str
    channel: str
    state: Literal["empty", "full"]

    def __str__(self) -> str:
        return f"{self.node} waits: {self.channel} is {self.state}"


@dataclass(frozen=True)
class Deadlock:
    """Why nothing can fire although work is left.

    `waits` lead from each node to the next one that it waits for.  Where `cycle`, the last waits
    for the first; otherwise the last waits for a node that has nothing more to do.
    """

    waits: tuple[Wait, ...]
    cycle: bool
    stuck: tuple[str, ...]  # every node that has work left

    def __str__(self) -> str:
        head = "deadlock" if self.cycle else "starved"
        return f"{head}: " + "; ".join(map(str, self.waits))


@dataclass(frozen=True)
class Result:
    """A finished simulation.  `outputs` are the tokens of every sink, where values travelled."""

    cycles: int
    tokens: int  # put into channels
    nodes: Mapping[str, Spent]
    high_water: Mapping[str, int]  # the most tokens ever waiting in a channel
    bytes: Mapping[str, int]  # through every tier
    deadlock: Deadlock | None = None
    records: tuple[Record, ...] = ()
    skipped: int = 0  # cycles of a steady state that were not simulated one by one
    outputs: Mapping[str, list[Any]] = field(default_factory=dict)

    def utilisation(self, node: str) -> float:
        """The share of cycles in which a node was busy."""
        return self.nodes[node].busy / self.cycles if self.cycles else 0.0
