"""Stages of a metapipeline: what each pattern of a kernel does to one tile.

Work is in unit-cycles.  A contraction runs on the systolic array of a compute unit, output
stationary, where it is reused along both sides of it, and else one lane-wide vector of the larger
operand per cycle.  All other arithmetic fills lanes × stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import ceil, isqrt, prod

from maquette.compiler.kernel import Kernel, Result, Tensor
from maquette.compiler.kernel import Stage as Pattern
from maquette.machines.types import Fabric
from maquette.price.kernel_work import work
from maquette.space.mapping.part import Part, tile
from maquette.space.mapping.types import Access, Path, Stage, Stream


def stages(
    part: Part, tiles: int, fabric: Fabric, tiers: Mapping[str, str]
) -> tuple[Stage, ...] | None:
    """The stages of every kernel; None where it does not divide into so many tiles.

    `tiers` names the memory of each role of input, and of "activation" at the border.
    """
    made: dict[str, tuple[str, Tensor, bool]] = {}  # buffer → stage, window written, streamed
    found: list[Stage] = []
    for kernel in part.kernels:
        piece = tile(kernel, part.stream, tiles)
        if piece is None:
            return None
        found += _kernel(kernel, piece, part, made, fabric, tiers)
    return tuple(_with_readers(found, part, tiers))


def _kernel(
    kernel: Kernel,
    piece: Kernel,
    part: Part,
    made: dict[str, tuple[str, Tensor, bool]],
    fabric: Fabric,
    tiers: Mapping[str, str],
) -> Iterator[Stage]:
    tensors = {t.name: t for t in kernel.inputs}
    small = {t.name: t for t in piece.inputs}
    local: dict[str, str] = {}
    stored = {t.name: t for t in kernel.outputs}
    for pattern in kernel.stages:
        one = Kernel(kernel.name, piece.extents, tuple(small.values()), (), (pattern,))
        reads: list[Stream] = []
        for name in dict.fromkeys(pattern.reads):
            whole, cut = tensors[name], small[name]
            maker = local.get(name) or ("" if name in local else _source(whole, made))
            reads += _read(whole, cut, maker, name in local, made, part, tiers)
        stage = _stage(kernel, pattern, one, tuple(reads), fabric)
        for result in pattern.results:
            whole = _dense(result, kernel.extents)
            cut = _dense(result, piece.extents)
            tensors[result.name], small[result.name] = whole, cut
            local[result.name] = stage.name
            size, each = _bytes(whole), _bytes(cut)
            access: Access = "tile" if each < size else "held"
            stage = replace(
                stage, writes=(*stage.writes, Stream(result.name, "", access, each, size, each))
            )
            if result.name in stored:
                made[stored[result.name].buffer] = (stage.name, whole, each < size)
        yield stage


def _source(tensor: Tensor, made: Mapping[str, tuple[str, Tensor, bool]]) -> str:
    return made[tensor.buffer][0] if tensor.buffer in made else ""


def _read(
    whole: Tensor,
    cut: Tensor,
    maker: str,
    near: bool,
    made: Mapping[str, tuple[str, Tensor, bool]],
    part: Part,
    tiers: Mapping[str, str],
) -> Iterator[Stream]:
    """What arrives from a stage, and what of it lies in memory from before."""
    size, each = _bytes(whole), _bytes(cut)
    access: Access = "tile" if each < size else "held"
    fresh = size
    if maker and not near:
        _, written, streamed = made[whole.buffer]
        fresh = min(size, _bytes(written))
        if streamed and each == size:
            access = "whole"
    if maker:
        share = fresh / size if size else 0.0
        yield Stream(whole.name, maker, access, each * share, fresh, each * share)
    if (old := size - (fresh if maker else 0.0)) > 0:
        role = part.roles.get(whole.buffer, "activation")
        share = old / size
        yield Stream(whole.name, tiers[role], access, each * share, old, each * share)


def _stage(
    kernel: Kernel, pattern: Pattern, one: Kernel, reads: tuple[Stream, ...], fabric: Fabric
) -> Stage:
    done = work(one)
    lanes, deep = fabric.lanes.value, fabric.stages.value
    width = min((r.dtype.bytes for r in pattern.results), default=4.0)
    points = float(prod(one.extents[a] for a in {*pattern.over, *pattern.results[-1].axes}))
    vector = done.vector / (lanes * deep)
    path: Path = "vector" if done.vector else "copy"
    busy = vector
    repeats = 1.0
    if done.matrix:
        systolic, thin, side = _contraction(done.matrix, done.reuse, width, fabric)
        busy += min(systolic, thin)
        path = "matrix" if systolic <= thin else "vector"
        repeats = ceil(done.reuse / side) if systolic <= thin else done.reuse
    ported = _ported(reads, repeats)
    depth = deep + 2 * isqrt(fabric.macs.value) if path == "matrix" else 2 * deep
    widest = max(1, ceil(points / lanes))
    name = pattern.results[-1].name
    return Stage(
        name,
        kernel.name,
        path,
        max(busy, sum(r.tile for r in reads) / (lanes * fabric.word.value)),
        widest,
        done.matrix + done.vector,
        ported,
        (),
        depth,
    )


def _contraction(
    flops: float, reuse: float, width: float, fabric: Fabric
) -> tuple[float, float, int]:
    """Unit-cycles on the systolic array and lane by lane, and the side of the array.

    Where multiply-adds are no more than functional units there is no array.
    """
    points, lanes = flops / 2, fabric.lanes.value
    side = isqrt(fabric.macs.value)
    thin = points * width / (lanes * fabric.word.value)
    if fabric.macs.value <= lanes * fabric.stages.value:
        return float("inf"), thin, side
    return points / fabric.macs.value * max(1.0, side / reuse), thin, side


def _ported(reads: tuple[Stream, ...], repeats: float) -> tuple[Stream, ...]:
    """The larger operand passes the array once per block of the smaller one's rows."""
    if not reads:
        return reads
    largest = max(range(len(reads)), key=lambda i: reads[i].tile)
    return tuple(
        replace(r, port=r.tile * repeats) if i == largest else r for i, r in enumerate(reads)
    )


def _with_readers(found: list[Stage], part: Part, tiers: Mapping[str, str]) -> Iterator[Stage]:
    """Results that nobody on the chip reads, and outputs of the part, are written to memory."""
    outputs = {t.name for t in part.flow.outputs}
    for stage in found:
        writes = []
        for w in stage.writes:
            writes.append(replace(w, other=tiers["activation"]) if w.name in outputs else w)
        yield replace(stage, writes=tuple(writes))


def _dense(result: Result, extents: Mapping[str, int]) -> Tensor:
    """A result as a tensor of its own."""
    shape = tuple(extents[a] for a in result.axes)
    strides = tuple(prod(shape[i + 1 :]) for i in range(len(shape)))
    return Tensor(result.name, result.dtype, result.axes, shape, strides, result.name)


def _bytes(tensor: Tensor) -> float:
    pairs = zip(tensor.shape, tensor.strides, strict=True)
    return prod(n for n, s in pairs if s) * tensor.dtype.bytes
