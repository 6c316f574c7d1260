"""Recurrences by chunks: the same meaning at every length, and only chunks are scanned."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.derive.programs import activation
from maquette.compiler.derive import chunked
from maquette.ir import Graph, Reduce, Scan, evaluate, parse, show, verify
from maquette.ir.build import dot, exp, iota, recurrence, scan, sigmoid, softplus, where
from maquette.ir.facts import contraction
from maquette.ir.monoids import ADD, AFFINE, MAX, MUL


def projections(s):
    return (activation(n, b=2, s=s, **{a: 3}) for n, a in (("q", "d"), ("k", "d"), ("v", "e")))


def running_products(s):
    q, k, v = projections(s)
    return {"y": dot(q, scan(ADD, "s", k * v)[0], "d")}


def pairs(s, strictly=False):
    q, k, v = projections(s)
    scores = dot(q, k.rename(s="t"), "d") * 0.3
    here, there = iota("s", s), iota("t", s)
    seen = there < here if strictly else there <= here
    return where(seen, scores, 0.0), v.rename(s="t")


def masked_pairs(s):
    return {"y": dot(*pairs(s), "t")}


def earlier_pairs(s):
    return {"y": dot(*pairs(s, strictly=True), "t")}


def hidden_pairs(s):
    """Later positions replaced by nought, and sums normalised."""
    q, k, v = projections(s)
    scores = dot(q, k.rename(s="t"), "d")
    held = where(iota("t", s) > iota("s", s), 0.0, scores)
    return {"y": dot(held, v.rename(s="t"), "t"), "z": held.sum("t")}


def space(s, decay):
    dt = softplus(activation("dt", b=2, s=s, h=2))
    x, put, read = (activation(n, b=2, s=s, **a) for n, a in
                    (("x", {"h": 2, "p": 3}), ("in", {"n": 4}), ("out", {"n": 4})))  # fmt: skip
    total, driven = recurrence(decay(dt), dt * x * put, "s")
    held = total * activation("before", b=2, h=2, p=3, n=4) + driven
    return {"y": dot(held, read, "n") + x, "after": held.last("s")}


def state_space(s):
    return space(s, lambda dt: exp(-dt * exp(activation("rate", h=2))))


def any_decay(s):
    return space(s, lambda dt: activation("decay", b=2, s=s, h=2))


def constant_decay(s):
    return space(s, lambda dt: sigmoid(activation("decay", h=2)))


def decay_of_states(s):
    """Every state fades at its own rate, so there is no one contraction to read it."""
    decay = sigmoid(activation("decay", b=2, s=s, p=3, n=4))
    put_in = activation("u", b=2, s=s, p=3) * activation("in", b=2, s=s, n=4)
    _, driven = recurrence(decay, put_in, "s")
    return {"y": dot(driven, activation("out", b=2, s=s, n=4), "n")}


def prefixes(s):
    x = activation("x", b=2, s=s)
    return {m.name: scan(m, "s", x)[0] for m in (ADD, MUL, MAX)}


ALL = (
    running_products, masked_pairs, earlier_pairs, hidden_pairs, state_space, any_decay,
    constant_decay, decay_of_states, prefixes,
)  # fmt: skip


def made(program, s):
    return Graph(program.__name__, {n: x.value for n, x in program(s).items()})


@pytest.mark.parametrize("length", [1, 4, 7, 8])
@pytest.mark.parametrize("s", [9, 16, 23])
@pytest.mark.parametrize("program", ALL, ids=lambda p: p.__name__)
def test_same_meaning(program, s, length):
    of = made(program, s)
    found = chunked(of, length)
    assert not verify(of)
    assert not verify(found.graph)
    assert found.derivations
    assert dict(parse(show(found.graph)).outputs) == dict(found.graph.outputs)
    rng = np.random.default_rng(s)
    shapes = {n: [int(a.size.constant) for a in v.axes] for n, v in of.inputs.items()}
    given = {n: rng.normal(size=shape) for n, shape in shapes.items()}
    expected = evaluate(of, given, precise=True)
    for name, y in evaluate(found.graph, given, precise=True).items():
        largest = np.abs(expected[name]).max()
        np.testing.assert_allclose(y, expected[name], rtol=1e-10, atol=1e-12 * largest)
    along = {v.along for v in found.graph.values if isinstance(v, Scan)}
    assert along <= {"s.chunk", "s.place"}


@pytest.mark.parametrize("program", [running_products, masked_pairs, state_space])
def test_inside_a_chunk_it_is_products_of_matrices(program):
    found = chunked(made(program, 32), 8).graph
    products = [c for v in found.values if (c := contraction(v)) is not None and c.matrix]
    assert len(products) >= 4  # scores, values, what is carried, what is read of it
    scans = [v for v in found.values if isinstance(v, Scan) and v.along == "s.chunk"]
    assert {v.shape["s.chunk"].constant for v in scans} == {4}
    assert not any("s" in v.shape and "n" in v.shape and "p" in v.shape for v in found.values)


def test_pairs_far_apart_are_never_looked_at():
    found = chunked(made(masked_pairs, 32), 8).graph
    assert not any({"s", "t"} <= v.shape.keys() for v in found.values)


def test_one_state_for_what_is_read_and_what_is_kept():
    found = chunked(made(state_space, 32), 8).graph
    affine = [v for v in found.values if isinstance(v, Scan) and v.monoid == AFFINE]
    assert [v.along for v in affine] == ["s.chunk"]


def test_short_ones_stay():
    of = made(state_space, 8)
    assert chunked(of, 8).graph.outputs == of.outputs


def test_decays_that_vanish_do_no_harm():
    """Quotients of running products would be 0/0 here."""
    of = made(state_space, 64)
    rng = np.random.default_rng(0)
    shapes = {n: [int(a.size.constant) for a in v.axes] for n, v in of.inputs.items()}
    given = {n: rng.normal(size=shape) for n, shape in shapes.items()}
    given["rate"] = np.full(2, 6.0)
    expected = evaluate(of, given, precise=True)["y"]
    np.testing.assert_allclose(evaluate(chunked(of, 16).graph, given)["y"], expected, 1e-4, 1e-4)


def test_sizes_must_be_numbers():
    x = activation("x", b=2, s="s")
    of = Graph("g", {"y": scan(ADD, "s", x)[0].value})
    found = chunked(of, 4)
    assert found.graph.outputs == of.outputs
    assert [r.condition for r in found.refusals] == ["sizes"]


def test_sums_over_all_positions_stay():
    q, k, v = projections(16)
    of = Graph("g", {"y": dot(dot(q, k.rename(s="t"), "d"), v.rename(s="t"), "t").value})
    assert chunked(of, 4).graph.outputs == of.outputs
    assert sum(isinstance(v, Reduce) for v in of.values) == 2
