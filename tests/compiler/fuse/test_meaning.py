"""Fusion preserves meaning, on random graphs; what it prints reads back as the very same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from ir.random_graphs import MOVES, graphs
from maquette.compiler.fuse import Choices, evaluate_flow, fuse, parse_flow, show_flow, verify_flow
from maquette.errors import ProgramError
from maquette.ir import evaluate
from maquette.ir.build import dot, softmax, tanh, tensor
from maquette.ir.graph import Graph

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
SMALL = settings(QUICK, max_examples=12)


def same(graph, inputs, sizes, **options):
    sizes = {**sizes, "kept": 3, "per": 9}
    try:
        expected = evaluate(graph, inputs, sizes, precise=True)
    except ProgramError:  # a slice past the end, which depends on the sizes
        reject()
    flow = fuse(graph, sizes, **options)
    assert verify_flow(flow) == ()
    found = evaluate_flow(flow, inputs, precise=True)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12)
    return flow


@QUICK
@given(graphs())
def test_a_flow_means_what_its_graph_means(case):
    flow = same(*case)
    assert parse_flow(show_flow(flow)) == flow


@pytest.mark.parametrize("move", MOVES, ids=lambda m: m.__name__)
def test_each_pattern_means_what_it_meant(move):
    @SMALL
    @given(graphs([move]))
    def holds(case):
        same(*case)

    holds()


@pytest.mark.parametrize(
    "choices",
    [
        Choices(cheap=1000, prologue=1000),
        Choices(cheap=0, prologue=0),
        Choices(resident=0, siblings=False),
        Choices(weights_through=True),
        Choices(through=False),
    ],
    ids=["inline all", "keep all", "apart", "weights through", "products apart"],
)
def test_every_choice_means_the_same(choices):
    @SMALL
    @given(graphs())
    def holds(case):
        same(*case, choices=choices)

    holds()


@st.composite
def tangles(draw):
    """Chains of layers whose axes all have one extent, so that every one is taken for another."""
    names, size = ["a", "b", "c", "d"], 3
    held = [tensor("x", "activation", "f32", a=size, b=size)]

    def renamed(t):
        axes = [x.name for x in t.axes]
        new = draw(st.permutations(names))[: len(axes)]
        return t.rename(**dict(zip(axes, new, strict=True)))

    def layer(t):
        over = draw(st.sampled_from([x.name for x in t.axes]))
        out = draw(st.sampled_from([n for n in names if n not in t.value.shape]))
        role = draw(st.sampled_from(["weight", "activation"]))
        weights = tensor(f"w{len(held)}", role, "f32", **{over: size, out: size})
        return dot(t, weights, over)

    def added(t, other):
        return t + other if other.value.shape.keys() == t.value.shape.keys() else t * 2.0

    def residual(t, other):
        made = layer(t)
        (new,) = made.value.shape.keys() - t.value.shape.keys()
        (old,) = t.value.shape.keys() - made.value.shape.keys()
        return t + made.rename(**{new: old})

    def regrouped(t):
        first, second = (x.name for x in t.axes)
        return t.merge(first, second, into="m").split("m", **{second: size, first: size})

    moves = [
        lambda t, other, over: layer(t),
        lambda t, other, over: renamed(t),
        lambda t, other, over: added(t, renamed(other)),
        lambda t, other, over: residual(t, other),
        lambda t, other, over: softmax(t, over),
        lambda t, other, over: t - t.max(over),
        lambda t, other, over: tanh(t) * t,
        lambda t, other, over: regrouped(t),
        lambda t, other, over: layer(renamed(t)) + t.sum(over),
    ]
    for _ in range(draw(st.integers(2, 9))):
        flat = [t for t in held if len(t.axes) == 2]
        t, other = draw(st.sampled_from(flat)), draw(st.sampled_from(flat))
        over = draw(st.sampled_from([x.name for x in t.axes]))
        made = draw(st.sampled_from(moves))(t, other, over)
        if len(made.axes) == 2:
            held.append(made)
    outputs = {f"y{i}": t.value for i, t in enumerate(held[-2:])}
    graph = Graph("tangle", outputs)
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    shapes = {n: [size] * len(v.axes) for n, v in graph.inputs.items()}
    return graph, {n: rng.normal(size=shape) for n, shape in shapes.items()}, {}


@settings(QUICK, max_examples=150)
@given(tangles(), st.booleans())
def test_axes_are_never_taken_for_each_other(case, free):
    choices = Choices(weights_through=True, through=True) if free else Choices()
    same(*case, choices=choices)
