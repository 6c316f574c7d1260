"""A graph with some of its values replaced."""

from __future__ import annotations

from collections.abc import Mapping

from maquette.errors import Fault, ProgramError
from maquette.ir.graph import Graph
from maquette.ir.patterns import Value, remade


def replaced(graph: Graph, by: Mapping[Value, Value]) -> tuple[Graph, Mapping[Value, Value]]:
    """The graph with values replaced by others, which may mention values replaced in turn.

    And what became of every value that was needed for it.
    """
    known: dict[Value, Value] = {}
    for root in graph.outputs.values():
        _make(root, by, known)
    return Graph(graph.name, {name: known[v] for name, v in graph.outputs.items()}), known


def _make(root: Value, by: Mapping[Value, Value], known: dict[Value, Value]) -> None:
    stack, begun = [root], set[Value]()
    while stack:
        v = stack[-1]
        source = (by[v],) if v in by else v.operands
        missing = [o for o in source if o not in known]
        if v in known or not missing:
            stack.pop()
            if v not in known:
                known[v] = known[source[0]] if v in by else remade(v, known)
            continue
        if v in begun:
            raise ProgramError(Fault("", f"{v!r} would need itself"))
        begun.add(v)
        stack.extend(missing)
