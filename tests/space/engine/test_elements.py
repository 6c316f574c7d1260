"""Graphs as networks of elements: values as NumPy has them, times as the literature has them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.compiler.derive import derive
from maquette.errors import NotYet
from maquette.ir.build import activation, exp, iota, rsqrt, where
from maquette.ir.graph import Graph
from maquette.ir.monoids import ADD, AFFINE, MAX
from maquette.space.engine import parse, show, simulate
from maquette.space.engine.elements import elements
from maquette.space.engine.recurrence import interval
from space.engine.compiled import COMPILER

LOOPS = ("s", "t")
WIDTH = 3


def attention(shifted: bool = True, causal: bool = False) -> Graph:
    """As a textbook writes it; not shifted: as DAM's naive form has it."""
    q = activation("q", s="s", d="d")
    k = activation("k", t="t", d="d")
    v = activation("v", t="t", e="e")
    scores = (q * k).sum("d")
    if causal:
        scores = where(iota("s", "s") >= iota("t", "t"), scores, float("-inf"))
    p = exp(scores - scores.max("t")) if shifted else exp(scores)
    return Graph("attention", {"o": (p / p.sum("t") * v).sum("t").value})


def tensors(s: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(s)
    return {name: rng.standard_normal((s, WIDTH)) for name in "qkv"}


def expected(q, k, v, causal=False):
    scores = q @ k.T
    if causal:
        scores = np.where(np.tri(len(q), dtype=bool), scores, -np.inf)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True) @ v


def sizes(s: int) -> dict[str, int]:
    return {"s": s, "t": s, "d": WIDTH, "e": WIDTH}


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("s", [8, 13, 32])
def test_naive_attention_needs_a_queue_as_long_as_the_sequence(s, shifted):
    """Deadlock below S - 1, full rate from S + 1 on.  DAM, ISCA'24, §VII: N + 22 there."""
    cycles = {}
    for depth in range(2, s + 6):
        made = elements(attention(shifted), LOOPS, sizes(s), tensors(s), depth)
        found = simulate(made.network, made.inputs, made.functions, values=True)
        assert (found.deadlock is None) == (depth >= s - 1)
        cycles[depth] = found.cycles
        if found.deadlock is None:
            assert np.allclose(made.outputs(found)["o"], expected(**tensors(s)))
        else:
            assert found.deadlock.cycle
            assert sorted({w.state for w in found.deadlock.waits}) == ["empty", "full"]
    assert cycles[s - 1] > cycles[s] > cycles[s + 1] == cycles[s + 5]
    assert s * s <= cycles[s + 1] <= s * s + 2 * s + 20


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("s", [5, 16, 33])
def test_derived_attention_streams_at_constant_depth(s, causal):
    """What the compiler derived is drawn: one fold, whose own recurrence takes two cycles."""
    graph = derive(attention(causal=causal)).graph
    made = elements(graph, LOOPS, sizes(s), tensors(s), channel_depth=2)
    found = simulate(made.network, made.inputs, made.functions, values=True)
    assert found.deadlock is None
    assert np.allclose(made.outputs(found)["o"], expected(**tensors(s), causal=causal))
    assert 0 < found.cycles - 2 * s * s < 30
    assert len([n for n in made.network.nodes if n.kind == "fold"]) == 1


@pytest.mark.parametrize("s", [512, 2048, 8192, 32768])
def test_cycles_of_table_two(s):
    """524K, 8M, 134M and 2B cycles: DAM, ISCA'24, Table II."""
    graph = derive(attention()).graph
    found = simulate(elements(graph, LOOPS, sizes(s)).network, compiler=COMPILER)
    fill = simulate(elements(graph, LOOPS, sizes(64)).network, steady=False).cycles - 2 * 64 * 64
    assert found.cycles == 2 * s * s + fill
    assert found.skipped > 0.9 * found.cycles


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_values_do_not_depend_on_times(data):
    """Whatever every node and every channel takes, a network that ends has made the same."""
    made = elements(attention(), LOOPS, sizes(6), tensors(6), 8)
    draw = data.draw
    nodes = tuple(
        replace(n, interval=draw(st.integers(0, 3)), latency=draw(st.integers(0, 9)))
        for n in made.network.nodes
    )
    channels = tuple(
        replace(c, depth=8 + draw(st.integers(0, 2)), latency=draw(st.integers(0, 5)))
        for c in made.network.channels
    )
    network = replace(made.network, nodes=nodes, channels=channels)
    found = simulate(network, made.inputs, made.functions, values=True)
    assert found.deadlock is None
    assert np.array_equal(made.outputs(found)["o"], _undisturbed(made)["o"])


def _undisturbed(made):
    return made.outputs(simulate(made.network, made.inputs, made.functions, values=True))


def test_folds_wait_for_their_own_recurrence():
    assert [interval(m) for m in (ADD, MAX, AFFINE)] == [1, 1, 2]


def test_networks_of_graphs_read_back():
    network = elements(derive(attention()).graph, LOOPS, sizes(4)).network
    assert parse(show(network)) == network


def test_a_norm_then_a_product():
    """The total divides after the row has passed: a queue as long as the row, or a deadlock."""
    x, w = activation("x", n="n", d="d"), activation("w", d="d", f="f")
    scale = rsqrt((x * x).sum("d") / 6 + 1e-5)
    graph = Graph("norm", {"y": (x * scale * w).sum("d").value})
    rng = np.random.default_rng(1)
    given = {"x": rng.standard_normal((4, 6)), "w": rng.standard_normal((6, 5))}
    rms = np.sqrt((given["x"] ** 2).mean(axis=1, keepdims=True) + 1e-5)
    made = elements(graph, ("n", "d"), {"n": 4, "d": 6, "f": 5}, given, 2)
    found = simulate(made.network, made.inputs, made.functions, values=True)
    assert found.deadlock is None  # the input is read twice, nothing waits beside the total
    assert np.allclose(made.outputs(found)["y"], given["x"] / rms @ given["w"])


def test_totals_over_outer_loops_are_refused():
    graph = Graph("columns", {"y": activation("x", s="s", t="t").sum("s").value})
    with pytest.raises(NotYet, match="innermost loops"):
        elements(graph, LOOPS, {"s": 2, "t": 3})
