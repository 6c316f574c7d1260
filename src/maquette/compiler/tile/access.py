"""Where a read goes: an offset that is linear in coordinates, and where it would leave the tensor.

Reads outside a tensor give zero, so a coordinate that may leave its extent comes with a guard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maquette.compiler.kernel import Tensor
from maquette.compiler.tile.live import Linear, linear
from maquette.ir.scalar import Arg, Index


@dataclass(frozen=True)
class Access:
    """Elements from the start of the buffer, and coordinates that must lie in [0, extent)."""

    tensor: Tensor
    offset: Linear
    guards: tuple[tuple[Linear, int], ...] = ()

    def along(self, axis: str) -> int:
        """Elements from one point of an axis to the next."""
        return dict(self.offset.terms).get(axis, 0)

    def varies(self, axes: Sequence[str]) -> bool:
        """Whether what is read depends on some of `axes`."""
        parts = (self.offset, *(g for g, _ in self.guards))
        return any(n in axes for part in parts for n, _ in part.terms)


def access(tensor: Tensor, arg: Arg, extents: Mapping[str, int]) -> Access | None:
    """The place of a read of `tensor`; None where a coordinate is not linear."""
    placed = dict(arg.at)
    terms: dict[str, int] = {}
    constant = tensor.offset
    guards = []
    for axis, extent, stride in zip(tensor.axes, tensor.shape, tensor.strides, strict=True):
        at = linear(placed.get(axis, Index(axis)))
        if at is None:
            return None
        at = Linear(tuple((n, c) for n, c in at.terms if extents[n] > 1), at.constant)
        constant += stride * at.constant
        for name, count in at.terms:
            terms[name] = terms.get(name, 0) + stride * count
        low, high = reach(at, extents)
        if low < 0 or high >= extent:
            guards.append((at, extent))
    kept = tuple((n, c) for n, c in terms.items() if c)
    return Access(tensor, Linear(kept, constant), tuple(guards))


def reach(at: Linear, extents: Mapping[str, int]) -> tuple[int, int]:
    """The least and the greatest value over all coordinates."""
    ends = [c * (extents[n] - 1) for n, c in at.terms]
    return at.constant + sum(min(e, 0) for e in ends), at.constant + sum(max(e, 0) for e in ends)
