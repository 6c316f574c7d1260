"""Stages of a metapipeline: what each pattern of a kernel does to one tile, and what it reads.

Operands come from another stage or from a tier of memory.  A tensor that a stage makes and another
reads under other axes is the same buffer; where the reader's tile needs more than the maker's, it
waits for all tiles, or, where its fold goes no further than its own position, for the earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf, prod

from maquette.compiler.kernel import Kernel, Result, Tensor
from maquette.compiler.kernel import Stage as Pattern
from maquette.ir.scalar import reads as arguments
from maquette.machines.types import Fabric
from maquette.space.mapping.banking import read_lanes, turns
from maquette.space.mapping.causal import reads_earlier
from maquette.space.mapping.part import Part, tile
from maquette.space.mapping.passing import passing
from maquette.space.mapping.routing import Routing, routed, sized
from maquette.space.mapping.skipping import live
from maquette.space.mapping.types import Access, Stage, Stream
from maquette.space.mapping.work import Done, done


@dataclass(frozen=True)
class _Made:
    """A tensor on the chip: who makes it, how large it is, how large one tile of it."""

    stage: str
    total: float
    tile: float
    step: int  # elements from one lane to the next, as it is written
    first: int  # element of the buffer that the first tile has, and the last
    last: int


@dataclass
class _Walk:
    """Stages so far, and what is where."""

    part: Part
    tiles: int
    fabric: Fabric
    tiers: Mapping[str, str]
    made: dict[str, list[_Made]] = field(default_factory=dict)  # parts of each buffer

    def kernel(self, kernel: Kernel, piece: Kernel) -> Iterator[Stage]:
        whole = {t.name: t for t in kernel.inputs}
        small = {t.name: t for t in piece.inputs}
        local: dict[str, _Made] = {}
        outputs = {t.name: t for t in kernel.outputs}
        written = {t.name: t for t in piece.outputs}
        stored = {n: t.buffer for n, t in outputs.items()}
        along = passing(kernel)
        kept = live(kernel, int(self.fabric.lanes.value))
        for pattern in kernel.stages:
            view = Kernel(kernel.name, piece.extents, tuple(small.values()), (), (pattern,))
            name = pattern.results[-1].name
            if isinstance(kernel, Routing):
                work = routed(kernel, piece, self.fabric)
            else:
                work = done(pattern, view, self.fabric)
            lane = _lane(pattern.results[-1], outputs, kernel)
            reads = dict[tuple[str, str], Stream]()
            for n in dict.fromkeys(pattern.reads):
                tensor, part = whole[n], small[n]
                places = _placed(pattern, n)
                most = _points(pattern, kernel) * places, _points(pattern, piece) * places
                step = _step(tensor, read_lanes(pattern, work.path, lane, tensor.axes, whole))
                for s in self._read(kernel, tensor, part, local, most, step):
                    if (name, n) in along:
                        s = replace(s, block=self._block(s.tile, along[name, n], piece))
                    held = reads.get((s.name, s.other))
                    if held is None or held.tile < s.tile:
                        reads[s.name, s.other] = s
            writes = []
            for r in pattern.results:
                whole[r.name], small[r.name] = _dense(r, kernel.extents), _dense(r, piece.extents)
                step = _step(outputs.get(r.name, whole[r.name]), _lane(r, outputs, kernel))
                span = _span(written.get(r.name, small[r.name]))
                made = _Made(name, _bytes(whole[r.name]), _bytes(small[r.name]), step, *span)
                local[r.name] = made
                buffer = stored.get(r.name, r.name)
                if r.name in stored:
                    self.made.setdefault(buffer, []).append(made)
                access: Access = "tile" if made.tile < made.total else "held"
                writes.append(Stream(buffer, "", access, made.tile, made.total, made.tile))
            made_ = _stage(
                name, kernel.name, work, tuple(reads.values()), tuple(writes), self.fabric
            )
            yield replace(made_, live=kept.get(name, 1.0))

    def _read(
        self,
        kernel: Kernel,
        whole: Tensor,
        small: Tensor,
        local: Mapping[str, _Made],
        most: tuple[float, float],
        step: int,
    ) -> Iterator[Stream]:
        """What arrives from a stage, and what of it lies in memory from before.

        Elements at `most`, of all tiles and of one, are asked for, lanes `step` apart.
        """
        width = whole.dtype.bytes
        total, each = min(_bytes(whole), most[0] * width), min(_bytes(small), most[1] * width)
        if whole.name in local:
            made = local[whole.name]
            access: Access = "tile" if made.tile < made.total else "held"
            across = step != made.step
            yield Stream(whole.buffer, made.stage, access, each, total, each, across)
            return
        left = total
        for made in self.made.get(whole.buffer, ()):
            fresh = min(left, made.total)
            left -= fresh
            access = self._arrival(kernel, whole, small, total / each if each else 1.0, made)
            size, across = each * fresh / total if total else 0.0, step != made.step
            yield Stream(whole.buffer, made.stage, access, size, fresh, size, across)
        if left > 0 and (whole.buffer in self.part.roles or whole.buffer not in self.made):
            role = self.part.roles.get(whole.buffer, "activation")
            access = "tile" if total / each >= self.tiles > 1 else "held"
            size, across = each * left / total, step != 1 and role != "weight"
            yield Stream(whole.buffer, self.tiers[role], access, size, left, size, across)

    def _block(self, tile: float, along: tuple[str, ...], piece: Kernel) -> float:
        """Bytes of so many points of folded axes as there are lanes."""
        folded = prod(piece.extents[a] for a in along)
        return tile * min(1.0, self.fabric.lanes.value / folded)

    def _arrival(
        self, kernel: Kernel, whole: Tensor, small: Tensor, pieces: float, made: _Made
    ) -> Access:
        """How a reader's tiles follow from the maker's."""
        cut = made.total / made.tile if made.tile else 1.0
        streamed = frozenset(self.part.streamed(kernel))
        if cut <= 1:
            return "held"
        if _slides(whole, streamed):  # its tiles overlap, forwards or backwards
            return "whole" if _span(small)[1] > made.last else "prefix"
        if pieces >= cut:
            return "tile"
        return "prefix" if reads_earlier(kernel, whole, streamed) else "whole"


def stages(
    part: Part, tiles: int, fabric: Fabric, tiers: Mapping[str, str]
) -> tuple[Stage, ...] | None:
    """The stages of every kernel in order; None where one does not divide into so many tiles.

    `tiers` names the memory of each role of input, and of "activation" at the border.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> from maquette.space.mapping.part import part
    >>> y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    >>> kept = dict.fromkeys(("weight", "activation"), "hbm")
    >>> whole = part(Graph("g", {"y": y.value}), {"n": 128})
    >>> (made,) = stages(whole, 4, machine("sn40l").fabric, kept)
    >>> made.path, made.work, [(r.name, r.access) for r in made.reads]
    ('matrix', 256.0, [('x', 'tile'), ('w', 'held')])
    """
    walk = _Walk(part, tiles, fabric, tiers)
    found: list[Stage] = []
    if tiles > 1 and not part.stream:
        return None
    for kernel in sized(part.kernels, part.counts):
        piece = tile(kernel, part, tiles)
        if piece is None:
            return None
        found += walk.kernel(kernel, piece)
    outputs = {t.buffer for t in part.flow.outputs}
    return tuple(
        replace(
            s,
            writes=tuple(
                replace(w, other=tiers["activation"]) if w.name in outputs else w for w in s.writes
            ),
        )
        for s in found
    )


def _stage(
    name: str,
    kernel: str,
    work: Done,
    reads: tuple[Stream, ...],
    writes: tuple[Stream, ...],
    fabric: Fabric,
) -> Stage:
    """The larger operand of a contraction passes the units once per block of the other's rows."""
    largest = max(reads, key=lambda r: r.tile, default=None)
    ported = tuple(
        replace(r, port=r.tile * (work.passes if r is largest else 1.0) * turns(r.across, fabric))
        for r in reads
    )
    vector = fabric.lanes.value * fabric.word.value
    arrival = sum(r.tile for r in reads) / (vector * fabric.vector_inputs.value)
    return Stage(
        name,
        kernel,
        work.path,
        max(work.cycles, arrival),
        work.widest,
        work.flops,
        work.chain,
        ported,
        writes,
        work.depth,
        work.needs,
    )


