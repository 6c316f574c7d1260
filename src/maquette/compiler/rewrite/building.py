"""From a term and what its names are bound to, to the place where terms are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from maquette.compiler.rewrite.terms import PARAMETERS, Expr, Num, Term, Var
from maquette.ir.sizes import size

LENIENT = frozenset({"rename", "slice", "split", "shift"})  # leave alone what lacks their axis


class Builder(Protocol):
    """Where terms are built: an e-graph, or a list of values."""

    def add(self, op: str, params: tuple[Any, ...], kids: tuple[int, ...] = ...) -> int: ...
    def find(self, id: int) -> int: ...
    def __getitem__(self, id: int) -> Any: ...


def build(term: Term, env: Mapping[str, Any], graph: Builder) -> int:
    """The class of a term under a binding of its variables."""
    match term:
        case Var(name):
            return graph.find(env[name].held)
        case Num(value):
            return graph.add("lit", (value,))
    kids = tuple(build(a, env, graph) for a in term.args)
    params = parameters(term.op, term.params, env)
    if redundant(term.op, params, lambda: graph[kids[0]].facts.names):
        return kids[0]
    return graph.add(env.get(term.op, term.op), params, kids)


def parameters(op: str, params: Sequence[Expr], env: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the parameters of an operator come to."""
    return tuple(
        coerced(kind, p(env)) for kind, p in zip(PARAMETERS.get(op, ()), params, strict=True)
    )


def redundant(op: str, params: tuple[Any, ...], names: Callable[[], frozenset[str]]) -> bool:
    """Whether an operator leaves its operand as it is: it speaks of no axis that is there."""
    if op in ("sum", "amax", "amin", "spread"):
        return not params[0]
    if op == "rename" and params[0] == params[1]:
        return True
    return op in LENIENT and params[0] not in names()


def coerced(kind: str, value: Any) -> Any:
    """A parameter as e-nodes hold it."""
    if kind == "size":
        return size(value)
    return frozenset(value) if kind == "set" else value
