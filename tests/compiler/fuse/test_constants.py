"""What constants alone decide is computed once, and means the same."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings

from compiler.fuse.programs import given as activation
from compiler.fuse.programs import weight
from ir.random_graphs import MOVES, graphs, grouped, sorted_out
from maquette.compiler.fuse import without_constants
from maquette.errors import ProgramError
from maquette.ir import evaluate
from maquette.ir.build import concat, cos, dot, iota, tensor
from maquette.ir.graph import Graph


def split(value, *names):
    return without_constants(Graph("g", {"out": value.value}), names)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(graphs([m for m in MOVES if m not in (sorted_out, grouped)]))
def test_both_halves_together_mean_the_whole(case):
    graph, inputs, sizes = case
    constants = {n for n in graph.inputs if n == "p"}
    once, rest = without_constants(graph, constants, sizes)
    try:
        expected = evaluate(graph, inputs, sizes, precise=True)
    except ProgramError:
        return
    known = {n: x for n, x in inputs.items() if n in once.inputs}
    made = evaluate(once, known, sizes, precise=True)
    held = {n: x for n, x in {**inputs, **made}.items() if n in rest.inputs}
    found = evaluate(rest, held, sizes, precise=True)
    assert not once.outputs.keys() & graph.inputs.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-12)


def test_a_table_of_angles_is_made_once():
    angles = iota("s", 32) * 1.0 * weight("rates", d=8)
    once, rest = split(activation("x", s=32, d=8) * cos(angles), "rates")
    assert list(once.outputs) == []  # larger than the rates: made as it is read
    table = cos(iota("s", 32) * 0.1)
    once, rest = split(activation("x", s=32, d=8) * table, "rates")
    assert list(once.outputs) == ["g.0"]
    assert list(rest.inputs) == ["x", "g.0"]


def test_weights_end_to_end_and_products_of_weights_are_made_once():
    x = activation("x", n=3, d=8)
    both = concat("f", weight("a", d=8, f=4), weight("b", d=8, f=4))
    once, _ = split(dot(x, both, "d"), "a", "b")
    assert set(once.inputs) == {"a", "b"}
    gain = weight("a", d=8, f=4) * weight("gain", d=8)
    once, rest = split(dot(x, gain, "d"), "a", "gain")
    assert list(rest.inputs) == ["x", "g.0"]


def test_narrow_weights_stay_narrow_and_what_varies_stays():
    x = activation("x", n=3, d=8)
    narrow = tensor("w", "weight", "int8", d=8, f=4).to("f32") * weight("scale", f=4)
    for constants in (("w", "scale"), ("scale",), ()):
        once, rest = split(dot(x, narrow, "d"), *constants)
        assert once.outputs == {}
        assert set(rest.inputs) == {"x", "w", "scale"}


def test_reading_in_another_order_is_no_work():
    x, w = activation("x", n=3, d=8), weight("w", a=2, b=4, f=4)
    once, _ = split(dot(x, w.merge("a", "b", into="d"), "d"), "w")
    assert once.outputs == {}
