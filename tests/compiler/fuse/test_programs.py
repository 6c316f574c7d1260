"""What users write: it means what NumPy says, and fuses into the kernels it should."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from compiler.fuse.programs import PROGRAMS, causal, given, graph, inputs, weight
from maquette.compiler.derive import derive
from maquette.compiler.fuse import (
    Choices,
    evaluate_flow,
    fuse,
    parse_flow,
    show_flow,
    verify_flow,
)
from maquette.errors import InputError, ProgramError
from maquette.ir.build import dot, indices, iota, sigmoid, softmax, where
from maquette.ir.graph import Graph

GOLDEN = Path(__file__).parent / "golden"


def flow_of(value, **options):
    return fuse(Graph("program", {"out": value.value}), **options)


def kinds(flow):
    """For every kernel, the kinds of its stages."""
    return [[s.kind for s in k.stages] for k in flow.kernels]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("derived", [False, True], ids=["naive", "derived"])
def test_programs_mean_what_numpy_says(name, derived):
    program = graph(name)
    given_ = inputs(program)
    flow = fuse(derive(program).graph if derived else program)
    assert verify_flow(flow) == ()
    assert parse_flow(show_flow(flow)) == flow
    expected = PROGRAMS[name][1](**given_)
    found = evaluate_flow(flow, given_, precise=True)["out"]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_fuse_as_they_did(name):
    """Run with GOLDEN=write to accept what changed."""
    shown = show_flow(fuse(graph(name))) + "\n"
    derived = derive(graph(name)).graph
    shown += "\nderived\n\n" + show_flow(fuse(derived)) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(shown)
    assert shown == path.read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_inputs_may_lie_in_any_order(name):
    """The same numbers, the axes of every input the other way round in memory."""
    program = graph(name)
    given_ = inputs(program)
    turned = {n: np.asfortranarray(x) for n, x in given_.items()}
    strides = {n: tuple(s // x.itemsize for s in x.strides) for n, x in turned.items()}
    flow = fuse(program, strides=strides)
    assert {t.name: t.strides for t in flow.inputs} == strides
    found = evaluate_flow(flow, turned, precise=True)["out"]
    np.testing.assert_allclose(found, PROGRAMS[name][1](**given_), rtol=1e-9, atol=1e-12)


def test_scores_are_never_stored():
    for program in (graph("causal"), derive(graph("causal")).graph):
        flow = fuse(program)
        assert len(flow.kernels) == 1
        assert flow.arena == ()


def test_the_derived_form_streams_and_the_naive_one_takes_two_passes():
    (naive,) = kinds(fuse(graph("causal")))
    (online,) = kinds(fuse(derive(graph("causal")).graph))
    assert naive.count("reduce") == 4  # scores, maximum, sum, mix
    assert online == ["reduce", "reduce", "map"]  # scores, the fold, its division


def test_each_product_with_weights_is_a_kernel_with_its_epilogue():
    gated = fuse(graph("gated"))
    assert kinds(gated) == [["reduce", "reduce", "map"], ["reduce"]]
    normed = fuse(graph("norm_linear"))
    assert kinds(normed) == [["reduce", "map", "map"], ["reduce", "map"]]


def test_products_stream_into_folds_by_choice():
    q, k = given("q", h=2, s=64, d=8), given("k", h=2, t=64, d=8)
    mixed = dot(sigmoid(dot(q, k, "d")), given("v", h=2, t=64, e=8), "t")
    assert len(flow_of(mixed).kernels) == 1
    assert len(flow_of(mixed, choices=Choices(through=False)).kernels) == 2


def test_a_small_product_of_products_is_stored():
    q, k, v = given("q", s=64, d=8), given("k", t=64, d=8), given("v", t=64, e=8)
    flow = flow_of(dot(q, dot(k, v, "t"), "d"))
    assert len(flow.kernels) == 2
    assert flow.arena_bytes == 8 * 8 * 4


def test_logits_stream_by_choice():
    scores = dot(given("x", n=6, d=8), weight("w", d=8, v=100), "d")
    total = softmax(scores, "v").max("v")
    assert len(flow_of(total).kernels) == 2
    assert len(flow_of(total, choices=Choices(weights_through=True)).kernels) == 1


def test_a_state_is_never_stored():
    flow = fuse(graph("scan"))
    assert kinds(flow)[-1] == ["scan", "reduce"]
    assert flow.arena_bytes <= 2 * 12 * 6 * 4 + 64


def test_parts_of_a_concatenation_are_written_in_place():
    flow = fuse(graph("cached"))
    (buffer,) = flow.arena
    assert buffer.bytes == 2 * 12 * 8 * 4
    assert {t.offset for k in flow.kernels[:-1] for t in k.outputs} == {0, 9 * 8}


def test_views_cost_nothing():
    x = given("x", b=2, h=3, s=4, d=5)
    flow = flow_of(x.merge("b", "h", into="n").split("n", b=2, h=3) * 2.0)
    assert flow.kernels[0].inputs[0].strides[-1] == 1
    assert not any(a.at for s in flow.kernels[0].stages for leaf in s.leaves for a in _reads(leaf))


def _reads(leaf):
    from maquette.ir.scalar import reads

    return list(reads(leaf))


@pytest.mark.parametrize("s", [0, 1])
def test_axes_of_no_point_and_of_one(s):
    program = Graph("program", {"out": causal(s=s).value})
    given_ = inputs(program)
    found = evaluate_flow(fuse(program), given_, precise=True)["out"]
    assert found.shape == (s, 2, 4, 8)
    if s:
        np.testing.assert_allclose(found, given_["v"].transpose(2, 0, 1, 3), rtol=1e-12)


def test_a_fold_over_nothing_is_its_identity():
    flow = flow_of(given("x", n=3, t=0).max("t"))
    found = evaluate_flow(flow, {"x": np.zeros((3, 0))})["out"]
    np.testing.assert_array_equal(found, np.full(3, -np.inf))


def test_a_symbol_without_a_number_is_named():
    with pytest.raises(ProgramError, match="no number for 'length'"):
        flow_of(given("x", n="length") * 2.0)
    assert flow_of(given("x", n="length") * 2.0, sizes={"length": 4}).outputs[0].shape == (4,)


def test_strides_that_do_not_fit_are_refused():
    x = given("x", n=3, t=4) * 2.0
    with pytest.raises(InputError, match="3 strides; expected 2"):
        flow_of(x, strides={"x": (1, 2, 3)})
    with pytest.raises(InputError, match="no such input"):
        flow_of(x, strides={"z": (1,)})


def test_inputs_that_do_not_fit_are_refused():
    flow = flow_of(given("x", n=3) * given("z", n=3))
    with pytest.raises(InputError) as found:
        evaluate_flow(flow, {"x": np.zeros(4), "w": 1})
    assert {f.where for f in found.value.faults} == {"inputs: x", "inputs: z", "inputs: w"}


def test_padding_is_read_as_zeros():
    x = given("x", n=4)
    shifted = (x + 1.0).at(n=iota("m", 6) - 1)
    found = evaluate_flow(flow_of(shifted), {"x": np.arange(4.0)})["out"]
    np.testing.assert_array_equal(found, [0, 1, 2, 3, 4, 0])


def test_a_condition_that_always_holds_goes_away():
    x = given("x", n=4)
    flow = flow_of(where(iota("n", 4) < 4, x, 0.0))
    assert "where" not in show_flow(flow)


def layers(count):
    x = given("x", n=8, d=16)
    for i in range(count):
        named = {"d": 16, "f": 16}
        y = x * weight(f"gain{i}", d=16)
        scores = dot(dot(y, weight(f"q{i}", **named), "d"), y.rename(d="f", n="t"), "f")
        x = x + dot(softmax(scores, "t"), y.rename(n="t"), "t")
    return Graph("layers", {"out": x.value})


def test_layers_repeat():
    """Identical layers give kernels that differ in names alone, and take little time each."""
    from maquette.compiler.canonical import canonical

    flow = fuse(layers(8))
    per_layer = len(flow.kernels) // 8
    forms = [repr(canonical(k)) for k in flow.kernels]
    assert len(set(forms[per_layer:])) == per_layer  # the first reads an input
    few, many = layers(2), layers(16)

    def seconds(program):
        return min(_timed(fuse, program) for _ in range(3))

    assert seconds(many) < 16 * seconds(few)


def _timed(function, *args):
    start = time.process_time()
    function(*args)
    return time.process_time() - start


def test_a_residual_that_its_own_projection_reads_is_stored():
    """``x + f(x)`` may not join the kernel of x: it would read columns that are not there yet."""
    x, w = given("x", n=6, d=8), weight("w", d=8, f=8)
    once = x + dot(x, w, "d").rename(f="d")
    twice = once + dot(once, weight("u", d=8, f=8), "d").rename(f="d")
    flow = flow_of(twice)
    assert len(flow.kernels) == 2
    given_ = inputs(Graph("twice", {"out": twice.value}))
    y = given_["x"] + given_["x"] @ given_["w"]
    found = evaluate_flow(flow, given_, precise=True)["out"]
    np.testing.assert_allclose(found, y + y @ given_["u"], rtol=1e-9)


def test_picked_elements_are_read_where_they_are():
    logits = dot(given("x", n=6, d=8), weight("w", d=8, v=10), "d")
    picked = softmax(logits, "v").at(v=indices("y", n=6))
    given_ = inputs(Graph("picked", {"out": picked.value}))
    given_["y"] = np.arange(6)
    found = evaluate_flow(flow_of(picked), given_, precise=True)["out"]
    expected = PROGRAMS["softmax"][1](given_["x"] @ given_["w"])[np.arange(6), np.arange(6)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
