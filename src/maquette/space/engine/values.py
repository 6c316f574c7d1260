"""What the tokens of each kind are: functions that run beside the clock, firing by firing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from maquette.errors import Fault, InputError, ProgramError
from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Scalar
from maquette.ir.semantics import Numbers, scalar
from maquette.space.engine.types import Node, Stop

Function = Callable[..., Any]
Step = Callable[[list[Any]], Sequence[Any]]  # tokens of every input to one token per output

_NUMBERS = Numbers({}, np.float64)


def step(node: Node, inputs: Mapping[str, Any], functions: Mapping[str, Function]) -> Step:
    """What a node computes at each firing; it is called with the tokens that the firing needs.

    A firing that gives nothing returns tokens too, which nobody reads; one that gives several at
    once returns a list of them.
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
            return _passing(node, _map(node, functions), len(node.body))
        case "fold" | "scan":
            assert node.monoid is not None
            return _Row(node, _Prefix(node.monoid, node.count))
        case "repeat" if not node.count:
            return lambda tokens: tokens[isinstance(tokens[1], Stop)]
        case "repeat":
            return _Held(lambda token: [token] * node.count)
        case "flatten":
            return _Held(list)
        case "pack":
            return _Row(node, _Stacked(node.count))
        case _:
            return lambda tokens: tokens[-1] if tokens else None


def _passing(node: Node, made: Callable[[list[Any]], Any], bodies: int) -> Step:
    """A map that lets stops through, which its inputs must agree on."""

    def apply(tokens: list[Any]) -> Any:
        if not any(isinstance(t, Stop) for t in tokens):
            return made(tokens)
        if any(t != tokens[0] for t in tokens):
            raise ProgramError(Fault(node.name, f"rows end apart: {tokens}", "rows alike"))
        return (tokens[0],) * bodies if bodies > 1 else tokens[0]

    return apply


class _Row:
    """A fold, a scan or a pack, which stops begin afresh."""

    def __init__(self, node: Node, made: _Prefix | _Stacked) -> None:
        self._node, self._made = node, made

    def __call__(self, tokens: list[Any]) -> Any:
        stop = tokens[0]
        if not isinstance(stop, Stop):
            return self._made(tokens)
        total = self._made.end()
        if self._node.kind == "scan":
            return stop
        if self._node.count:
            what = f"a stop within a block of {self._node.count}"
            raise ProgramError(Fault(self._node.name, what, "a count of 0, or no stops"))
        return total if stop.rank == 1 else [total, Stop(stop.rank - 1)]


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
        self._monoid, self._count = monoid, count
        self._total: list[Any] = []
        self._seen = 0

    def __call__(self, tokens: list[Any]) -> Any:
        new = flat(tokens)
        if self._total:
            both = [*self._total, *new]
            new = [_evaluate(c, both) for c in self._monoid.combine]
        self._seen = self._seen + 1 if self._total else 1
        self._total = [] if self._seen == self._count else new
        return _single(new)

    def end(self) -> Any:
        """The total of the tokens since the last end."""
        total, self._total = self._total, []
        return _single(total or [i.value for i in self._monoid.identity])


def _single(components: Sequence[Any]) -> Any:
    return tuple(components) if len(components) > 1 else components[0]


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
        self._held.append(tokens[0])
        return self.end() if len(self._held) == self._count else None

    def end(self) -> Any:
        """The tokens since the last end."""
        held, self._held = self._held, []
        return np.stack(held) if held else np.empty(0)
