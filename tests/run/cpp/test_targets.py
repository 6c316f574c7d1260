"""A kernel of every strategy for narrower vectors, and by clang with threads of ours."""

from __future__ import annotations

import ctypes
import os
import shlex
import sys
from importlib.util import find_spec
from threading import Thread

import numpy as np
import pytest

from maquette.compiler.canonical import canonical
from maquette.compiler.fuse import evaluate_kernel, parse_kernel
from maquette.compiler.tile import product, product_thin
from maquette.run import strategies
from maquette.run.build import build
from maquette.run.host import processor
from maquette.run.source import Source
from maquette.run.toolchain import toolchain
from run.cpp import test_product as products
from run.cpp import test_rows as rows
from run.cpp import test_stream as streams
from run.cpp.folds import Case
from run.cpp.meaning import check as check_rows
from run.cpp.meaning import drawn

NARROW = ("-mno-avx512f", "-mno-avx")
CLANG = f"'{sys.executable}' -m ziglang cc -x c++"
needs_clang = pytest.mark.skipif(find_spec("ziglang") is None, reason="no package ziglang")


@pytest.fixture(params=[*NARROW, pytest.param(CLANG, marks=needs_clang)])
def target(request, monkeypatch):
    """Another compiler than the usual one, or the usual one with fewer instructions."""
    usual = toolchain()
    if request.param in NARROW:
        if usual is None or "avx512f" not in usual.target or "ziglang" in usual.command:
            pytest.skip("no compiler for AVX-512 to be narrowed")
        monkeypatch.setenv("CXX", f"{shlex.join(usual.command)} {request.param}")
        assert processor().lanes == (8 if request.param == NARROW[0] else 4)
    else:
        monkeypatch.setenv("CXX", request.param)


def test_rows(target):
    kernel = rows.normed(5, 77, "bf16")
    check_rows(kernel, drawn(kernel, np.random.default_rng(0)), rtol=8e-3)


def test_a_fold(target):
    case = Case(s=77, t=77, score=streams.CAUSAL)
    streams.check(case, streams.causal(case))


@pytest.mark.parametrize(("name", "module"), [("gated", product), ("one row", product_thin)])
def test_a_product(target, name, module):
    kernel = canonical(parse_kernel(products.CASES[name]))
    candidate = module.candidates(kernel, processor())[0]
    source = strategies.emit(kernel, candidate.tiling, processor())
    found = products.run(kernel, build([source])[source.symbol], source.workspace)
    given = {t.name: found[t.name] for t in kernel.inputs}
    for output, wanted in evaluate_kernel(kernel, given, precise=True).items():
        np.testing.assert_allclose(found[output], wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


# Every construct of OpenMP that kernels use, and how often each point was met.
LOOPS = """
extern "C" void loops(void *const *b) {
  long *out = (long *)b[0]; const long n = *(long *)b[1];
  #pragma omp parallel num_threads(3)
  {
    for (int z = 0; z < 20; ++z) {
      #pragma omp for schedule(dynamic, 3) nowait
      for (long i = n - 1; i >= 0; --i) __atomic_add_fetch(out + i, 1, __ATOMIC_RELAXED);
    }
    #pragma omp for schedule(static) nowait
    for (unsigned i = 0; i < n; ++i) __atomic_add_fetch(out + i, 100, __ATOMIC_RELAXED);
    #pragma omp barrier
    #pragma omp single nowait
    for (long i = 0; i < n; ++i) out[i] += 1000;
    #pragma omp barrier
    #pragma omp for schedule(static, 1) collapse(2)
    for (int i = 0; i < n; i += 2)
      for (int j = 0; j < 2; ++j) if (i + j < n) out[i + j] += 10000;
    #pragma omp parallel for num_threads(2)
    for (long i = 0; i < n; ++i) __atomic_add_fetch(out + i, 100000, __ATOMIC_RELAXED);
  }
}
"""


@needs_clang
def test_threads_of_ours_do_everything_once(monkeypatch):
    monkeypatch.setenv("CXX", CLANG)
    assert toolchain().alone
    loops = build([Source("loops", LOOPS)])["loops"]
    wrong = []

    def run(n):
        for _ in range(20):
            out, count = np.zeros(n, np.int64), np.array([n])
            loops((ctypes.c_void_p * 2)(out.ctypes.data, count.ctypes.data))
            if (out != 311120).any():
                wrong.append(n)

    callers = [Thread(target=run, args=(n,)) for n in (0, 1, 2, 5, 50)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong
    child = os.fork()
    if child == 0:  # threads do not survive a fork: they are started anew
        run(10)
        os._exit(bool(wrong))
    assert os.waitpid(child, 0)[1] == 0
