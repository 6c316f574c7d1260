"""What depends on constants alone, made once and ahead of time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from maquette.compiler.rewrite.regions import rebuilt
from maquette.ir.facts import generated
from maquette.ir.graph import Graph
from maquette.ir.interpret import evaluate
from maquette.ir.patterns import Input, Value, View, make


def folded(graph: Graph, constants: Mapping[str, Any]) -> tuple[Graph, dict[str, Any]]:
    """A graph without the values that depend on `constants` alone, and the constants it has then.

    Each such value that others read becomes a weight, ``folded.0`` and so on, computed in 64 bits
    and kept in 32 as `evaluate` would; views of constants stay, for they cost nothing.  Constants
    that nothing reads any more are gone; those that stay are the very same objects.

    >>> from maquette.ir.build import activation, dot, weight
    >>> x, w, g = activation("x", d=2), weight("w", d=2, e=2), weight("g", d=2)
    >>> y = dot(x, w * g, "d")
    >>> new, held = folded(Graph("y", {"y": y.value}), {"w": np.eye(2), "g": np.full(2, 3.0)})
    >>> sorted(new.inputs), held["folded.0"].tolist()
    (['folded.0', 'x'], [[3.0, 0.0], [0.0, 3.0]])
    """
    fixed = _fixed(graph, constants)
    wanted = [v for v in _frontier(graph, fixed) if not isinstance(v, Input)]
    if not wanted:
        return graph, dict(constants)
    ahead = Graph(graph.name, {str(i): v for i, v in enumerate(wanted)})
    given = {n: _array(constants[n]) for n in ahead.inputs}
    made = evaluate(ahead, given, precise=True)
    taken = set(graph.inputs)
    held: dict[str, Any] = {}
    known: dict[Value, Value] = {}
    for i, value in enumerate(wanted):
        name = next(n for k in range(len(taken) + 1) if (n := f"folded.{i + k}") not in taken)
        taken.add(name)
        parts = {"axes": value.axes, "dtype": value.dtype, "section": value.section}
        known[value] = make(Input, name=name, role="weight", **parts)
        held[name] = made[str(i)].astype(np.float32 if value.dtype.kind == "float" else None)
    rebuilt(graph.outputs.values(), known, {})
    new = Graph(graph.name, {n: known[v] for n, v in graph.outputs.items()})
    everything = {**constants, **held}
    return new, {n: a for n, a in everything.items() if n in new.inputs}


def _fixed(graph: Graph, constants: Mapping[str, Any]) -> set[Value]:
    """Values that depend on constants, and on nothing else but coordinates."""
    found: set[Value] = set()
    for v in graph.values:
        if isinstance(v, Input):
            if v.name in constants:
                found.add(v)
        elif any(o in found for o in v.operands) and all(
            o in found or generated(o) for o in v.operands
        ):
            found.add(v)
    return found


def _frontier(graph: Graph, fixed: set[Value]) -> list[Value]:
    """Fixed values that something else reads; behind views, what the views are of."""
    read = dict.fromkeys(
        o for v in graph.values if v not in fixed for o in v.operands if o in fixed
    )
    read.update(dict.fromkeys(v for v in graph.outputs.values() if v in fixed))
    found: dict[Value, None] = {}
    stack = list(read)
    while stack:
        v = stack.pop(0)
        if isinstance(v, View) and v.kind not in ("concat", "item"):
            stack.extend(v.operands)
        else:
            found[v] = None
    return list(found)


def _array(held: Any) -> Any:
    """A constant as an array; a tensor of another library lends its memory."""
    detach = getattr(held, "detach", None)
    return np.asarray(detach() if detach is not None else held)
