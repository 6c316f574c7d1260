"""Bytes of programs whose sections are kernels: operands read, results written, nothing kept."""

from __future__ import annotations

from maquette.ir.facts import by_section, section_traffic
from maquette.ir.graph import Graph


def apart(graph: Graph) -> float:
    """Bytes of a program whose sections are kernels, each of which reads and writes memory."""
    total = 0.0
    for values in by_section(graph).values():
        moved = section_traffic(values, graph)
        total += sum(float(m.elements({})) * m.dtype.bytes for m in (*moved.reads, *moved.writes))
    return total


def between_kernels(graph: Graph) -> float:
    """Bytes that some section writes for another to read."""
    moved = (section_traffic(values, graph) for values in by_section(graph).values())
    written = [m for each in moved for m in each.writes if m.name not in graph.outputs]
    return sum(float(m.elements({})) * m.dtype.bytes for m in written)
