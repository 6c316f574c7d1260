"""One pass where it saves something, one reduction after the other where it does not."""

from __future__ import annotations

import pytest

from compiler.derive.programs import (
    Shapes,
    causal,
    cross_entropy,
    graph,
    layer_norm,
    rms_norm,
    soft,
    variance,
)
from maquette.compiler.derive import derive, thrifty, worthwhile
from maquette.ir.build import activation, dot, weight
from maquette.ir.facts import work
from maquette.ir.graph import Graph


@pytest.mark.parametrize(
    ("program", "fits", "does_not"),
    [
        (causal, True, True),
        (soft, False, True),
        (cross_entropy, False, True),
        (variance, False, False),
        (layer_norm, False, False),
        (rms_norm, False, False),
    ],
)
def test_by_whether_a_row_fits(program, fits, does_not):
    of = graph(program, Shapes(t=1000))
    for cache, taken in ((4000, fits), (3996, does_not)):
        found = derive(of, choose=worthwhile(cache))
        assert bool(found.derivations) == taken
        assert {r.condition for r in found.refusals} == (set() if taken else {"choice"})
        assert taken or found.graph.outputs == of.outputs


def test_a_product_of_a_sum_stays_one_product():
    """A residual and a norm of it, normed again, times weights: hoisting makes two products."""
    x, y, w = activation("x", n=8, d=64), activation("y", n=8, d=64), weight("w", d=64, f=128)
    z = x + y / dot(y, y, "d")
    twice = Graph("twice", {"h": dot(z / dot(z, z, "d"), w, "d").value})
    once = Graph("once", {"h": dot(x / dot(x, x, "d"), w, "d").value})
    products = [flops(derive(twice, choose=c).graph) for c in (lambda _: True, thrifty)]
    assert products[0] == pytest.approx(2 * products[1], rel=0.1)
    assert products[1] == flops(twice)
    assert derive(once, choose=thrifty).derivations  # nothing is multiplied, so it is hoisted
    assert flops(derive(once, choose=thrifty).graph) <= 1.1 * flops(once)


def flops(of):
    done = work(of.values)
    return float(done.matrix({}) + done.vector({}))
