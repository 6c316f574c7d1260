"""What a kernel means, point by point in NumPy, and kernels run as C++ beside it."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from maquette.compiler.kernel import Kernel, Result, Stage, Tensor
from maquette.compiler.tile.rows import candidates
from maquette.compiler.tiling import Loop, Tiling
from maquette.ir.dtypes import dtype
from maquette.ir.scalar import Apply, Lit
from maquette.ir.semantics import Numbers
from maquette.ir.semantics import scalar as body_value
from maquette.run.build import build, place
from maquette.run.cpp.rows import emit
from maquette.run.cpp.vector import prelude
from maquette.run.cpp.vector_math import FUNCTIONS
from maquette.run.host import processor
from maquette.run.source import Source
from maquette.run.toolchain import toolchain

needs_compiler = pytest.mark.skipif(toolchain() is None, reason="no C++ compiler")


def op(name, *args):
    """A scalar application; numbers become literals."""
    given = (int, float, bool)
    return Apply(name, tuple(Lit(a) if isinstance(a, given) else a for a in args))


def tensor(name, axes, held="f32", strides=None, offset=0, buffer=None):
    """A tensor with axes ``{"n": 4}``, dense unless strides are given."""
    shape = tuple(axes.values())
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :], dtype=int)) for i in range(len(shape)))
    return Tensor(name, dtype(held), tuple(axes), shape, tuple(strides), buffer or name, offset)


def result(name, axes, held="f32"):
    return Result(name, tuple(axes), dtype(held))


def mapped(name, axes, body, reads, held="f32"):
    return Stage("map", (result(name, axes, held),), (), None, (body,), tuple(reads))


def reduced(name, axes, over, monoid, body, reads, held="f32"):
    return Stage("reduce", (result(name, axes, held),), tuple(over), monoid, (body,), tuple(reads))


def tiling(kernel, lanes, *loops):
    """Loops as ("n", 1) from the outermost in."""
    return Tiling("rows", lanes, tuple(Loop(a, s, "serial") for a, s in loops))


def numbers(*shape, seed=0):
    """Normal numbers, always the same."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def moved(old, new):
    """What exponentials below a maximum are multiplied by when it moves."""
    return op("where", op("eq", old, new), 1.0, op("exp", op("sub", old, new)))


def host(lanes):
    """This processor, or one like it of another width."""
    return processor() if lanes is None else replace(processor(), lanes=lanes)


