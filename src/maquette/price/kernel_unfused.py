"""Bytes that a graph would move if every operator were a kernel of its own."""

from __future__ import annotations

from maquette.ir.facts import contraction, generated, section_traffic
from maquette.ir.graph import Graph
from maquette.ir.patterns import Input, Value, View


def unfused_bytes(graph: Graph) -> float:
    """What crosses memory operator by operator: each reads its operands and writes its result.

    A product that a sum takes in at once is never made, as no framework makes it.

    >>> from maquette.ir.build import exp, tensor
    >>> x = tensor("x", "activation", "f32", n=100)
    >>> unfused_bytes(Graph("g", {"y": (exp(x) + 1.0).value}))
    1600.0
    """
    taken = {id(v.operands[0]): v for v in graph.values if contraction(v) is not None}
    total = 0.0
    for value in graph.values:
        if isinstance(value, Input | View) or generated(value) or id(value) in taken:
            continue
        run: list[Value] = [value]
        if contraction(value) is not None:
            run.insert(0, value.operands[0])
        moved = section_traffic(run, graph)
        for move in (*moved.reads, *moved.writes):
            total += float(move.elements({})) * move.dtype.bytes
    return total
