"""What the tokens of each kind are: functions that run beside the clock, firing by firing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from maquette.errors import Fault, InputError
from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Scalar
from maquette.ir.semantics import Numbers, scalar
from maquette.space.engine.types import Node

Function = Callable[..., Any]
Step = Callable[[list[Any]], Sequence[Any]]  # tokens of every input to one token per output

_NUMBERS = Numbers({}, np.float64)


def step(node: Node, inputs: Mapping[str, Any], functions: Mapping[str, Function]) -> Step:
    """What a node computes at each firing; it is called with the tokens that the firing needs.

    A firing that gives nothing returns tokens too, which nobody reads.
    """
    outs = max(len(node.outputs), 1)
    made = _maker(node, inputs, functions)
    if len(node.body) > 1:
        return made
    return lambda tokens: (made(tokens),) * outs


def _maker(
    node: Node, inputs: Mapping[str, Any], functions: Mapping[str, Function]
) -> Callable[[list[Any]], Any]:
    match node.kind:
        case "source":
            given = iter(_tokens(node, inputs))
            return lambda _: next(given)
        case "map":
            return _map(node, functions)
        case "fold" | "scan":
            assert node.monoid is not None
            return _Prefix(node.monoid, node.count)
        case "repeat":
            return _Held(lambda token: [token] * node.count)
        case "flatten":
            return _Held(list)
        case "pack":
            return _Stacked(node.count)
        case "merge":
            return lambda tokens: tokens[-1]
        case _:
            return lambda tokens: tokens[-1] if tokens else None


def _tokens(node: Node, inputs: Mapping[str, Any]) -> Iterator[Any]:
    if node.name not in inputs:
        return iter(range(node.count))
    given = inputs[node.name]
    if len(given) != node.count:
        what = f"{len(given)} tokens"
        raise InputError(Fault(f"inputs: {node.name}", what, f"{node.count}, its count"))
    return iter(given)


def flat(tokens: Sequence[Any]) -> list[Any]:
    """Components of tokens, tuples taken apart."""
    return [c for t in tokens for c in (t if isinstance(t, tuple) else (t,))]


def _map(node: Node, functions: Mapping[str, Function]) -> Callable[[list[Any]], Any]:
    if node.call:
        function = functions[node.call]
        return lambda tokens: function(*tokens)
    bodies = node.body
    if not bodies:
        return lambda tokens: tokens[0] if len(tokens) == 1 else tuple(flat(tokens))
    if len(bodies) == 1:
        return lambda tokens: _evaluate(bodies[0], flat(tokens))
    return lambda tokens: tuple(_evaluate(b, flat(tokens)) for b in bodies)


def _evaluate(body: Scalar, operands: Sequence[Any]) -> Any:
    return scalar(body, _NUMBERS, lambda arg: operands[arg.number], None)


class _Prefix:
    """Totals of a block so far; the first token of a block is its own total."""

    def __init__(self, monoid: Monoid, count: int) -> None:
        self._combine, self._count = monoid.combine, count
        self._total: list[Any] = []
        self._seen = 0

    def __call__(self, tokens: list[Any]) -> Any:
        new = flat(tokens)
        if self._seen % self._count:
            both = [*self._total, *new]
            new = [_evaluate(c, both) for c in self._combine]
        self._total, self._seen = new, self._seen + 1
        return tuple(new) if len(new) > 1 else new[0]


class _Held:
    """Several tokens made of one, given one at a time."""

    def __init__(self, spread: Callable[[Any], list[Any]]) -> None:
        self._spread = spread
        self._left: list[Any] = []

    def __call__(self, tokens: list[Any]) -> Any:
        if tokens:
            self._left = self._spread(tokens[0])[::-1]
        return self._left.pop()


class _Stacked:
    """A block of tokens as one."""

    def __init__(self, count: int) -> None:
        self._count, self._held = count, list[Any]()

    def __call__(self, tokens: list[Any]) -> Any:
        self._held = [*self._held, tokens[0]] if len(self._held) < self._count else [tokens[0]]
        return np.stack(self._held) if len(self._held) == self._count else None
