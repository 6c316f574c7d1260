"""Schedules to hold prices against: kernels of several kinds and sizes, each tiled several ways.

Kernels are made by the compiler itself from the builder's programs, so that no framework is
needed.  Those of `FITTED` are for fitting the constants of prices, those of `HELD_OUT` for judging
them; no size is in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.compiler.canonical import canonical
from maquette.compiler.derive.derive import derive
from maquette.compiler.fuse import fuse
from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tiling import Candidate
from maquette.ir import build as b
from maquette.ir.graph import Graph
from maquette.run.build import build
from maquette.run.strategies import STRATEGIES, emit

Price = Callable[[Candidate], float]
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Schedule:
    """One kernel under one tiling."""

    kind: str
    sizes: Sizes
    kernel: Kernel
    candidate: Candidate

    @property
    def name(self) -> str:
        shape = "x".join(map(str, self.sizes))
        return f"{self.kind} {shape}: {self.candidate.tiling.strategy}"


def _given(name: str, **axes: int) -> b.Tensor:
    return b.tensor(name, "activation", "f32", **axes)


def _attention(h: int, s: int, d: int, causal: bool) -> b.Tensor:
    q, k, v = _given("q", h=h, s=s, d=d), _given("k", h=h, t=s, d=d), _given("v", h=h, t=s, e=d)
    scores = b.dot(q, k, "d") * d**-0.5
    if causal:
        scores = b.where(b.iota("t", s) <= b.iota("s", s), scores, float("-inf"))
    return b.dot(b.softmax(scores, "t"), v, "t")


def _product(m: int, n: int, k: int) -> b.Tensor:
    return b.dot(_given("x", m=m, k=k), _given("w", k=k, n=n), "k")


def _softmax(n: int, t: int) -> b.Tensor:
    return b.softmax(_given("x", n=n, t=t), "t")


def _rms_norm(n: int, d: int) -> b.Tensor:
    x = _given("x", n=n, d=d)
    return x * b.rsqrt((x * x).sum("d") / d + 1e-5) * _given("w", d=d)


def _gated(n: int, f: int) -> b.Tensor:
    gate = _given("g", n=n, f=f)
    return gate * b.sigmoid(gate) * _given("u", n=n, f=f)


def _sum(n: int, d: int) -> b.Tensor:
    return _given("x", n=n, d=d) + _given("y", n=n, d=d)


KINDS: Mapping[str, Callable[..., b.Tensor]] = {
    "causal attention": lambda h, s, d: _attention(h, s, d, True),
    "full attention": lambda h, s, d: _attention(h, s, d, False),
    "product": _product,
    "softmax": _softmax,
    "rms norm": _rms_norm,
    "gated activation": _gated,
    "sum": _sum,
}
FITTED: Mapping[str, Sequence[Sizes]] = {
    "causal attention": [(8, 256, 64), (8, 1024, 64), (4, 640, 128)],
    "full attention": [(8, 384, 64), (4, 1024, 64), (8, 512, 80)],
    "product": [(256, 512, 512), (512, 1024, 1024), (64, 2048, 1024), (1024, 768, 768),
                (16, 1024, 4096), (1, 2048, 4096), (900, 700, 500)],
    "softmax": [(64, 512), (4096, 512), (8192, 1000)],
    "rms norm": [(128, 1024), (2048, 1024), (777, 4096)],
    "gated activation": [(64, 2816), (2048, 2816)],
    "sum": [(32, 1024), (4096, 2048)],
}  # fmt: skip
HELD_OUT: Mapping[str, Sequence[Sizes]] = {
    "causal attention": [(8, 512, 64), (8, 2048, 64), (4, 777, 80)],
    "full attention": [(8, 512, 64), (2, 1500, 64), (8, 300, 128)],
    "product": [(384, 384, 384), (512, 2816, 1024), (512, 1024, 2816), (128, 1024, 1024),
                (1, 4096, 2048), (32, 2048, 2048), (1000, 300, 900)],
    "softmax": [(256, 256), (2048, 2048), (16384, 700)],
    "rms norm": [(512, 1024), (4096, 1024), (100, 8192)],
    "gated activation": [(512, 2816), (1024, 5000)],
    "sum": [(256, 1024), (2000, 3000)],
}  # fmt: skip


def schedules(
    chosen: Mapping[str, Sequence[Sizes]], processor: Processor, price: Price, each: int = 4
) -> Iterator[Schedule]:
    """For every kernel the tiling that is priced quickest, and others up to twice as slow.

    The axis across lanes is that of the quickest: lanes that lie apart in memory cost what no
    count of bytes tells, and the price ranks them behind by their extra operations alone.
    """
    for kind, shapes in chosen.items():
        for sizes in shapes:
            kernel = kernel_of(kind, sizes)
            found = [c for strategy in STRATEGIES for c in strategy(kernel, processor)]
            for candidate in _spread(sorted(found, key=price), price, each):
                yield Schedule(kind, sizes, kernel, candidate)


def kernel_of(kind: str, sizes: Sizes) -> Kernel:
    """The kernel that the compiler makes of a program of one kind, at some sizes."""
    graph = Graph("made", {"y": KINDS[kind](*sizes).value})
    kernels = fuse(derive(graph).graph).kernels
    assert len(kernels) == 1, f"{kind} {sizes} takes {len(kernels)} kernels"
    assert isinstance(kernels[0], Kernel)
    return canonical(kernels[0])


def _spread(ordered: Sequence[Candidate], price: Price, each: int) -> list[Candidate]:
    first = ordered[0]
    near = [c for c in ordered if price(c) <= 2 * price(first)]
    near = [c for c in near if c.tiling.strategy != "rows" or c.tiling.lanes == first.tiling.lanes]
    places = {round(i * (len(near) - 1) / max(each - 1, 1)) for i in range(each)}
    return [near[i] for i in sorted(places)] if near else []


def runnable(schedule: Schedule, processor: Processor) -> Callable[[], None]:
    """The schedule as compiled code, bound to random operands."""
    source = emit(schedule.kernel, schedule.candidate.tiling, processor)
    entry = build([source])[source.symbol]
    buffers = _buffers(schedule.kernel)
    if source.workspace:
        buffers.append(_aligned(source.workspace))
    pointers = np.array([x.ctypes.data for x in buffers], np.uintp)
    address = pointers.ctypes.data

    def run(held: object = (buffers, pointers)) -> None:
        entry(address)

    return run


def _buffers(kernel: Kernel) -> list[Any]:
    random = np.random.default_rng(0)
    found: dict[str, Any] = {}
    order = []
    for tensor in (*kernel.inputs, *kernel.outputs):
        if tensor.buffer not in found:
            last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
            size = tensor.offset + last + 1
            held = _aligned(4 * size).view(np.float32)[:size]
            held[:] = random.standard_normal(size, np.float32)
            found[tensor.buffer] = held
        order.append(found[tensor.buffer])
    return order


def _aligned(size: int) -> Any:
    held = np.zeros(size + 64, np.uint8)
    start = -held.ctypes.data % 64
    return held[start : start + size]
