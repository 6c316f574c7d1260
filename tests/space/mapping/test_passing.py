"""What waits between a product and the fold that takes it in: a block, or the whole row."""

from __future__ import annotations

import pytest

from maquette.catalogue.machines import machine
from maquette.compiler.derive import derive
from maquette.compiler.fuse import fuse
from maquette.ir import build as b
from maquette.ir.graph import Graph
from maquette.space.mapping import Options, mapped, of_flow
from maquette.space.mapping.network import simulate_section


def waiting(length, streamed):
    """Bytes of scores on the chip for one tile of queries against `length` keys."""
    q, k, v = (
        b.tensor(n, "activation", "bf16", **{a: m}, **{i: 64})
        for n, a, m, i in (("q", "s", 256, "d"), ("k", "t", length, "d"), ("v", "t", length, "e"))
    )
    out = b.dot(b.softmax(b.dot(q, k, "d") * 0.125, "t"), v, "t")
    graph = Graph("attention", {"o": out.value})
    whole = of_flow(fuse(derive(graph).graph if streamed else graph), {})
    chip = machine("sn40l")
    (section,) = mapped(whole, chip, Options(cuts=(), tiles=(16,))).sections
    assert simulate_section(section, chip).result.deadlock is None
    inside = {s.stage.name for s in section.shares}
    return sum(x.bytes * x.depth for x in section.buffers if x.source in inside)


@pytest.mark.parametrize("streamed, growth", [(True, 1.0), (False, 8.0)])
def test_one_pass_needs_no_room_for_a_row_and_three_passes_do(streamed, growth):
    """O(N) becomes O(1): Sohn, Zhang and Olukotun, arXiv 2404.16629; here tile by tile."""
    short, long = waiting(1024, streamed), waiting(8192, streamed)
    assert long / short == pytest.approx(growth, rel=0.1)
