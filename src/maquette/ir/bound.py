"""A graph over symbols as one over numbers: what the compiler's passes are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from maquette.ir.axes import Axis
from maquette.ir.dtypes import DType
from maquette.ir.graph import Graph
from maquette.ir.patterns import Value, make
from maquette.ir.scalar import Apply, Arg, Extent, Scalar
from maquette.ir.semantics import Numbers
from maquette.ir.sizes import Size, size


def bound(
    graph: Graph, sizes: Mapping[str, int], formats: Mapping[DType, DType] | None = None
) -> Graph:
    """`graph` at these sizes; a subset becomes the whole that it is drawn from.

    `formats` are those to keep values in instead of others.

    >>> from maquette.ir.build import activation
    >>> x = activation("x", n="n", d=8)
    >>> graph = bound(Graph("twice", {"y": (x + x).value}), {"n": 3})
    >>> [str(a) for a in graph.outputs["y"].axes]
    ['n=3', 'd=8']
    """
    numbers = Numbers(sizes)
    known: dict[Value, Value] = {}
    for value in graph.values:
        parts = {f.name: _part(getattr(value, f.name), numbers, known) for f in fields(value)}
        parts["dtype"] = (formats or {}).get(value.dtype, value.dtype)
        known[value] = make(type(value), **parts)
    return Graph(graph.name, {name: known[v] for name, v in graph.outputs.items()})


def _part(part: Any, numbers: Numbers, known: Mapping[Value, Value]) -> Any:
    """Anything a pattern is made of, at these sizes."""
    match part:
        case Value():
            return known[part]
        case Axis():
            return Axis(part.name, size(numbers.extent(part)))
        case Size():
            return size(numbers.whole(part))
        case tuple():
            return tuple(_part(p, numbers, known) for p in part)
        case Extent() | Apply() | Arg():
            return _body(part, numbers)
    return part


def _body(body: Scalar, numbers: Numbers) -> Scalar:
    match body:
        case Extent(extent):
            return Extent(size(numbers.value(extent)))
        case Apply(op, args):
            return Apply(op, tuple(_body(a, numbers) for a in args))
        case Arg(number, at):
            return Arg(number, tuple((n, _body(c, numbers)) for n, c in at))
    return body
