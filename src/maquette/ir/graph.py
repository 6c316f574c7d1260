"""Graphs of values, and Programs made of parts that repeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from maquette.ir.patterns import Input, Value


def walk(roots: Iterable[Value]) -> Iterator[Value]:
    """Every value that `roots` need, operands before users, each once."""
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Value, bool]] = [(root, False)]
        while stack:
            value, ready = stack.pop()
            if id(value) in seen:
                continue
            if ready:
                seen.add(id(value))
                yield value
            else:
                stack.append((value, True))
                stack.extend((o, False) for o in reversed(value.operands))


@dataclass(frozen=True)
class Graph:
    """Named outputs and everything they need.

    An output whose name is that of a state input is that state after the step.
    """

    name: str
    outputs: Mapping[str, Value]

    @cached_property
    def values(self) -> tuple[Value, ...]:
        return tuple(walk(self.outputs.values()))

    @cached_property
    def inputs(self) -> Mapping[str, Input]:
        return {v.name: v for v in self.values if isinstance(v, Input)}


@dataclass(frozen=True)
class Program:
    """A model for one step: parts in order, the same part many times where layers repeat.

    Each part reads its predecessor's output ``x`` as its input ``x``.  Weights and states named in
    `shared` are one tensor for the whole program; all others are one per occurrence of the part.
    `windows` gives, for every symbol that is a context clipped to a window, that window.
    A part ``X.prefill`` that `order` does not name is ``X`` as it is written for prompts: the same
    meaning, weights and states in a form that is cheaper when many tokens are new.
    """

    name: str
    parts: Mapping[str, Graph]
    order: tuple[str, ...]
    shared: frozenset[str] = frozenset()
    windows: Mapping[str, int] = field(default_factory=dict)
    experts: tuple[int, int] | None = None  # (routed experts, chosen per token) behind "hit"

    def prefill(self, part: str) -> Graph | None:
        """The form of a part for prompts, where it has one of its own."""
        return self.parts.get(f"{part}.prefill")

    @cached_property
    def times(self) -> Mapping[str, int]:
        """How often each part occurs."""
        return Counter(self.order)
