"""Windows: where the elements that a stage names lie in a buffer.

A coordinate that is a sum of multiples of axes, and surely inside, is strides and an offset; one
that is not (a gather, a shift past an edge) stays a coordinate of the read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maquette.compiler.fuse.index import Ranges, Sum
from maquette.compiler.kernel import Tensor
from maquette.ir.dtypes import DType
from maquette.ir.scalar import Index, Scalar


@dataclass(frozen=True)
class Held:
    """A tensor in a buffer, by the axes of the value that it holds."""

    name: str
    buffer: str
    dtype: DType
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def bytes(self) -> int:
        """What the whole of it takes, if it lies row-major."""
        total = 1
        for n in self.shape:
            total *= n
        return -(-int(total * self.dtype.bits) // 8)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a tensor without gaps.

    >>> row_major([2, 3, 4])
    (12, 4, 1)
    """
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def window(
    held: Held, at: Mapping[str, Scalar], axes: Mapping[str, int]
) -> tuple[Tensor, tuple[tuple[str, Scalar], ...]]:
    """The tensor that a read at the coordinates `at` sees, and the coordinates left to compute."""
    ranges = Ranges(axes)
    strides: dict[str, int] = {}
    offset = held.offset
    computed: list[tuple[str, int, int, Scalar]] = []
    for axis, extent, stride in zip(held.axes, held.shape, held.strides, strict=True):
        total = ranges.sum(at[axis])
        low, high = ranges.range(total)
        affine = all(isinstance(atom, Index) for atom, _ in total.terms)
        if affine and ((low >= 0 and high < extent) or 0 in axes.values()):
            offset += total.constant * stride
            for name, count in _axes(total):
                strides[name] = strides.get(name, 0) + count * stride
        else:
            computed.append((axis, extent, stride, ranges.simple(at[axis])))
    names = [n for n in axes if n in strides]
    names.sort(key=lambda n: -abs(strides[n]))
    free = [_free(axis, axes) for axis, *_ in computed]
    tensor = Tensor(
        held.name,
        held.dtype,
        (*free, *names),
        (*(extent for _, extent, _, _ in computed), *(axes[n] for n in names)),
        (*(stride for _, _, stride, _ in computed), *(strides[n] for n in names)),
        held.buffer,
        offset,
    )
    return tensor, tuple(zip(free, (c for *_, c in computed), strict=True))


def _axes(total: Sum) -> list[tuple[str, int]]:
    return [(atom.axis, count) for atom, count in total.terms if isinstance(atom, Index)]


def _free(name: str, taken: Mapping[str, int]) -> str:
    while name in taken:
        name += "_"
    return name
