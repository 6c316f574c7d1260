"""Rewriting preserves meaning, whatever the price makes it choose."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ir.random_graphs import folded, graphs, pointwise, product_sum, viewed
from maquette.compiler.rewrite import RULES, Limit, rewrite
from maquette.compiler.rewrite.field import Field, evaluate_in
from maquette.ir import Graph, check, evaluate, show
from maquette.ir.build import concat, dot, tensor
from maquette.ir.graph import walk

SMALL = Limit(rounds=3, nodes=400)


def whimsical(seed):
    """A price without sense, so that the search chooses among all that the rules reach."""

    def price(value):
        text = f"{seed} {type(value).__name__} {[str(a) for a in value.axes]} {len(value.operands)}"
        return 1.0 + crc32(text.encode()) % 1000

    return price


def agree(before, after, inputs, sizes):
    one = evaluate(before, inputs, sizes, precise=True)
    left = {n: a for n, a in inputs.items() if n in after.inputs}  # what cancels is not asked for
    two = evaluate(after, left, sizes, precise=True)
    for name, value in before.outputs.items():
        assert after.outputs[name].axes == value.axes and after.outputs[name].dtype == value.dtype
        np.testing.assert_allclose(two[name], one[name], rtol=1e-7, atol=1e-7)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(graphs(), st.integers(0, 9))
def test_any_graph_at_any_price(drawn, seed):
    graph, inputs, sizes = drawn
    found = rewrite(graph, whimsical(seed), limit=SMALL, worth=0.0)
    check(found.graph)
    agree(graph, found.graph, inputs, sizes)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(graphs([pointwise, folded, product_sum, product_sum, viewed]), st.integers(0, 9))
def test_algebra_at_any_price(drawn, seed):
    graph, inputs, sizes = drawn
    found = rewrite(graph, whimsical(seed), limit=Limit(rounds=5, nodes=1500), worth=0.0)
    check(found.graph)
    agree(graph, found.graph, inputs, sizes)


def products(rng):
    """Sums of products of matrices, some shared, some sliced, some joined."""
    a, b = (tensor(n, "activation", "f32", i=5, j=4) for n in "ab")
    w, v = (tensor(n, "weight", "f32", j=4, k=3) for n in "wv")
    u = tensor("u", "weight", "f32", k=3, l=6)
    pool = [a, b, w, v, u]
    for _ in range(6):
        x, y = (pool[i] for i in rng.integers(len(pool), size=2))
        shared = [n for n in x.value.shape if n in y.value.shape]
        kind = rng.integers(6)
        if kind < 2 and shared:
            made = dot(x, y, shared[rng.integers(len(shared))])
        elif kind == 2:
            made = x + y
        elif kind == 3 and x.axes:
            made = x.sum(x.axes[0].name)
        elif kind == 4 and "i" in x.value.shape and "h" not in x.value.shape:
            made = x.slice("i", 1, 3).rename(i="h")
        elif kind == 5 and "k" in x.value.shape and "kk" not in x.value.shape:
            made = concat("k", x, x * 2.0).rename(k="kk")
        else:
            made = x * y
        if len(made.axes) < 5:
            pool.append(made)
    return Graph("products", {f"y{i}": t.value for i, t in enumerate(pool[-2:])})


@pytest.mark.parametrize("seed", range(60))
def test_products_are_equal_over_a_finite_field(seed):
    """Exactly, not to a tolerance."""
    rng = np.random.default_rng(seed)
    graph = products(rng)
    found = rewrite(graph, whimsical(seed), worth=0.0, limit=Limit(rounds=5, nodes=1500))
    check(found.graph)
    field = Field()
    leaves = {v.name: v for v in walk(graph.outputs.values()) if hasattr(v, "role")}
    inputs = {
        n: field.random(rng, [int(a.size.constant) for a in v.axes]) for n, v in leaves.items()
    }
    for name, value in graph.outputs.items():
        one, two = (evaluate_in(field, g.outputs[name], inputs) for g in (graph, found.graph))
        assert np.array_equal(one, two), show(found.graph)
        assert found.graph.outputs[name].axes == value.axes


def test_the_search_does_change_graphs():
    """Without which the tests above would test nothing."""
    changed = 0
    for seed in range(20):
        graph = products(np.random.default_rng(seed))
        changed += rewrite(graph, whimsical(seed), worth=0.0, limit=SMALL).graph is not graph
    assert changed >= 5


def test_same_answer_every_time():
    """No clocks, no hashes of memory places: the same graph and price, the same text."""
    rng = np.random.default_rng(7)
    graph = products(rng)
    texts = {show(rewrite(graph, whimsical(3), rules=RULES, worth=0.0).graph) for _ in range(3)}
    assert len(texts) == 1
