"""Products in C++, by every strategy that takes them, against NumPy's meaning in fp64."""

from __future__ import annotations

import ctypes
from contextlib import suppress

import numpy as np
import pytest

from maquette.compiler.canonical import canonical
from maquette.compiler.fuse import evaluate_kernel, parse_kernel
from maquette.compiler.tile import product, product_library, product_thin
from maquette.compiler.tile.product import blocks_of
from maquette.compiler.tile.product_form import Unfit, recognise
from maquette.run import library, strategies
from maquette.run.build import build
from maquette.run.host import processor
from maquette.run.tensors import STORED, reach, stored_as, widened, window
from maquette.run.toolchain import toolchain

with suppress(ImportError):  # it brings the library
    import torch  # noqa: F401

pytestmark = pytest.mark.skipif(toolchain() is None, reason="no C++ compiler")


def plain(m: int, n: int, k: int, x: str, w: str) -> str:
    return f"""
kernel plain
  extent m={m}, n={n}, k={k}
  in x f32[m, k] strides {x}
  in w f32[n, k] strides {w}
  out y f32[m, n] strides {n}, 1
  f32 y[m, n] = add over k: %x * %w
"""


CASES = {
    "square": plain(64, 64, 64, "64, 1", "64, 1"),
    "ragged": plain(29, 45, 77, "77, 1", "77, 1"),
    "long sum": plain(17, 70, 3001, "3001, 1", "1, 70"),
    "one row": plain(1, 130, 100, "100, 1", "100, 1"),
    "one column": plain(33, 1, 50, "50, 1", "50, 1"),
    "transposed": plain(40, 56, 31, "1, 40", "1, 56"),
    "strided": plain(30, 34, 20, "64, 2", "50, 2"),
    "backwards": plain(30, 34, 20, "-20, 1", "-20, 1"),
    "gated": """
kernel gated
  extent m=37, n=51, k=40
  in x f32[m, k] strides 40, 1
  in g f32[n, k] strides 40, 1
  in u f32[n, k] strides 40, 1
  in b f32[n] strides 1
  in r f32[m, n] strides 51, 1
  out y f32[m, n] strides 51, 1
  f32 a[m, n] = add over k: %x * %g
  f32 c[m, n] = add over k: %x * %u
  f32 y[m, n] = (%a + %b) * sigmoid(%a + %b) * %c + %r
""",
    "heads": """
kernel heads
  extent b=2, h=3, s=21, d=20, k=33
  in x f32[b, s, k] strides 693, 33, 1
  in w f32[h, d, k] strides 660, 33, 1
  out y f32[b, h, s, d] strides 1260, 420, 20, 1
  f32 y[b, h, s, d] = add over k: %x * %w
""",
    "batch": """
kernel batch
  extent b=5, s=19, t=35, d=16
  in q f32[b, s, d] strides 304, 16, 1
  in k f32[b, t, d] strides 560, 16, 1
  out y f32[b, s, t] strides 665, 35, 1
  f32 y[b, s, t] = add over d: %q * %k * 0.25
""",
    "bf16": """
kernel narrow
  extent m=18, n=50, k=70
  in x bf16[m, k] strides 70, 1
  in w bf16[n, k] strides 70, 1
  out y bf16[m, n] strides 50, 1
  f32 a[m, n] = add over k: to_f32(%x) * to_f32(%w)
  bf16 y[m, n] = to_bf16(%a)
""",
    "int8": """
kernel eight
  extent m=3, n=75, k=90
  in x f32[m, k] strides 90, 1
  in w int8[n, k] strides 90, 1
  in s f32[n] strides 1
  out y f32[m, n] strides 75, 1
  f32 y[m, n] = add over k: %x * (to_f32(%w) * %s)
""",
    "int4": """
kernel four
  extent m=2, n=70, g=3, k=16, b=2
  in x f32[m, g, k, b] strides 96, 32, 2, 1
  in w int8[n, g, k] strides 48, 16, 1
  in s f32[n, g] strides 3, 1
  out y f32[m, n] strides 70, 1
  f32 y[m, n] = add over g, k, b: %x * (to_f32(where(b == 0, mod(%w, 16) - 8, %w // 16)) * %s)
""",
    "two sums": """
kernel low
  extent m=20, n=40, k=30, r=6
  in x f32[m, k] strides 30, 1
  in w f32[n, k] strides 30, 1
  in a f32[m, r] strides 6, 1
  in b f32[n, r] strides 6, 1
  out y f32[m, n] strides 40, 1
  f32 v[m, n] = add over k: %x * %w
  f32 u[m, n] = add over r: %a * %b
  f32 y[m, n] = %v + 0.5 * %u
""",
    "window": """
kernel window
  extent o=20, y=9, x=18, c=5, i=3, j=3
  in im f32[c, h=9, v=18] strides 162, 18, 1
  in w f32[o, c, i, j] strides 45, 9, 3, 1
  out z f32[o, y, x] strides 162, 18, 1
  f32 z[o, y, x] = add over c, i, j: %im[h=y + i - 1, v=x + j - 1] * %w
""",
}


