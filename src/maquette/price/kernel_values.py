"""Prices of single values of a graph, for a search over graphs that compute the same.

What a value costs before anybody has fused it: a contraction is a kernel of its own, which reads
its operands and writes its result; anything else is taken to run inside a neighbour, where only
its arithmetic costs.  Views and inputs cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from maquette.compiler.operations import operations
from maquette.compiler.processor import Processor
from maquette.compiler.tiling import Counts, Tier
from maquette.ir.axes import points
from maquette.ir.facts import contraction
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, Value, View
from maquette.ir.scalar import Apply
from maquette.price.kernel import FITTED, Constants, seconds

Extents = Mapping[str, int]  # of the symbols in sizes


def value_price(
    processor: Processor, extents: Extents | None = None, constants: Constants = FITTED
) -> Callable[[Value], float]:
    """A function that gives the seconds of one value, without those of its operands.

    >>> from maquette.ir.build import activation, weight
    >>> from maquette.run.host import processor
    >>> y = (activation("x", n=64, d=512) * weight("w", d=512, f=2048)).sum("d").value
    >>> price = value_price(processor())
    >>> price(y) > price(y.operands[0]) == 0.0
    True
    """
    sizes = dict(extents or {})
    return lambda value: seconds(counts(value, processor, sizes), processor, constants)


def counts(value: Value, processor: Processor, extents: Extents) -> Counts:
    """What computing a value from its operands does."""
    match value:
        case Input() | View():
            return Counts(0.0, 0.0, {}, launches=0)
        case Map() if _feeds_a_product(value):
            return Counts(0.0, 0.0, {}, launches=0)
        case Map():
            return _inside(_number(value, extents) * operations(value.body))
        case Reduce():
            return _reduction(value, processor, extents)
        case Scan():
            each = sum(map(operations, value.monoid.combine))
            return _inside(_number(value, extents) * each)
        case FlatMap() | GroupBy():  # a sort, more or less: tens of operations for each key
            keys = value.key
            return Counts(0.0, 50.0 * _number(keys, extents) * processor.lanes, {})
        case _:
            raise TypeError(f"{type(value).__name__} has no price")


def _feeds_a_product(value: Map) -> bool:
    """A product of two operands that differ in axes is never made: a contraction takes it in."""
    if not (isinstance(value.body, Apply) and value.body.op == "mul" and len(value.args) == 2):
        return False
    mine = {a.name for a in value.axes}
    return all({a.name for a in arg.axes} < mine for arg in value.args)


def _reduction(value: Reduce, processor: Processor, extents: Extents) -> Counts:
    found = contraction(value)
    if found is None:
        domain = float(points(value.domain)(extents))
        return _inside(domain * sum(map(operations, value.monoid.combine)))
    flops = float(found.flops(extents))
    moved = sum(_bytes(v, extents) for v in (found.left, found.right, value))
    traffic: dict[Tier, float] = {"l2": moved}
    if moved > processor.l3:
        traffic["l3"] = moved
    if moved <= processor.l2:
        traffic = {"l1": moved}
    fma, vector = (flops, 0.0) if found.matrix else (0.0, flops)
    return Counts(fma, vector, traffic)


def _inside(vector: float) -> Counts:
    return Counts(0.0, vector, {}, launches=0)


def _number(value: Value, extents: Extents) -> float:
    return float(points(value.axes)(extents))


def _bytes(value: Value, extents: Extents) -> float:
    return _number(value, extents) * value.dtype.bytes
