"""Graphs as networks of elements: every value a stream, every pattern a node.

Some axes are loops: their points follow each other as tokens, the last loop quickest.  All others
lie within a token.  A reduction over the innermost loops is a fold; a value that lacks the
innermost loops of its reader is repeated; an input is read again for every loop that it does not
vary along.  Nothing else is kept: a reader that needs an earlier total waits for it, and what the
channel beside it must hold meanwhile is for the depths to allow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.ir.graph import Graph
from maquette.ir.semantics import Numbers
from maquette.space.engine.elements_drawing import Array, Drawing, Tokens
from maquette.space.engine.result import Result
from maquette.space.engine.types import Channel, Network


@dataclass(frozen=True)
class Elements:
    """A network, and what to simulate it with: tokens of its sources, functions of its maps."""

    network: Network
    inputs: Mapping[str, Tokens]
    functions: Mapping[str, Callable[..., Any]]
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]  # of outputs: stream, then order

    def outputs(self, result: Result) -> dict[str, Array]:
        """The outputs of the graph, axes in its order, from a simulation with values."""
        found = {}
        for name, (shape, order) in self.shapes.items():
            tokens = np.array([np.asarray(t) for t in result.outputs[name]])
            found[name] = np.transpose(tokens.reshape(shape), order)
        return found


def elements(
    graph: Graph,
    loops: Sequence[str],
    sizes: Mapping[str, int],
    inputs: Mapping[str, Any] | None = None,
    channel_depth: int = 2,
) -> Elements:
    """The network of a graph whose `loops`, from the outermost, are streamed.

    `inputs` are its tensors, axes in their order, where values are to travel; all channels are
    `channel_depth` deep.  Every operation takes a cycle, a token may enter in every cycle but where
    a fold waits for itself.  Raises NotYet for what is no stream: reads at computed coordinates,
    totals over outer loops.

    >>> from maquette.ir.build import activation
    >>> from maquette.space.engine.simulate import simulate
    >>> rows = Graph("rows", {"y": activation("x", n="n", t="t").sum("t").value})
    >>> found = elements(rows, ("n", "t"), {"n": 2, "t": 3}, {"x": np.arange(6).reshape(2, 3)})
    >>> done = simulate(found.network, found.inputs, found.functions, values=True)
    >>> found.outputs(done)["y"], done.cycles
    (array([ 3, 12]), 8)
    """
    drawing = Drawing(graph, tuple(loops), Numbers(sizes, np.float64), inputs)
    for name, value in graph.outputs.items():
        drawing.sink(name, value)
    for value in reversed(graph.values):
        drawing.value(value)
    channels = tuple(Channel(c, channel_depth) for c in drawing.channels)
    network = Network(graph.name, tuple(reversed(drawing.nodes)), channels)
    return Elements(network, drawing.tokens, drawing.functions, drawing.shapes)