def size(tensor) -> int:
    low, high = reach(tensor.shape, tensor.strides)
    return high - low


def buffers(kernel) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {}
    for t in (*kernel.inputs, *kernel.outputs):
        kind = STORED[t.dtype.name]
        if t.dtype.kind == "int":
            found[t.buffer] = rng.integers(-128, 128, size(t)).astype(kind)
        else:
            found[t.buffer] = stored_as(rng.standard_normal(size(t)).astype(np.float32), t.dtype)
    return found


def base(tensor, held: np.ndarray) -> int:
    """The address of a tensor's buffer: that of its first element, which need not be the least."""
    low, _ = reach(tensor.shape, tensor.strides)
    return held.ctypes.data - (low + tensor.offset) * held.itemsize


def run(kernel, entry, workspace: int) -> dict[str, np.ndarray]:
    held = buffers(kernel)
    scratch = np.full(workspace + 64, 0xFF, np.uint8)  # NaN, as what is left of another kernel
    tensors = (*kernel.inputs, *kernel.outputs)
    addresses = [base(t, held[t.buffer]) for t in tensors]
    addresses.append(-(-scratch.ctypes.data // 64) * 64)
    entry((ctypes.c_void_p * len(addresses))(*addresses))
    found = {t.name: widened(window(t, base(t, held[t.buffer])), t.dtype) for t in tensors}
    return {n: np.array(a) for n, a in found.items()}


@pytest.fixture(scope="module")
def built():
    """Every candidate of every case, compiled two at a time."""
    found, sources = [], {}
    for name, text in CASES.items():
        kernel = canonical(parse_kernel(text))
        for ways in (product.candidates, strategies.of_library, product_thin.candidates):
            for candidate in ways(kernel, processor()):
                source = strategies.emit(kernel, candidate.tiling, processor())
                sources[source.symbol] = source
                found.append((name, kernel, candidate, source))
    entries = build(sources.values())
    return [(n, k, c, entries[s.symbol], s.workspace) for n, k, c, s in found]


def test_every_candidate_means_what_numpy_means(built):
    for name, kernel, candidate, entry, workspace in built:
        found = run(kernel, entry, workspace)
        given = {t.name: found[t.name] for t in kernel.inputs}
        for output, wanted in evaluate_kernel(kernel, given, precise=True).items():
            tensor = next(t for t in kernel.outputs if t.name == output)
            tolerance = 1e-2 if tensor.dtype.name == "bf16" else 1e-5
            error = np.abs(found[output] - wanted).max() / np.abs(wanted).max()
            assert error < tolerance, (name, candidate.tiling.strategy, error)


def test_every_case_has_the_strategies_it_is_for(built):
    taken = {(name, c.tiling.strategy) for name, _, c, _, _ in built}
    assert {n for n, s in taken if s == "product"} >= CASES.keys() - {"one column"}
    assert {n for n, s in taken if s == "thin"} >= {"one row", "int8", "int4"}
    if library.sgemm():
        assert {n for n, s in taken if s == "library"} >= {"square", "ragged", "gated"}


def test_tilings_say_how_blocks_lie(built):
    for _, kernel, candidate, _, _ in built:
        if candidate.tiling.strategy == "product":
            form = recognise(kernel)
            assert product.tiling(form, blocks_of(form, candidate.tiling)) == candidate.tiling


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("f32 y[m, n] = max over k: %x * %w", "no sum of products"),
        ("f32 y[m, n] = add over k: %x + %w", "no product of two"),
        ("f32 y[m, n] = add over k: %x", "no product of two"),
    ],
)
def test_what_is_no_product_says_why(line, why):
    text = plain(4, 5, 6, "6, 1", "6, 1").rsplit("\n", 2)[0] + f"\n  {line}\n"
    with pytest.raises(Unfit, match=why):
        recognise(parse_kernel(text))


def test_equal_kernels_under_other_names_are_one_source():
    one = parse_kernel(CASES["square"])
    text = CASES["square"].replace("%x", "%left").replace("in x", "in left")
    other = parse_kernel(text.replace("kernel plain", "kernel other"))
    assert one != other and canonical(one) == canonical(other)


def test_counts_are_those_of_the_shapes():
    kernel = parse_kernel(CASES["square"])
    for module in (product, product_library):
        for candidate in module.candidates(kernel, processor()):
            assert candidate.counts.fma >= 2 * 64**3
            stores = 1 if module is product else 2  # the library reads a line before it writes it
            assert candidate.counts.traffic["l3"] == (2 + stores) * 64 * 64 * 4
