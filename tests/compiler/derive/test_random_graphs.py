"""Whatever graph it is: derived and chunked it is sound and means the same."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ir.random_graphs import (
    folded,
    gathered,
    graphs,
    pointwise,
    product_sum,
    scanned,
    tupled,
    viewed,
)
from maquette.compiler.derive import chunked, derive, laws
from maquette.ir import evaluate, parse, show, verify
from maquette.ir.build import apply, exp, where


def dependent(pool):
    """A value and a result of a reduction of it."""
    t = pool.pick(needs_axes=True)
    name = pool.axis(t)
    kind = pool.draw(st.sampled_from(["max", "mean", "sum", "squares"]))
    found = {
        "max": lambda: t.max(name),
        "mean": lambda: t.mean(name),
        "sum": lambda: t.sum(name),
        "squares": lambda: (t * t).sum(name),
    }[kind]()
    other = pool.pick()
    return pool.draw(
        st.sampled_from([
            lambda: t - found,
            lambda: exp(t - found),
            lambda: exp(t - found) * other,
            lambda: where(other < 0.5, exp(t - found), 0.0),
            lambda: exp(where(other < 0.5, t, float("-inf")) - found),
            lambda: (t - found) * (t - found),
            lambda: t * apply("sigmoid", found),
            lambda: (t * other) / (apply("abs", found) + 1.0),
            lambda: apply("max", t, found),
        ])
    )()  # fmt: skip


MOVES = [dependent, dependent, folded, product_sum, viewed, pointwise, gathered, scanned, tupled]
MANY = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def same(made, graph, inputs, sizes):
    assert verify(made) == ()
    again = parse(show(made))
    assert all(again.outputs[n] is v for n, v in made.outputs.items())
    expected = evaluate(graph, inputs, sizes, precise=True)
    for name, found in evaluate(made, inputs, sizes, precise=True).items():
        clear = np.isfinite(expected[name])
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected[name]))
        largest = np.abs(expected[name][clear]).max(initial=1.0)
        np.testing.assert_allclose(
            found[clear], expected[name][clear], rtol=1e-8, atol=1e-9 * largest
        )


@MANY
@given(graphs(MOVES))
def test_derived(case):
    graph, inputs, sizes = case
    assume(not verify(graph))  # slices of slices may lie outside
    found = derive(graph)
    same(found.graph, graph, inputs, sizes)
    for made in found.derivations:
        if made.monoid is not None:
            assert laws(made.monoid, np.random.default_rng(0)) == ()


@MANY
@given(graphs(MOVES), st.integers(1, 2))
def test_chunked(case, length):
    graph, inputs, sizes = case
    assume(not verify(graph))
    same(chunked(graph, length).graph, graph, inputs, sizes)
