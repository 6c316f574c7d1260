"""From a choice of e-nodes back to values; what did not change is the very same value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maquette.compiler.rewrite.egraph import EGraph, ENode
from maquette.compiler.rewrite.encode import Encoder, operands
from maquette.compiler.rewrite.extract import Choice, reachable
from maquette.compiler.rewrite.values import Part, Template, build, tensor
from maquette.ir.axes import Axis
from maquette.ir.patterns import Input, Map, Value, make
from maquette.ir.scalar import Arg


class Decoder:
    """Values of classes under a choice."""

    def __init__(self, encoder: Encoder, choice: Choice) -> None:
        self.encoder, self.graph, self.choice = encoder, encoder.graph, choice
        self.made: dict[int, Part] = {}
        self.written: dict[int, list[Value]] = {}
        for value, id in encoder.place.items():
            self.written.setdefault(self.graph.find(id), []).append(value)

    def values(self, roots: Mapping[str, Value]) -> dict[str, Value]:
        """The chosen values in place of `roots`, with the same axes in the same order."""
        places = {name: self.encoder.at(v) for name, v in roots.items()}
        for id in reachable(self.choice, places.values()):
            self.made[id] = self._part(id)
        return {name: self._output(places[name], v) for name, v in roots.items()}

    def _part(self, id: int) -> Part:
        held = self.written.get(id, [])
        for value in held:
            if self._unchanged(value):
                return value
        node, known = self.choice[id], self.graph[id]
        order = held[0].axes if held else None
        return part(self.graph, node, [self.made[k] for k in node[2]], known.section, order)

    def _unchanged(self, value: Value) -> bool:
        """Whether a value is chosen as it was written, over operands that are."""
        form = self.encoder.forms[value]
        chosen = all(
            self.choice.get(self.graph.find(id)) == self.graph.canonical(node) for id, node in form
        )
        return chosen and all(
            self.made.get(self.encoder.at(o)) is o for o in operands(value) if o is not value
        )

    def _output(self, id: int, wanted: Value) -> Value:
        facts = self.graph[id].facts
        found = tensor(self.made[id], facts, wanted.section)
        if found.axes == wanted.axes and found.dtype == wanted.dtype:
            return found
        axes = {"axes": wanted.axes, "dtype": wanted.dtype, "section": wanted.section}
        return make(Map, args=(found,), body=Arg(0), **axes)


def part(
    graph: EGraph,
    node: ENode,
    kids: Sequence[Part],
    section: str = "",
    order: Sequence[Axis] | None = None,
) -> Part:
    """The value of an e-node over given operands."""
    op, params, ids = node
    if op == "opaque" and isinstance(params[0], Template) and params[0].cls is Input:
        return make(Input, section=section, **dict(params[0].parts))
    known = [graph[k].facts for k in ids]
    facts = graph[graph.find(_holder(graph, node))].facts
    return build(op, params, kids, known, facts, section, order)


def _holder(graph: EGraph, node: ENode) -> int:
    return graph.add(*node)
