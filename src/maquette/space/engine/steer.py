"""Rates that tokens decide: which output, which input.

A rule looks at the tokens at the heads of a node's inputs and says what the next firing needs,
takes and gives; None while a token that decides it is not there yet.  It is asked again after
anything changes around the node, so it must have no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from maquette.errors import Fault, ProgramError
from maquette.space.engine.actors import Run
from maquette.space.engine.types import Node


class Head(Protocol):
    """What a rule may know of an input: how many tokens came and went, and those waiting."""

    puts: int
    takes: int

    def peek(self, ahead: int = 0) -> Any: ...


Steer = Callable[[Sequence[Any]], Run | None]


def steer(node: Node) -> Steer:
    """The rule of a partition or a merge without an order: its first input says where."""
    ins, outs = len(node.inputs), len(node.outputs)
    partition = node.kind == "partition"
    ports = outs if partition else ins - 1

    def rule(inputs: Sequence[Head]) -> Run | None:
        selector = inputs[0]
        if selector.takes == selector.puts:
            return None
        place = int(selector.peek())
        if not 0 <= place < ports:
            what = f"the selector says {place}"
            raise ProgramError(Fault(node.name, what, f"0 … {ports - 1}"))
        chosen = tuple(int(i == place) for i in range(ports))
        if partition:
            return Run(1, (1,) * ins, (1,) * ins, chosen)
        return Run(1, (1, *chosen), (1, *chosen), (1,) * outs)

    return rule
