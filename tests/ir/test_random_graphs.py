"""Properties of every graph: sound, printable, and of one meaning, counted right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from ir.point_by_point import Points
from ir.random_graphs import MOVES, graphs, grouped, sorted_out
from maquette.ir import evaluate, flops, parse, section_traffic, show, verify, work

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
SMALL = settings(QUICK, max_examples=8)


@QUICK
@given(graphs())
def test_random_graphs_are_sound_and_read_back_as_themselves(case):
    graph, _, _ = case
    assert verify(graph) == ()
    again = parse(show(graph))
    assert again.name == graph.name
    assert list(again.outputs) == list(graph.outputs)
    assert all(again.outputs[n] is v for n, v in graph.outputs.items())


@QUICK
@given(graphs())
def test_arrays_mean_what_points_mean(case):
    graph, inputs, sizes = case
    expected = Points(graph, inputs, sizes).outputs
    found = evaluate(graph, inputs, sizes, precise=True)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12)
        assert found[name].shape == array.shape


@pytest.mark.parametrize("move", MOVES, ids=lambda m: m.__name__)
def test_each_pattern_means_what_points_mean(move):
    @SMALL
    @given(graphs([move]))
    def holds(case):
        graph, inputs, sizes = case
        found = evaluate(graph, inputs, sizes, precise=True)
        for name, array in Points(graph, inputs, sizes).outputs.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12)

    holds()


@QUICK
@given(graphs([m for m in MOVES if m not in (sorted_out, grouped)]))  # no data-dependent sizes
def test_flops_are_the_operations_that_points_count(case):
    graph, inputs, sizes = case
    counted = Points(graph, inputs, sizes).counted
    for value in graph.values:
        assert flops(value)(sizes) == counted[value]
    assert work(graph.values).total(sizes) == sum(counted.values())


@QUICK
@given(graphs())
def test_evaluation_is_deterministic_and_single_precision_is_close(case):
    graph, inputs, sizes = case
    first = evaluate(graph, inputs, sizes)
    again = evaluate(graph, inputs, sizes)
    for name, array in first.items():
        assert array.dtype in (np.float32, np.int64, np.bool_)
        np.testing.assert_array_equal(array, again[name])


@QUICK
@given(graphs())
def test_a_graph_in_one_piece_moves_its_inputs_and_outputs_alone(case):
    graph, _, sizes = case
    traffic = section_traffic(graph.values, graph)
    names = {m.name for m in traffic.reads}
    assert names <= set(graph.inputs)
    for move in traffic.reads:
        held = graph.inputs[move.name]
        whole = np.prod([a.size(sizes) for a in held.axes])
        assert move.role == held.role
        assert 0 < move.elements({**sizes, "kept": 1, "per": 1}) <= whole
