"""Where reads of strided tensors land: strides along an axis, bounds of coordinates."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from maquette.compiler.kernel import Tensor
from maquette.compiler.tile.live import linear
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar


def coordinates(tensor: Tensor, arg: Arg) -> dict[str, Scalar]:
    """The coordinate along every axis of `tensor` at which `arg` reads it."""
    placed = dict(arg.at)
    return {n: placed.get(n, Index(n)) for n in tensor.axes}


def stride(tensor: Tensor, arg: Arg, axis: str) -> int | None:
    """Elements between reads at neighbouring points of `axis`; None where they are uneven."""
    total = 0
    for at, step in zip(coordinates(tensor, arg).values(), tensor.strides, strict=True):
        if axis not in indices(at):
            continue
        found = linear(at)
        if found is None:
            return None
        total += dict(found.terms).get(axis, 0) * step
    return total


def at_zero(body: Scalar, axes: Collection[str]) -> Scalar:
    """A coordinate where those along `axes` are zero."""
    match body:
        case Index(axis) if axis in axes:
            return Lit(0)
        case Apply(op, args):
            return Apply(op, tuple(at_zero(a, axes) for a in args))
    return body


def indices(body: Scalar) -> set[str]:
    """The axes whose coordinates `body` mentions, reads inside it aside."""
    match body:
        case Index(axis):
            return {axis}
        case Apply(_, args):
            return set().union(*(indices(a) for a in args))
    return set()


def within(at: Scalar, size: int, extents: Mapping[str, int]) -> bool:
    """Whether a coordinate is surely in ``[0, size)``."""
    found = bounds(at, extents)
    return found is not None and found[0] >= 0 and found[1] < size


def bounds(body: Scalar, extents: Mapping[str, int]) -> tuple[int, int] | None:
    """The least and the greatest value of a whole-number expression of coordinates, if known.

    >>> bounds(Apply("floordiv", (Index("h"), Lit(4))), {"h": 32})
    (0, 7)
    """
    match body:
        case Lit(value) if isinstance(value, int):
            return int(value), int(value)
        case Extent(size) if size.constant is not None:
            return int(size.constant), int(size.constant)
        case Index(axis):
            return 0, extents[axis] - 1
        case Apply(op, args):
            found = [bounds(a, extents) for a in args]
            known = [f for f in found if f is not None]
            return _bounds(op, known) if len(known) == len(found) else None
    return None


def _bounds(op: str, sides: list[tuple[int, int]]) -> tuple[int, int] | None:
    (a, b), (c, d) = sides[0], sides[-1]
    match op:
        case "add":
            return a + c, b + d
        case "sub":
            return a - d, b - c
        case "neg":
            return -b, -a
        case "mul":
            ends = [a * c, a * d, b * c, b * d]
            return min(ends), max(ends)
        case "min":
            return min(a, c), min(b, d)
        case "max":
            return max(a, c), max(b, d)
        case "floordiv" if c == d > 0:
            return a // c, b // c
        case "mod" if c == d > 0:
            return (a, b) if a >= 0 and b < c else (0, c - 1)
    return None
