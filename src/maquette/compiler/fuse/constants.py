"""What constants alone decide, apart: it is computed once, not at every call.

Only what is no larger than the constants that it is made of is worth keeping: a table of angles, a
product of two weights, weights end to end.  Weights that are widened as they are read stay narrow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import prod

from maquette.compiler.fuse.cost import cost
from maquette.ir.graph import Graph, walk
from maquette.ir.patterns import Input, Map, Value, View, make, remade
from maquette.ir.semantics import Numbers

_TABLE = 1 << 20  # bytes of the largest table that is made of coordinates and kept
_CHEAP = 4  # additions per element that are not worth a table


def without_constants(
    graph: Graph, constants: Collection[str], sizes: Mapping[str, int] | None = None
) -> tuple[Graph, Graph]:
    """A graph of what the inputs `constants` decide alone, and the rest, which reads its outputs.

    The outputs of the first are weights of the second, by the same names.

    >>> from maquette.ir.build import activation, dot, weight
    >>> w = dot(weight("a", d=4, r=2), weight("b", r=2, f=4), "r")
    >>> y = dot(activation("x", n=3, d=4), w, "d")
    >>> once, rest = without_constants(Graph("low", {"y": y.value}), {"a", "b"})
    >>> list(once.inputs), list(once.outputs), list(rest.inputs)
    (['a', 'b'], ['low.0'], ['x', 'low.0'])
    """
    held = _Constants(graph, set(constants), Numbers(dict(sizes or {})))
    chosen: dict[Value, str] = {}
    for value in graph.values:
        if value not in held.fixed:
            for operand in value.operands:
                held.choose(operand, chosen)
    known: dict[Value, Value] = {}
    for value in graph.values:
        if value in chosen:
            parts = {"name": chosen[value], "role": "weight", "section": value.section}
            known[value] = make(Input, axes=value.axes, dtype=value.dtype, **parts)
        else:
            known[value] = remade(value, known)
    rest = Graph(graph.name, {name: known[v] for name, v in graph.outputs.items()})
    once = Graph(f"{graph.name}.once", {name: v for v, name in chosen.items()})
    return once, rest


class _Constants:
    def __init__(self, graph: Graph, names: set[str], numbers: Numbers) -> None:
        self._graph = graph
        self._numbers = numbers
        self.fixed: set[Value] = set()
        for value in graph.values:
            free = value.name in names if isinstance(value, Input) else True
            if free and all(o in self.fixed for o in value.operands):
                self.fixed.add(value)

    def choose(self, value: Value, chosen: dict[Value, str]) -> None:
        """Take a constant, or else the constants that it is made of."""
        if value not in self.fixed or isinstance(value, Input) or value in chosen:
            return
        if self._worth(value):
            chosen[value] = f"{self._graph.name}.{len(chosen)}"
            return
        for operand in value.operands:
            self.choose(operand, chosen)

    def _worth(self, value: Value) -> bool:
        if isinstance(value, View) and value.kind not in ("concat", "item"):
            return False
        behind = [v for v in walk([value]) if v is not value] + [value]
        if isinstance(value, Map) and not any(map(_works, behind)):
            return False
        inputs = [v for v in behind if isinstance(v, Input)]
        if inputs:
            return self._bytes(value) <= sum(map(self._bytes, inputs))
        price = sum(cost(v.body) for v in behind if isinstance(v, Map))
        return price > _CHEAP and self._bytes(value) <= _TABLE

    def _bytes(self, value: Value) -> float:
        return prod(self._numbers.shape(value.axes)) * value.dtype.bytes


def _works(value: Value) -> bool:
    """Whether a value takes more than reading another."""
    if isinstance(value, Map):
        return cost(value.body) > 0
    return not isinstance(value, Input | View) or (
        isinstance(value, View) and value.kind == "concat"
    )
