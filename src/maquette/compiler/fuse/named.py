"""Kernels of one form are made once, then told what their tensors and results are called.

Layers repeat: their groups differ in nothing but which buffers they read and write.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace

from maquette.compiler.fuse.emit import Names, Stores, components, kernel
from maquette.compiler.fuse.group import Group
from maquette.compiler.fuse.windows import Held
from maquette.compiler.kernel import Kernel, Result, Stage, Tensor
from maquette.ir.patterns import Value


@dataclass
class Kernels:
    """The kernels of the groups of one flow, by what they store and how it is called."""

    stores: Stores
    names: Names
    made: dict[Hashable, Kernel] = field(default_factory=dict)

    def kernel(self, name: str, group: Group) -> Kernel:
        """The kernel of a group."""
        held = self._held(group)
        calls: dict[str, str] = {}
        plain: dict[tuple[Value, int], Held] = {}
        for key, h in held.items():
            called = calls.setdefault(h.buffer, f"b{len(calls)}")
            plain[key] = replace(h, name=called, buffer=called)
        form = self._form(group, plain)
        if form not in self.made:
            local = {
                (p.piece, c): f"r{i}_{c}"
                for i, p in enumerate(group.placed)
                for c in range(len(p.piece.components))
            }
            self.made[form] = kernel(group, plain, local)
        results = {
            f"r{i}_{c}": self.names[p.piece, c]
            for i, p in enumerate(group.placed)
            for c in range(len(p.piece.components))
        }
        buffers = {called: buffer for buffer, called in calls.items()}
        return _called(self.made[form], name, results, buffers)

    def _held(self, group: Group) -> dict[tuple[Value, int], Held]:
        """What a group reads from outside and stores."""
        found: dict[tuple[Value, int], Held] = {}
        for p, c in components(group):
            key = p.piece.value, c
            if key in self.stores:
                found[key] = self.stores[key]
        for p in group.placed:
            for read in p.piece.reads:
                if group.member(read.source) is None:
                    key = read.source, read.component
                    found[key] = self.stores[key]
        return found

    def _form(self, group: Group, held: Mapping[tuple[Value, int], Held]) -> Hashable:
        """What two groups share if one kernel, told other names, is the other."""
        numbers = {p.piece.value: i for i, p in enumerate(group.placed)}
        parts: list[Hashable] = [tuple(group.axes.items())]
        for p in group.placed:
            piece = p.piece
            wires = tuple(
                (numbers[r.source], r.component)
                if group.member(r.source) is not None
                else held[r.source, r.component]
                for r in piece.reads
            )
            stored = tuple(held.get((piece.value, c)) for c in range(len(piece.components)))
            same = id(piece.leaves), id(piece.place), tuple(r.at for r in piece.reads)
            parts.append((same, tuple(p.at.items()), wires, stored))
        return tuple(parts)


def _called(
    made: Kernel, name: str, results: Mapping[str, str], buffers: Mapping[str, str]
) -> Kernel:
    """A kernel with other names."""
    taken = set(results.values())
    called = dict(results)
    for tensor in made.inputs:
        base = fresh = buffers[tensor.buffer]
        number = 1
        while fresh in taken:
            number += 1
            fresh = f"{base}_{number}"
        taken.add(fresh)
        called[tensor.name] = fresh

    def renamed(tensor: Tensor) -> Tensor:
        t, buffer = tensor, buffers[tensor.buffer]
        return Tensor(called[t.name], t.dtype, t.axes, t.shape, t.strides, buffer, t.offset)

    def stage(s: Stage) -> Stage:
        results = tuple(Result(called[r.name], r.axes, r.dtype) for r in s.results)
        return Stage(s.kind, results, s.over, s.monoid, s.leaves, tuple(called[r] for r in s.reads))

    stages = tuple(map(stage, made.stages))
    inputs, outputs = tuple(map(renamed, made.inputs)), tuple(map(renamed, made.outputs))
    return Kernel(name, made.extents, inputs, outputs, stages)
