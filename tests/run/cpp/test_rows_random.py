"""Strategy "rows" on kernels of random graphs, as fusion makes them."""

from __future__ import annotations

import random
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from ir import random_graphs
from maquette.compiler.fuse import Choices, evaluate_kernel, fuse, show_kernel
from maquette.compiler.kernel import Kernel
from maquette.compiler.tile.rows import candidates
from maquette.errors import ProgramError
from maquette.run.cpp.rows import emit
from maquette.run.host import processor
from run.cpp.meaning import call, compare, drawn, needs_compiler, together

ALIKE = settings(
    max_examples=24, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def kernels():
    """Distinct kernels of some random graphs, by their text."""
    found: dict[str, Kernel] = {}

    @ALIKE
    @given(random_graphs.graphs())
    def collect(case):
        graph, _, sizes = case
        for choices in (Choices(), Choices(cheap=0, prologue=0)):
            try:
                flow = fuse(graph, {**sizes, "kept": 3, "per": 9}, choices=choices)
            except ProgramError:  # a slice past the end, which depends on the sizes
                continue
            found.update({show_kernel(k): k for k in flow.kernels if isinstance(k, Kernel)})

    collect()
    return found


@needs_compiler
@pytest.mark.parametrize("large", [False, True])
def test_kernels_of_random_graphs(large, monkeypatch):
    if large:
        monkeypatch.setattr(random_graphs, "SIZES", {"n": 35, "m": 5})
        monkeypatch.setattr(random_graphs, "AXES", {"i": "n", "j": 7, "k": "m", "l": 18})
    cases = []
    for text, kernel in kernels().items():
        seed = zlib.crc32(text.encode())
        tiling = random.Random(seed).choice(candidates(kernel, processor())).tiling
        cases.append((text, kernel, seed, emit(kernel, tiling, processor())))
    assert len(cases) > 20
    entries = together([source for *_, source in cases], processor().lanes)
    for text, kernel, seed, source in cases:
        inputs = drawn(kernel, np.random.default_rng(seed))
        wanted = evaluate_kernel(kernel, inputs, precise=True)
        error = 2e-2 if "bf16" in text else 2e-4
        found = call(kernel, source, entries[source.symbol], inputs)
        compare(found, wanted, source, error, error)
