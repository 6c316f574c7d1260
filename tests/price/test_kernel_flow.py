"""Flows priced kernel by kernel: work beside closed forms, prices above the speed of light."""

from __future__ import annotations

import pytest

from maquette.catalogue.machines import machine
from maquette.compiler.derive import derive
from maquette.compiler.fuse import fuse, parse_kernel
from maquette.compiler.kernel import Flow, Kernel
from maquette.compiler.tiling import Candidate, Counts, Tiling
from maquette.errors import MaquetteError
from maquette.ir.build import dot, exp, softmax, tensor
from maquette.ir.graph import Graph
from maquette.price.kernel_flow import on_machine, on_processor
from maquette.price.kernel_work import work
from price.test_kernel import BOX


def flow_of(**outputs) -> Flow:
    graph = Graph("made", {k: v.value for k, v in outputs.items()})
    return fuse(derive(graph).graph)


def given(name, **axes):
    return tensor(name, "activation", "f32", **axes)


@pytest.fixture(scope="module")
def attention() -> Flow:
    q, k, v = given("q", h=8, s=64, d=32), given("k", h=8, t=96, d=32), given("v", h=8, t=96, e=32)
    return flow_of(o=dot(softmax(dot(q, k, "d") * 0.2, "t"), v, "t"))


def test_the_work_of_attention_is_two_products_and_its_operands(attention):
    (kernel,) = attention.kernels
    assert isinstance(kernel, Kernel)
    found = work(kernel)
    points = 8 * 64 * 96
    assert found.matrix == 4 * 32 * points
    assert found.contractions == 2
    assert 2 * points < found.vector < 6 * points
    assert sum(found.reads.values()) == 4 * 8 * 32 * (64 + 2 * 96)
    assert sum(found.writes.values()) == 4 * 8 * 64 * 32


def test_elementwise_work_is_counted_where_it_varies():
    x, w = given("x", n=100, d=50), given("w", d=50)
    (kernel,) = flow_of(y=x * exp(w)).kernels
    found = work(kernel)
    assert found.matrix == 0
    assert found.vector == 100 * 50 + 50


def test_a_matrix_unit_takes_a_product_only_where_both_sides_are_reused():
    text = """kernel thin
  extent n={n}, k=16
  in a f32[n, k] strides 16, 1
  in b f32[k] strides 1
  out c f32[n] strides 1
  f32 c[n] = add over k: %a * %b
"""
    assert work(parse_kernel(text.format(n=8))).matrix == 0


@pytest.mark.parametrize("name", ["h100-sxm", "a100-80gb", "tpu-v5e", "xeon-8480"])
def test_no_price_beats_the_light_of_the_machine(attention, name):
    found = on_machine(attention, [None], machine(name))
    assert found.unpriced == ()
    for k in found.kernels:
        assert k.seconds >= k.light > 0
    assert found.total.low < found.total.point < found.total.high


def test_a_faster_memory_makes_a_chain_that_memory_binds_faster():
    flow = flow_of(y=given("x", n=1 << 24) + given("z", n=1 << 24))
    slow, fast = (on_machine(flow, [None], machine(n)) for n in ("a100-80gb", "h200"))
    assert slow.kernels[0].bound == fast.kernels[0].bound == "memory"
    ratio = slow.total.point / fast.total.point
    assert 0.7 < ratio / (4.8e12 / 2.039e12) < 1.1


def test_what_a_tiling_skips_is_skipped_everywhere(attention):
    (kernel,) = attention.kernels
    half = Candidate(Tiling("any", "", ()), Counts(work(kernel).matrix / 2, 1.0, {}))
    whole, skipped = (on_machine(attention, [c], machine("xeon-8480")) for c in (None, half))
    full, part = whole.kernels[0].parts, skipped.kernels[0].parts
    assert part["matrix"] == pytest.approx(full["matrix"] / 2)
    assert part["memory"] == pytest.approx(full["memory"])


def test_machines_without_kernels_are_refused(attention):
    with pytest.raises(MaquetteError, match="style"):
        on_machine(attention, [None], machine("sn40l"))


def test_on_a_processor_prices_are_those_of_the_tilings(attention):
    held = Candidate(Tiling("any", "", ()), Counts(320e6, 0.0, {}))
    found = on_processor(attention, [held], BOX)
    assert found.kernels[0].bound == "product"
    assert found.kernels[0].seconds >= found.kernels[0].light >= 1e-3
    assert "bound by product" in str(found)
    assert on_processor(attention, [None], BOX).unpriced == (attention.kernels[0].name,)
