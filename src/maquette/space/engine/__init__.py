"""The timed Kahn network: one engine for tile tokens and scalar tokens."""

from maquette.space.engine.result import Deadlock, Record, Result, Spent, Wait
from maquette.space.engine.simulate import simulate
from maquette.space.engine.text import parse, show
from maquette.space.engine.types import KINDS, Channel, Kind, Network, Node, Stop, Tier
from maquette.space.engine.verify import verify

__all__ = [
    "KINDS", "Channel", "Deadlock", "Kind", "Network", "Node", "Record", "Result", "Spent", "Stop",
    "Tier", "Wait", "parse", "show", "simulate", "verify",
]  # fmt: skip