def meaning(kernel: Kernel, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a kernel, in double precision, from logical (dense) inputs."""
    known = {t.name: (t.axes, np.asarray(inputs[t.name])) for t in kernel.inputs}
    for stage in kernel.stages:
        for r, array in zip(stage.results, _stage(kernel, stage, known), strict=True):
            known[r.name] = (r.axes, array)
    return {
        t.name: np.transpose(known[t.name][1], [known[t.name][0].index(a) for a in t.axes])
        for t in kernel.outputs
    }


def _stage(kernel, stage, known):
    axes = list(dict.fromkeys(a for r in stage.results for a in r.axes))
    domain = axes + [a for a in stage.over if a not in axes]
    extents = [kernel.extents[a] for a in domain]
    numbers = Numbers({}, np.float64)

    def index(axis):
        shape = [-1 if a == axis else 1 for a in domain]
        return np.arange(kernel.extents[axis]).reshape(shape)

    def read(arg):
        held, array = known[stage.reads[arg.number]]
        if array.dtype.kind == "f":
            array = array.astype(np.float64)
        placed = dict(arg.at)
        where = [
            np.asarray(body_value(placed[a], numbers, read, index)) if a in placed else index(a)
            for a in held
        ]
        if not where:
            return array
        where = np.broadcast_arrays(*where)
        inside = np.ones(where[0].shape, bool)
        for w, n in zip(where, array.shape, strict=True):
            inside &= (w >= 0) & (w < n)
        if 0 in array.shape:
            return np.zeros(where[0].shape, array.dtype)
        clipped = tuple(np.clip(w, 0, n - 1) for w, n in zip(where, array.shape, strict=True))
        return np.where(inside, array[clipped], np.zeros((), array.dtype))

    with np.errstate(all="ignore"):
        leaves = [
            np.broadcast_to(body_value(leaf, numbers, read, index), extents).astype(
                numbers.format(r.dtype)
            )
            for leaf, r in zip(stage.leaves, stage.results, strict=True)
        ]
        if stage.kind == "map":
            return [_only(x, domain, r.axes) for x, r in zip(leaves, stage.results, strict=True)]
        return _folded(kernel, stage, domain, leaves)


def _only(array, domain, axes):
    """`array` without the axes of `domain` along which it does not vary."""
    order = [domain.index(a) for a in axes]
    rest = [i for i in range(len(domain)) if i not in order]
    moved = np.transpose(array, order + rest)
    return moved[(..., *(0 for _ in rest))] if rest else moved


def _folded(kernel, stage, domain, leaves):
    monoid = stage.monoid
    kept = [a for a in domain if a not in stage.over]
    order = [domain.index(a) for a in (*kept, *stage.over)]
    shape = [kernel.extents[a] for a in kept]
    count = int(np.prod([kernel.extents[a] for a in stage.over], dtype=int))
    columns = [np.transpose(x, order).reshape(*shape, count) for x in leaves]
    formats = [x.dtype for x in columns]

    def neutral(i):
        value = monoid.identity[i].value
        if formats[i].kind == "i" and not np.isfinite(value):
            return np.full(shape, np.sign(value) * 2**31, np.int64) - (value > 0)
        return np.full(shape, value, formats[i])

    held = [neutral(i) for i in range(monoid.width)]
    prefixes = []
    for j in range(columns[0].shape[-1]):
        both = [*held, *(c[..., j] for c in columns)]
        held = [
            np.broadcast_to(
                body_value(c, Numbers({}, np.float64), lambda a, b=both: b[a.number], None), shape
            ).astype(f)
            for c, f in zip(monoid.combine, formats, strict=True)
        ]
        prefixes.append(held)
    if stage.kind == "reduce":
        return [_only(h, kept, r.axes) for h, r in zip(held, stage.results, strict=True)]
    (along,) = stage.over
    stacked = [
        np.stack([p[i] for p in prefixes], -1) if prefixes else np.zeros((*shape, 0))
        for i in range(monoid.width)
    ]
    names = [*kept, along]
    return [
        np.transpose(x, [names.index(a) for a in r.axes])
        for x, r in zip(stacked, stage.results, strict=True)
    ]


STORED = {
    "f32": np.float32, "f16": np.float16, "i32": np.int32, "i64": np.int64,
    "int8": np.int8, "bool": np.uint8, "bf16": np.uint16,
}  # fmt: skip


def to_bf16(x):
    bits = np.asarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (np.asarray(bits, np.uint32) << 16).view(np.float32)


def window(buffer, t):
    item = buffer.itemsize
    return np.lib.stride_tricks.as_strided(
        buffer[t.offset :], t.shape, [s * item for s in t.strides]
    )


def span(t):
    if 0 in t.shape:
        return t.offset + 1
    return t.offset + 1 + sum((n - 1) * s for n, s in zip(t.shape, t.strides, strict=True))


def drawn(kernel, rng):
    """Random inputs, of which those that share a buffer agree."""
    buffers, found = {}, {}
    for t in kernel.inputs:
        size = max(span(x) for x in kernel.inputs if x.buffer == t.buffer)
        if t.buffer not in buffers and t.dtype.kind == "float":
            values = rng.normal(size=size).astype(np.float32)
            held = from_bf16(to_bf16(values)) if t.dtype.name == "bf16" else values
            buffers[t.buffer] = held
        elif t.buffer not in buffers:
            buffers[t.buffer] = rng.integers(0 if t.dtype.kind == "bool" else -1, 2, size)
        found[t.name] = window(buffers[t.buffer], t)
    return found


GUARD = 64  # elements around every buffer that nobody may write


def call(kernel, source, entry, inputs):
    """Outputs of a kernel; nothing but its outputs may change."""
    tensors = (*kernel.inputs, *kernel.outputs)
    buffers: dict[str, np.ndarray] = {}
    for t in tensors:
        size = max(span(x) for x in tensors if x.buffer == t.buffer)
        if t.buffer not in buffers:
            buffers[t.buffer] = np.full(size + 2 * GUARD, 77, STORED[t.dtype.name])
    inside = {name: b[GUARD:-GUARD] for name, b in buffers.items()}
    for t in kernel.inputs:
        value = inputs[t.name]
        window(inside[t.buffer], t)[...] = to_bf16(value) if t.dtype.name == "bf16" else value
    before = {name: b.copy() for name, b in buffers.items()}
    work = np.full(source.workspace + 192, 0x7F, np.uint8)
    first = -(-work.ctypes.data // 64) * 64
    addresses = [inside[t.buffer].ctypes.data for t in tensors] + [first]
    entry((ctypes.c_void_p * len(addresses))(*addresses))
    assert (work[first - work.ctypes.data + source.workspace :] == 0x7F).all()
    found = {}
    for t in kernel.outputs:
        value = window(inside[t.buffer], t)
        found[t.name] = from_bf16(value) if t.dtype.name == "bf16" else np.array(value)
        value[...] = window(before[t.buffer][GUARD:-GUARD], t)
    for name, b in buffers.items():
        np.testing.assert_array_equal(b, before[name], err_msg=f"{name} was written to")
    return found


def together(sources, lanes):
    """The entry points of many sources, compiled as one file."""
    functions: dict[str, None] = {}
    bodies = {}
    for s in sources:
        _, mark, body = s.text.partition('extern "C" void rows_')
        bodies[s.symbol] = mark + body
        functions |= dict.fromkeys(n for n in FUNCTIONS if f"v{n}(" in body or f"{n}1(" in body)
    head = prelude(lanes, functions)
    one = Source(sources[0].symbol, head + "".join(bodies.values()))
    build([one])
    library = ctypes.CDLL(str(place(one, toolchain())))
    return {symbol: getattr(library, symbol) for symbol in bodies}


def check(kernel, inputs, tilings=None, host=None, rtol=3e-6, atol=3e-6):
    """Generated code computes what the kernel means, under `tilings`, or some for each axis."""
    host = host or processor()
    if tilings is None:
        proposed = [c.tiling for c in candidates(kernel, host)]
        by_lanes = [
            [t for t in proposed if t.lanes == n] for n in {t.lanes: None for t in proposed}
        ]
        tilings = [t for held in by_lanes for t in held[:2]]
    assert tilings
    sources = [emit(kernel, t, host) for t in tilings]
    entries = together(sources, host.lanes)
    wanted = meaning(kernel, inputs)
    for source in sources:
        compare(call(kernel, source, entries[source.symbol], inputs), wanted, source, rtol, atol)
    return sources


def compare(found, wanted, source, rtol=2e-6, atol=2e-6):
    """Equal as far as 32 bits go."""
    for name, want in wanted.items():
        with np.errstate(over="ignore"):
            want = want.astype(np.float32)
        np.testing.assert_allclose(
            found[name].astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol,
            err_msg=f"{name} of\n{source.text[source.text.index('extern'):][-6000:]}",
        )  # fmt: skip
