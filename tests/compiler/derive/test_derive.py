"""Chains of dependent reductions become one fold of the same meaning."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.compiler.derive import derive
from maquette.ir import Graph, evaluate, parse, show, verify
from maquette.ir.build import apply, dot, exp, iota, softmax, tensor, where


def activation(name, /, **axes):
    return tensor(name, "activation", "f32", **axes)


def scores(masked=False):
    q = activation("q", b=2, h=2, s=9, d=4)
    k = activation("k", b=2, h=2, t=9, d=4)
    found = dot(q, k, "d") * 0.5
    return where(iota("t", 9) <= iota("s", 9), found, float("-inf")) if masked else found


VALUES = activation("v", b=2, h=2, t=9, e=3)


def attention(masked):
    return dot(softmax(scores(masked), "t"), VALUES, "t")


def attention_divided_last(masked):
    e = exp(scores(masked) - scores(masked).max("t"))
    return dot(e, VALUES, "t") / e.sum("t")


def log_sum_exp(masked):
    s = scores(masked)
    m = s.max("t")
    return m + apply("log", exp(s - m).sum("t"))


def numbers(graph, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    shapes = {n: [int(a.size.constant) for a in v.axes] for n, v in graph.inputs.items()}
    return {n: rng.normal(size=shape) * spread for n, shape in shapes.items()}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("write", [attention, attention_divided_last, log_sum_exp])
def test_one_pass_of_the_same_meaning(write, masked):
    graph = Graph("g", {"y": write(masked).value})
    derived = derive(graph)
    assert not verify(derived.graph)
    assert [d.monoid is not None for d in derived.derivations] == [True]
    given = numbers(graph, spread=6.0)
    expected = evaluate(graph, given, precise=True)["y"]
    np.testing.assert_allclose(evaluate(derived.graph, given, precise=True)["y"], expected, 1e-12)
    assert parse(show(derived.graph)).outputs["y"] is derived.graph.outputs["y"]
