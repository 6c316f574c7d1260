"""Products: kernels of one or several sibling contractions and what is done with their results.

A contraction adds, over some axes, a factor that varies along *rows* times one that varies along
*columns*; both may vary along *batch* axes.  Factors may be any bodies: a conversion, a scale, a
gather, the unpacking of narrow weights.  Maps are inlined where they are read; what the kernel
stores is a body over the results of contractions and other tensors at the same point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from maquette.compiler.kernel import Kernel, Stage, Tensor
from maquette.compiler.tile import bodies
from maquette.compiler.tile.access import Access, access
from maquette.ir.monoids import ADD
from maquette.ir.scalar import Arg, Scalar
from maquette.ir.scalar import reads as reads_of


class Unfit(Exception):
    """Why a kernel is not a product."""


@dataclass(frozen=True)
class Contraction:
    """``name[batch, rows, columns] = add over `over`: rows factor × columns factor``."""

    name: str
    over: tuple[str, ...]  # from the outermost in
    rows: Scalar
    columns: Scalar


@dataclass(frozen=True)
class Product:
    """A kernel of the class, its bodies over one table of names.

    Axes of each group are ordered from the outermost in; those of extent 1 are left out.
    """

    kernel: Kernel
    names: tuple[str, ...]  # what Arg(i) of a body reads: an input, or a contraction's result
    batch: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    contractions: tuple[Contraction, ...]
    outputs: tuple[tuple[Tensor, Scalar], ...]

    def extent(self, axes: Sequence[str]) -> int:
        """How many points some axes span."""
        return prod(self.kernel.extents[a] for a in axes)

    @cached_property
    def axes(self) -> tuple[tuple[str, ...], ...]:
        """Of what each name stands for."""
        results = {r.name: r.axes for s in self.kernel.stages for r in s.results}
        held = {t.name: t.axes for t in self.kernel.inputs}
        return tuple(held[n] if n in held else results[n] for n in self.names)

    def tensor(self, number: int) -> Tensor | None:
        """The input that ``Arg(number)`` reads; None for the result of a contraction."""
        return self.kernel.inputs[number] if number < len(self.kernel.inputs) else None

    def access(self, arg: Arg) -> Access:
        """Where a read of an input goes."""
        tensor = self.kernel.inputs[arg.number]
        found = access(tensor, arg, self.kernel.extents)
        if found is None:
            raise Unfit(f"{tensor.name} is read at coordinates that are not linear")
        return found

    def place(self, tensor: Tensor) -> Access:
        """Where an output goes."""
        found = access(tensor, Arg(0), self.kernel.extents)
        assert found is not None
        return found


def recognise(kernel: Kernel) -> Product:
    """`kernel` as a product.  Raises Unfit with the reason where it is none."""
    return _Builder(kernel).built()


class _Builder:
    """Reads the stages in order and keeps what each name means."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.names = [t.name for t in kernel.inputs]
        self.axes = [t.axes for t in kernel.inputs]
        self.inlined: dict[str, Scalar] = {}
        self.found: list[tuple[Stage, list[Scalar], list[Scalar]]] = []

    def built(self) -> Product:
        if not self.kernel.extents or 0 in self.kernel.extents.values():
            raise Unfit("there is nothing to add")
        for stage in self.kernel.stages:
            leaf = bodies.simplify(self._resolved(stage.leaves[0], stage))
            if stage.kind == "map":
                self.inlined[stage.results[0].name] = leaf
            else:
                self._contraction(stage, leaf)
        if not self.found:
            raise Unfit("nothing is contracted")
        batch, rows, columns = self._groups()
        if self._unit_axis() in rows:
            rows, columns = columns, rows
        order = self._ordered
        made = [self._sided(f, batch, rows, columns) for f in self.found]
        outputs = tuple((t, self._output(t, batch | rows | columns)) for t in self.kernel.outputs)
        return Product(
            self.kernel, tuple(self.names), order(batch), order(rows), order(columns),
            tuple(made), outputs,
        )  # fmt: skip

    def _resolved(self, body: Scalar, stage: Stage) -> Scalar:
        return bodies.resolved(body, stage.reads, self.names, self.inlined, self.axes)

    def _varies(self, body: Scalar) -> frozenset[str]:
        found = bodies.varies(body, self.axes)
        return frozenset(a for a in found if self.kernel.extents[a] > 1)

    def _contraction(self, stage: Stage, leaf: Scalar) -> None:
        result = stage.results[0]
        if stage.kind != "reduce" or stage.monoid != ADD or result.dtype.kind != "float":
            raise Unfit(f"{result.name} is no sum of products")
        made = len(self.kernel.inputs)
        if any(a.number >= made for a in reads_of(leaf)):
            raise Unfit(f"{result.name} contracts the result of a contraction")
        over, under = bodies.factors(leaf)
        summed = set(stage.over)
        inner = [f for f in over if self._varies(f) & summed]
        below = [f for f in under if self._varies(f) & summed]
        self.found.append((stage, inner, below))
        outer = [f for f in over if f not in inner]
        self.names.append(result.name)
        self.axes.append(result.axes)
        held = Arg(len(self.names) - 1)
        if outer or len(under) > len(below):
            rest = [f for f in under if f not in below]
            self.inlined[result.name] = bodies.product([held, *outer], rest)

    def _groups(self) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Batch axes and both other groups, from the first contraction's two largest factors."""
        stage, inner, _ = self.found[0]
        axes = frozenset(a for a in stage.results[0].axes if self.kernel.extents[a] > 1)
        seen = [self._varies(f) & axes for f in inner]
        for i, left in enumerate(seen):
            for right in seen[i + 1 :]:
                batch = left & right
                rows, columns = left - batch, right - batch
                if left | right == axes and all(
                    s <= batch | rows or s <= batch | columns for s in seen
                ):
                    return batch, rows, columns
        raise Unfit(f"{stage.results[0].name} is no product of two tensors")

    def _sided(
        self,
        found: tuple[Stage, list[Scalar], list[Scalar]],
        batch: frozenset[str],
        rows: frozenset[str],
        columns: frozenset[str],
    ) -> Contraction:
        stage, over, under = found
        name = stage.results[0].name
        if {a for a in stage.results[0].axes if self.kernel.extents[a] > 1} != (
            batch | rows | columns
        ):
            raise Unfit(f"{name} has other axes than its siblings")
        summed = frozenset(stage.over)
        sides: list[tuple[list[Scalar], list[Scalar]]] = [([], []), ([], [])]
        for place, bodies_ in enumerate((over, under)):
            for body in bodies_:
                seen = self._varies(body) - summed
                if not seen <= batch | rows and not seen <= batch | columns:
                    raise Unfit(f"a factor of {name} varies along rows and columns")
                sides[not seen <= batch | rows][place].append(body)
        if not sides[0][0] or not sides[1][0]:
            one = 0 if not sides[0][0] else 1  # both vary along batch axes alone
            other = sides[1 - one][0]
            if len(other) < 2 or not self._varies(other[-1]) - summed <= batch:
                raise Unfit(f"{name} contracts one tensor")
            sides[one][0].append(other.pop())
        left, right = (bodies.product(*side) for side in sides)
        return Contraction(name, self._inward(stage.over, right, left), left, right)

    def _inward(self, over: Sequence[str], *by: Scalar) -> tuple[str, ...]:
        """Axes of a sum with the one last along which the first operand has unit stride."""
        own = [a for a in over if self.kernel.extents[a] > 1] or [over[0]]
        for body in by:
            for arg in reads_of(body):
                tensor = self.kernel.inputs[arg.number]
                for axis in own:
                    if axis in tensor.axes and tensor.strides[tensor.axes.index(axis)] == 1:
                        return (*(a for a in own if a != axis), axis)
        return tuple(own)

    def _unit_axis(self) -> str:
        """The axis along which the first output is contiguous."""
        first = self.kernel.outputs[0]
        strides = zip(first.axes, first.shape, first.strides, strict=True)
        return next((a for a, n, s in strides if s == 1 and n > 1), "")

    def _ordered(self, axes: frozenset[str]) -> tuple[str, ...]:
        first = self.kernel.outputs[0]
        stride = dict(zip(first.axes, first.strides, strict=True))
        held = [a for a in self.kernel.extents if a in axes]
        return tuple(sorted(held, key=lambda a: -abs(stride.get(a, 0))))

    def _output(self, tensor: Tensor, axes: frozenset[str]) -> Scalar:
        own = {a for a, n in zip(tensor.axes, tensor.shape, strict=True) if n > 1}
        if own != axes:
            raise Unfit(f"{tensor.name} is stored at other points than the contractions have")
        if tensor.name in self.inlined:
            body = self.inlined[tensor.name]
        else:
            body = Arg(self.names.index(tensor.name))
        if any(a.at for a in reads_of(body)):
            raise Unfit(f"{tensor.name} reads at computed coordinates")
        return body
