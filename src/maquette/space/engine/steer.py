"""Rates that tokens decide: which output, which input, whether a row ends.

A rule looks at the tokens at the heads of a node's inputs and says what the next firing needs,
takes and gives; None while a token that decides it is not there yet.  It is asked again after
anything changes around the node, so it must have no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from maquette.errors import Fault, ProgramError
from maquette.space.engine.actors import Rates, Run
from maquette.space.engine.types import Node, Stop


class Head(Protocol):
    """What a rule may know of an input: how many tokens came and went, and those waiting."""

    puts: int
    takes: int

    def peek(self, ahead: int = 0) -> Any: ...


Steer = Callable[[Sequence[Any]], Run | None]
Rule = Callable[[Node, Any], Run]  # from the token that decides


def steer(node: Node) -> Steer:
    """The rule of a node without fixed rates: its first input decides, of a repeat the second."""
    rule = {"partition": _partition, "merge": _merge, "repeat": _repeat}.get(node.kind, _row)
    place = int(node.kind == "repeat")

    def decide(inputs: Sequence[Head]) -> Run | None:
        decides = inputs[place]
        return None if decides.takes == decides.puts else rule(node, decides.peek())

    return decide


def _partition(node: Node, token: Any) -> Run:
    ins = (1,) * len(node.inputs)
    return Run(1, ins, ins, _chosen(node, token, len(node.outputs)))


def _merge(node: Node, token: Any) -> Run:
    takes = (1, *_chosen(node, token, len(node.inputs) - 1))
    return Run(1, takes, takes, (1,) * len(node.outputs))


def _chosen(node: Node, token: Any, ports: int) -> Rates:
    if isinstance(token, Stop):
        return (1,) * ports
    place = int(token)
    if not 0 <= place < ports:
        raise ProgramError(Fault(node.name, f"the selector says {place}", f"0 … {ports - 1}"))
    return tuple(int(i == place) for i in range(ports))


def _repeat(node: Node, token: Any) -> Run:
    """The token stays until the row of the other input ends."""
    return Run(1, (1, 1), (int(isinstance(token, Stop)), 1), (1,) * len(node.outputs))


def _row(node: Node, token: Any) -> Run:
    """What a row comes to, at its end; a stop of rows of rows follows it."""
    ins = (1,) * len(node.inputs)
    gives = min(token.rank, 2) if isinstance(token, Stop) else 0
    return Run(1, ins, ins, (gives,) * len(node.outputs))
