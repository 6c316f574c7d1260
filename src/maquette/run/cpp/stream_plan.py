"""Sizes of a tiled streamed fold, and where its tiles and states lie in scratch memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from maquette.compiler.tile import bodies, strides
from maquette.compiler.tile.phases import Phases, falling
from maquette.compiler.tile.roles import Component, Roles
from maquette.compiler.tile.stream_sizes import Sizes
from maquette.ir.scalar import Apply, Arg
from maquette.run.cpp.vector_math import FUNCTIONS


@dataclass(frozen=True)
class Plan:
    """What the text of a kernel is made from."""

    roles: Roles
    sizes: Sizes
    lanes: int

    @cached_property
    def phases(self) -> Phases:
        """What is computed in which phase."""
        return Phases(self.roles)

    @property
    def block(self) -> int:
        """Rows of a block: the stride of tiles."""
        return self.sizes.block

    @property
    def vectors(self) -> int:
        """Vectors of rows that phases work on together."""
        return self.sizes.vectors

    def extent(self, axis: str) -> int:
        """Of an axis."""
        return self.roles.kernel.extents[axis]

    def width(self, component: Component) -> int:
        """Values per row."""
        return self.extent(component.inner) if component.inner else 1

    @cached_property
    def turned(self) -> tuple[Arg, ...]:
        """Reads of tensors whose neighbours lie along the stream: turned tile by tile."""
        roles = self.roles
        bodies_ = [*self.phases.leaves.values(), *(k.body for k in self.phases.kept)]
        read = dict.fromkeys(a for b in bodies_ for a in bodies.parts(b) if isinstance(a, Arg))
        return tuple(a for a in read if a.number < len(roles.kernel.inputs) and self._turns(a))

    def _turns(self, arg: Arg) -> bool:
        roles = self.roles
        tensor = roles.tensors[roles.names[arg.number]]
        if not {roles.rows, roles.stream} <= bodies.varies(arg, roles.axes):
            return False
        spots = zip(strides.coordinates(tensor, arg).values(), tensor.shape, strict=True)
        inside = all(strides.within(at, n, roles.kernel.extents) for at, n in spots)
        steps = [strides.stride(tensor, arg, a) for a in (roles.rows, roles.stream)]
        return inside and steps[0] not in (None, 1) and steps[1] == 1

    @cached_property
    def places(self) -> Mapping[str, tuple[int, int]]:
        """Name → offset in scratch, floats per block of rows (0: one for all blocks)."""
        each: dict[str, int] = {}
        once: dict[str, int] = {}
        for p in self.roles.products:
            each[f"rows of {p.name}"] = self.block * prod(map(self.extent, p.over))
        for c in self.roles.components:
            each[c.name] = self.block * self.width(c)
            once[c.name + "'"] = self.block
        for i in range(self.phases.buffers):
            once[f"tile {i}"] = self.block * self.sizes.depth
        streamed = [(p.stream, p.over) for p in self.roles.products]
        streamed += [(c.operand, (c.inner,)) for c in self.roles.components if c.operand]
        for i, (arg, axes) in enumerate(streamed):
            if self.roles.tensors[self.roles.names[arg.number]].dtype.name != "f32":
                once[f"wide {i}"] = prod(map(self.extent, axes)) * self.sizes.depth
        for i in range(len(self.turned)):
            once[f"side {i}"] = self.block * self.sizes.depth
        once["out"] = self.block * max(self.width(c) for c in self.roles.components)
        found, offset = {}, 0
        for name, size in each.items():
            found[name] = (offset, size)
            offset += size * (self.sizes.super // self.block)
        for name, size in once.items():
            found[name] = (offset, 0)
            offset += -(-size // 16) * 16
        found["end"] = (offset, 0)
        return found


def functions(plan: Plan) -> list[str]:
    """Elementary functions that the bodies of a kernel call."""
    roles = plan.roles
    found = [b for c in roles.components for b in (c.leaf, c.repair) if b is not None]
    found += [body for _, body in roles.outputs]
    ops = {p.op for b in found for p in bodies.parts(b) if isinstance(p, Apply)}
    ops |= {"sqrt"} if "rsqrt" in ops else set()
    ops |= {"weight"} if falling(plan.phases) else set()
    return sorted(ops & FUNCTIONS.keys())