def _lane(result: Result, outputs: Mapping[str, Tensor], kernel: Kernel) -> str:
    """The axis along which a result is written: that of neighbours in memory, else its last."""
    out = outputs.get(result.name)
    if out is None:
        return result.axes[-1] if result.axes else ""
    pairs = zip(out.axes, out.strides, strict=True)
    return min(((s, a) for a, s in pairs if kernel.extents[a] > 1), default=(1, ""))[1]


def _step(tensor: Tensor, axis: str) -> int:
    """Elements from one point of an axis to the next; 1 for a tensor that has it not."""
    return dict(zip(tensor.axes, tensor.strides, strict=True)).get(axis, 1)


def _placed(pattern: Pattern, name: str) -> float:
    """How many elements of a tensor one point reads at coordinates of its own; ∞: all axes'."""
    number = pattern.reads.index(name)
    found = [a for leaf in pattern.leaves for a in arguments(leaf) if a.number == number]
    return float(len(found)) if all(a.at for a in found) else inf


def _points(pattern: Pattern, kernel: Kernel) -> float:
    axes = {*pattern.over, *(a for r in pattern.results for a in r.axes)}
    return float(prod(kernel.extents[a] for a in axes))


def _dense(result: Result, extents: Mapping[str, int]) -> Tensor:
    """A result as a tensor of its own."""
    shape = tuple(extents[a] for a in result.axes)
    strides = tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
    return Tensor(result.name, result.dtype, result.axes, shape, strides, result.name)


def _bytes(tensor: Tensor) -> float:
    """Of the distinct elements: axes of one stride slide over each other."""
    along: dict[int, int] = {}
    for n, stride in zip(tensor.shape, tensor.strides, strict=True):
        if stride:
            along[stride] = along.get(stride, 1) + n - 1
    return 0.0 if 0 in tensor.shape else prod(along.values()) * tensor.dtype.bytes


def _slides(tensor: Tensor, streamed: frozenset[str]) -> bool:
    """Whether a window moves along a streamed axis by less than it holds."""
    pairs = list(zip(tensor.axes, tensor.strides, strict=True))
    own = {stride for a, stride in pairs if a in streamed}
    return any(stride in own for a, stride in pairs if a not in streamed and stride)


def _span(tensor: Tensor) -> tuple[int, int]:
    """The first and the last element of a buffer that a window takes."""
    pairs = zip(tensor.shape, tensor.strides, strict=True)
    return tensor.offset, tensor.offset + sum((n - 1) * s for n, s in pairs)
