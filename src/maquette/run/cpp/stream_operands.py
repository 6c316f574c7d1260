"""Operands that lie along the stream: read where they are, or widened a block at a time.

Micro-kernels read them one scalar at a time for all rows.  Of what is stored in fewer bits a block
of the stream is widened first, once for all rows of a task.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from maquette.compiler.kernel import Tensor
from maquette.compiler.tile import strides
from maquette.ir.scalar import Arg
from maquette.run.cpp.stream_plan import Plan
from maquette.run.cpp.vector import ctype


@dataclass(frozen=True)
class Operand:
    """What a micro-kernel reads: by position of the stream, then along `axes`."""

    plan: Plan
    arg: Arg
    axes: tuple[str, ...]
    number: int  # among the operands of a kernel

    @property
    def tensor(self) -> Tensor:
        """The tensor that it is in."""
        return self.plan.roles.tensors[self.plan.roles.names[self.arg.number]]

    @property
    def widened(self) -> bool:
        """Whether blocks of it are copied as floats."""
        return self.tensor.dtype.name != "f32"

    @property
    def ctype(self) -> str:
        """The type of an element as the micro-kernel reads it."""
        return "float" if self.widened else ctype(self.tensor.dtype)

    @property
    def width(self) -> int:
        """Elements of one position."""
        return prod(map(self.plan.extent, self.axes))

    @property
    def step(self) -> int:
        """Elements from one position of the stream to the next."""
        return self.width if self.widened else self._stride(self.plan.roles.stream)

    @property
    def strides(self) -> list[int]:
        """Elements from one point to the next along each axis."""
        if not self.widened:
            return [self._stride(a) for a in self.axes]
        extents = [self.plan.extent(a) for a in self.axes]
        return [prod(extents[i + 1 :]) for i in range(len(extents))]

    def _stride(self, axis: str) -> int:
        found = strides.stride(self.tensor, self.arg, axis)
        assert found is not None  # else the kernel is not of the class
        return found

    @property
    def place(self) -> str:
        """Where its widened block lies, as C++ text."""
        return f"(scratch + {self.plan.places[f'wide {self.number}'][0]})"

    def source(self, origin: str) -> str:
        """Where position ``t0`` is; `origin` is where position 0 of the tensor is."""
        if self.widened:
            return f"{self.place} + (t0 - s0) * {self.step}"
        return f"{origin} + t0 * {self.step}"

    def copied(self, origin: str) -> list[str]:
        """Statements that widen positions ``s0 …`` of a block; none where nothing is widened."""
        if not self.widened:
            return []
        loops, offsets, index = [], [f"s0 * {self._stride(self.plan.roles.stream)}"], "0"
        for k, axis in enumerate(self.axes[:-1]):
            extent = self.plan.extent(axis)
            loops.append(f"for (long d{k} = 0; d{k} < {extent}; ++d{k})")
            offsets.append(f"d{k} * {self._stride(axis)}")
            index = f"({index} * {extent} + d{k})"
        inner = self.plan.extent(self.axes[-1])
        shape = [self._stride(self.plan.roles.stream), self._stride(self.axes[-1]), inner]
        shape.append(self.width)
        source = " + ".join([origin, *offsets])
        count = f"least({self.plan.sizes.depth}, high - s0)"
        head = f"widen<{', '.join(map(str, shape))}>"
        text = f"{head}({source}, {self.place} + {index} * {inner}, {count});"
        return [*loops, text]


def operands(plan: Plan) -> list[Operand]:
    """Those of products, then those of components that are contractions, in order."""
    roles = plan.roles
    found = [(p.stream, p.over) for p in roles.products]
    found += [(c.operand, (c.inner,)) for c in roles.components if c.operand is not None]
    return [Operand(plan, arg, axes, i) for i, (arg, axes) in enumerate(found)]
