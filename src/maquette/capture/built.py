"""Graphs of the builder, and parts of model families, as what can be compiled and called.

Tensors decide what a graph leaves open: sizes by their shapes, and formats of floats by their own,
where all tensors that the graph says have one format have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maquette.capture.captured import Captured
from maquette.errors import Fault, InputError
from maquette.ir.axes import full
from maquette.ir.bound import bound
from maquette.ir.dtypes import DType, dtype
from maquette.ir.graph import Graph
from maquette.ir.sizes import Size

_NAMED = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def built(graph: Graph, tensors: Mapping[str, Any]) -> Captured:
    """`graph` at the sizes that the shapes of its inputs, by name, give its symbols.

    Numbers among `tensors` are sizes by their symbols, where shapes do not tell them.

    >>> import numpy as np
    >>> from maquette.ir.build import activation
    >>> x = activation("x", n="n", d="d")
    >>> made = built(Graph("sum", {"y": x.sum("d").value}), {"x": np.ones((3, 5))})
    >>> [str(a) for a in made.graph.outputs["y"].axes]
    ['n=3']
    """
    found = {n: x for n, x in tensors.items() if isinstance(x, int)}
    tensors = {n: x for n, x in tensors.items() if n not in found}
    numbers = bound(graph, _sizes(graph, tensors, found), _formats(graph, tensors))
    names = tuple(graph.outputs)
    apart = {n: n if n not in numbers.inputs else f"{n}.after" for n in names}  # states have one
    numbers = Graph(numbers.name, {apart[n]: v for n, v in numbers.outputs.items()})
    return Captured(
        numbers,
        tuple(tensors),
        {},
        tuple(apart.values()),
        lambda found: dict(zip(names, found, strict=True)),
        {},
    )


def _sizes(graph: Graph, tensors: Mapping[str, Any], given: Mapping[str, int]) -> dict[str, int]:
    """The numbers of symbols.  Raises InputError where one is open or shapes disagree."""
    faults = [Fault(n, "is not given", "a tensor") for n in graph.inputs if n not in tensors]
    hint = f"inputs are {', '.join(graph.inputs)}"
    faults += [Fault(n, "is no input", hint=hint) for n in tensors if n not in graph.inputs]
    found = dict(given)
    extents = []
    for name, x in tensors.items():
        value = graph.inputs.get(name)
        if value is None:
            continue
        if len(x.shape) != len(value.axes):
            faults.append(Fault(name, f"has {len(x.shape)} axes", f"{len(value.axes)}"))
            continue
        extents += [(name, a.name, full(a), n) for a, n in zip(value.axes, x.shape, strict=True)]
    while any(_solved(size, n, found) for _, _, size, n in extents):
        pass
    for name, axis, size, n in extents:
        missing = sorted(size.symbols - found.keys())
        if missing:
            faults.append(Fault(name, f"leaves {', '.join(missing)} of {axis} = {size} open"))
        elif (wanted := int(size(found))) != n:
            faults.append(Fault(name, f"has {n} of {axis}", f"{wanted}"))
    if faults:
        raise InputError(*faults)
    return found


def _solved(size: Size, extent: int, found: dict[str, int]) -> bool:
    """Whether an extent tells the one symbol of a size that is not known yet."""
    unknown = size.symbols - found.keys()
    if len(unknown) != 1:
        return False
    (symbol,) = unknown
    at = [size({**found, symbol: n}) for n in (0, 1, 2)]
    step = at[1] - at[0]
    if not step or at[2] - at[1] != step:
        return False
    found[symbol] = round((extent - at[0]) / step)
    return True


def _formats(graph: Graph, tensors: Mapping[str, Any]) -> dict[DType, DType]:
    """For each format of floats that the graph says, the one that its tensors have."""
    found: dict[DType, set[str]] = {}
    for name, value in graph.inputs.items():
        if value.dtype.kind == "float":
            held = str(tensors[name].dtype).removeprefix("torch.")
            found.setdefault(value.dtype, set()).add(_NAMED.get(held, ""))
    return {said: dtype(*held) for said, held in found.items() if len(held) == 1 and all(held)}
