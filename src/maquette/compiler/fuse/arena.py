"""The arena: buffers between kernels share bytes where they are never alive together.

A buffer is alive from the kernel that first writes it to the one that last reads it.  The largest
are placed first, each at the lowest offset that is free all its life; offsets are whole cache
lines.  A kernel that only maps point by point may write over a tensor that dies in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from maquette.compiler.kernel import Buffer, Flow, Interpreted, Kernel, Tensor
from maquette.ir.scalar import Arg, Scalar
from maquette.ir.scalar import reads as reads_of

LINE = 64  # bytes


@dataclass(frozen=True)
class Life:
    """Bytes, and the first and last kernel that touches them."""

    bytes: int
    first: int
    last: int


def planned(flow: Flow) -> Flow:
    """The same flow with a place for every buffer that is neither an input nor an output."""
    lives = lifetimes(flow)
    shared = overwritten(flow, lives)
    roots: dict[str, str] = {}
    for name in lives:
        root = name
        while root in shared:
            root = shared[root]
        roots[name] = root
    joined: dict[str, Life] = {}
    for name, life in lives.items():
        held = joined.get(roots[name], life)
        first, last = min(held.first, life.first), max(held.last, life.last)
        joined[roots[name]] = Life(max(held.bytes, life.bytes), first, last)
    offsets = placed(joined)
    arena = tuple(Buffer(n, lives[n].bytes, offsets[roots[n]]) for n in lives)
    return replace(flow, arena=arena)


def lifetimes(flow: Flow) -> dict[str, Life]:
    """When each buffer between kernels is alive, and how large it is."""
    outside = {t.buffer for t in (*flow.inputs, *flow.outputs)}
    found: dict[str, Life] = {}
    for number, kernel in enumerate(flow.kernels):
        for tensor in (*kernel.inputs, *kernel.outputs):
            if tensor.buffer in outside:
                continue
            held = found.get(tensor.buffer, Life(0, number, number))
            found[tensor.buffer] = Life(max(held.bytes, end(tensor)), held.first, number)
    return found


def end(tensor: Tensor) -> int:
    """The bytes of a buffer up to the end of a tensor's last element."""
    if 0 in tensor.shape:
        return 0
    last = tensor.offset
    for extent, stride in zip(tensor.shape, tensor.strides, strict=True):
        last += max(0, (extent - 1) * stride)
    return -(-int((last + 1) * tensor.dtype.bits) // 8)


def placed(lives: Mapping[str, Life]) -> dict[str, int]:
    """Offsets such that buffers that are alive together never overlap.

    >>> placed({"a": Life(100, 0, 1), "b": Life(64, 1, 2), "c": Life(100, 2, 3)})
    {'a': 0, 'c': 0, 'b': 128}
    """
    offsets: dict[str, int] = {}
    order = sorted(lives, key=lambda n: (-lives[n].bytes, lives[n].first))
    for name in order:
        life = lives[name]
        busy = sorted(
            (offsets[other], offsets[other] + _lines(lives[other].bytes))
            for other in offsets
            if lives[other].first <= life.last and life.first <= lives[other].last
        )
        place = 0
        for start, end in busy:
            if start - place >= _lines(life.bytes):
                break
            place = max(place, end)
        offsets[name] = place
    return offsets


def _lines(count: int) -> int:
    return -(-count // LINE) * LINE


def overwritten(flow: Flow, lives: Mapping[str, Life]) -> dict[str, str]:
    """Outputs that take the place of an input that dies in the kernel that makes them."""
    found: dict[str, str] = {}
    for number, kernel in enumerate(flow.kernels):
        if isinstance(kernel, Interpreted) or any(s.kind != "map" for s in kernel.stages):
            continue  # what combines may store parts of a result before it has read all
        if len(kernel.outputs) != 1:
            continue
        free = {t.buffer for t in kernel.inputs if _dies(t, number, lives)}
        for output in kernel.outputs:
            if output.buffer not in lives or lives[output.buffer].first != number:
                continue
            for source in sorted(free):
                if _covers(kernel, source, output) and lives[source].bytes == end(output):
                    found[output.buffer] = source
                    free.discard(source)
                    break
    return found


def _dies(tensor: Tensor, number: int, lives: Mapping[str, Life]) -> bool:
    life = lives.get(tensor.buffer)
    return life is not None and life.last == number and life.first < number


def _covers(kernel: Kernel, source: str, output: Tensor) -> bool:
    """Whether every read of a buffer is of the very element that the output writes."""
    windows = [t for t in kernel.inputs if t.buffer == source]
    same = dict(zip(output.axes, output.strides, strict=True))
    for tensor in windows:
        wide = dict(zip(tensor.axes, tensor.strides, strict=True))
        steps = {a: s for a, s in wide.items() if kernel.extents.get(a, 1) > 1}
        if tensor.offset != output.offset or tensor.dtype.bits != output.dtype.bits:
            return False
        if steps != {a: s for a, s in same.items() if kernel.extents[a] > 1}:
            return False
    names = {t.name for t in windows}
    return not any(_computed(s.leaves, s.reads, names) for s in kernel.stages)


def _computed(leaves: Iterable[Scalar], reads: tuple[str, ...], names: set[str]) -> bool:
    """Whether a leaf reads one of the tensors at a computed coordinate."""
    found: list[Arg] = [a for leaf in leaves for a in reads_of(leaf)]
    return any(a.at and reads[a.number] in names for a in found)
