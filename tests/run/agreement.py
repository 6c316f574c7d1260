"""Compiled functions held against torch, kernel by kernel where they differ."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import maquette as mq
from maquette.capture import leaves
from maquette.compiler.canonical import canonical
from maquette.compiler.fuse import evaluate_kernel, show_kernel
from maquette.compiler.kernel import Kernel
from maquette.run.build import build
from maquette.run.measured import processor
from maquette.run.strategies import emit
from maquette.run.tensors import reach, stored_as, widened, window
from maquette.run.toolchain import toolchain

TARGETS = ["numpy", *(["cpu"] if toolchain() is not None else [])]
torch = pytest.importorskip("torch")

EPSILON = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def flat(result):
    """The tensors of a nested result, in order."""
    return [x for _, x in leaves([result])]


def agree(function, *args, target="cpu", compiled=None, tolerance=None):
    """Compile a function and compare what it returns with what torch does.

    Values within 1e-5 of the scale of the output (or the little that torch itself is off), and
    infinities and what is no number in the same places.
    """
    compiled = compiled or mq.compile(function, target=target)
    with torch.no_grad():
        wanted, exact = flat(function(*args)), flat(_precise(function, *args))
        found = flat(compiled(*args))
    assert len(found) == len(wanted)
    for i, (x, y, z) in enumerate(zip(found, wanted, exact, strict=True)):
        assert x.shape == y.shape and x.dtype == y.dtype, f"result {i}: {x.dtype}{x.shape}"
        fault = _difference(x, y, z, tolerance)
        if fault:
            culprits = [] if target == "numpy" else list(wrong_kernels(compiled))
            raise AssertionError(f"result {i}: {fault}\n" + "\n".join(culprits))
    return compiled


def _precise(function, *args):
    """In double precision where torch can; else what it returns in single."""
    if isinstance(function, torch.nn.Module):
        return function(*args)
    wide = [x.double() if isinstance(x, torch.Tensor) and x.dtype == torch.float32 else x
            for x in args]  # fmt: skip
    try:
        return function(*wide)
    except RuntimeError:
        return function(*args)


def _difference(found, wanted, exact, tolerance):
    if not wanted.is_floating_point():
        return "" if torch.equal(found, wanted) else f"{found} is not {wanted}"
    x, y, z = (t.detach().double() for t in (found, wanted, exact))
    for kind, test in (("nan", torch.isnan), ("inf", torch.isposinf), ("-inf", torch.isneginf)):
        if not torch.equal(test(x), test(y)):
            return f"{int(test(x).sum())} {kind}, torch has {int(test(y).sum())} of {y.numel()}"
    finite = y.isfinite() & z.isfinite() & x.isfinite()
    if not finite.any():
        return ""
    scale = float(y[finite].abs().max())
    off = float((y - z)[finite].abs().max())
    most = max((tolerance or EPSILON.get(wanted.dtype, 1e-5)) * scale, 4 * off, 1e-30)
    worst = float((x - z)[finite].abs().max())
    return "" if worst <= most else f"off by {worst:.2e} of {scale:.2e}, {most:.1e} is allowed"


def wrong_kernels(compiled, tolerance=1e-4):
    """Kernels of every signature of a compiled function that do not mean what they say."""
    for made in compiled._made.values():
        for kernel, candidate in zip(made.lowered.flow.kernels, made.lowered.tiled, strict=True):
            if isinstance(kernel, Kernel) and candidate is not None:
                yield from _wrong(kernel, candidate.tiling, tolerance)


def _wrong(kernel, tiling, tolerance):
    generator = np.random.default_rng(0)
    arrays, ends = {}, {}
    tensors = (*kernel.inputs, *kernel.outputs)
    for t in tensors:
        _, high = reach(t.shape, t.strides)
        ends[t.buffer] = max(ends.get(t.buffer, 0), (t.offset + high + 1) * t.dtype.bytes)
    for t in tensors:
        if t.buffer not in arrays:
            count = int(-(-ends[t.buffer] // max(t.dtype.bytes, 1))) + 64
            drawn = generator.normal(size=count)
            values = drawn if t.dtype.kind == "float" else (drawn > 0).astype(np.int64)
            arrays[t.buffer] = np.ascontiguousarray(stored_as(values, t.dtype))
    seen = {t.name: window(t, arrays[t.buffer].ctypes.data) for t in tensors}
    given = {t.name: widened(np.array(seen[t.name]), t.dtype) for t in kernel.inputs}
    wanted = evaluate_kernel(kernel, given)
    source = emit(canonical(kernel), tiling, processor())
    work = np.full(source.workspace + 128, 255, np.uint8)  # what is left there is no number
    pointers = [arrays[t.buffer].ctypes.data for t in tensors]
    pointers.append(-(-work.ctypes.data // 64) * 64)
    build([source])[source.symbol]((ctypes.c_void_p * len(pointers))(*pointers))
    for t in kernel.outputs:
        x = np.asarray(widened(np.array(seen[t.name]), t.dtype), np.float64)
        y = np.asarray(widened(stored_as(wanted[t.name], t.dtype), t.dtype), np.float64)
        fine = np.isfinite(y)
        worst = np.abs(x - y)[fine].max(initial=0)
        same = np.array_equal(np.isnan(x), np.isnan(y)) and np.array_equal(x == y, x == y)
        if not same or worst > tolerance * max(np.abs(y[fine]).max(initial=0), 1e-30):
            yield f"{t.name} is off by {worst:.1e} under {tiling}\n{show_kernel(kernel)}"
