"""Fusion preserves meaning, on random graphs; what it prints reads back as the very same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings

from ir.random_graphs import MOVES, graphs
from maquette.compiler.fuse import Choices, evaluate_flow, fuse, parse_flow, show_flow, verify_flow
from maquette.errors import ProgramError
from maquette.ir import evaluate

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
