"""A price for tests: roofs of a small processor, so many seconds for every value."""

from __future__ import annotations

from maquette.ir import View, contraction, flops, points
from maquette.ir.patterns import Map

PRODUCTS, VECTOR, MEMORY, LAUNCH = 2.5e11, 3e10, 1.5e10, 5e-6  # flops/s, bytes/s, seconds


def roofs(value) -> float:
    """Contractions and reductions run one by one; maps are fused into what they meet."""
    if isinstance(value, View):
        return 8 * number(points(value.axes)) / MEMORY if value.kind == "concat" else 0.0
    if isinstance(value, Map):
        return number(flops(value)) / VECTOR
    found = contraction(value)
    operands = value.operands[0].operands if found else value.operands
    moved = 4 * (sum(number(points(o.axes)) for o in operands) + number(points(value.axes)))
    if found is None:
        return max(number(flops(value)) / VECTOR, moved / MEMORY) + LAUNCH
    rate = PRODUCTS if found.matrix else VECTOR
    return max(number(found.flops) / rate, moved / MEMORY) + LAUNCH


def number(size) -> float:
    return float(size.constant)
