"""What capture gives: a Graph, the tensors that were constants in it, and how it is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from maquette.ir.graph import Graph


@dataclass(frozen=True)
class Captured:
    """A function or module as a Graph over shapes that are numbers.

    `arguments` are the names of inputs in the order in which the callable takes them (nested
    structures flattened); `constants` are parameters, buffers and literal tensors by input name,
    the very objects, not copies.  `outputs` names the graph's outputs in the order returned;
    `rebuild` turns a flat list of results into what the callable returns.
    """

    graph: Graph
    arguments: tuple[str, ...]
    constants: Mapping[str, Any]
    outputs: tuple[str, ...]
    rebuild: Any  # Callable[[list[Any]], Any]
    lines: Mapping[str, str]  # section → the source line it came from
