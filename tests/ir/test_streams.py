"""Streamed monoids in graphs: axes of components, the printed form, the meaning, the counts."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.ir import Graph, Map, evaluate, flops, make, parse, show, verify
from maquette.ir.build import Tensor, reduce, tensor
from maquette.ir.monoids import ADD, MAX, MUL, Part, streamed
from maquette.ir.scalar import Apply, Arg, Lit


def op(name, *args):
    return Apply(name, args)


def softened(width):
    still = op("eq", Arg(0), Arg(width))
    factor = op("where", still, Lit(1.0), op("exp", op("sub", Arg(0), Arg(width))))
    return streamed("soft", [Part(MAX), *[Part(ADD, factor)] * (width - 1)])


ONE = Tensor(make(Map, axes=(), dtype="f32", args=(), body=Lit(1.0)))
SCORES = tensor("s", "activation", "f32", b=2, n=5, t=7)
VALUES = tensor("v", "activation", "f32", b=2, t=7, e=3)


def mixed():
    top, weight, mix = reduce(softened(3), ("t",), SCORES, ONE, VALUES)
    return Graph("g", {"y": (mix / weight).value, "top": top.value, "weight": weight.value})


def test_components_have_the_axes_they_vary_along():
    graph = mixed()
    assert not verify(graph)
    assert [a.name for a in graph.outputs["top"].axes] == ["b", "n"]
    assert [a.name for a in graph.outputs["weight"].axes] == ["b", "n"]
    assert [a.name for a in graph.outputs["y"].axes] == ["b", "n", "e"]


def test_no_component_has_axes_of_another():
    item = mixed().outputs["top"]
    wrong = make(
        type(item), axes=item.operands[0].axes, dtype="f32", kind="item", args=item.operands,
        names=(), start=item.start,
    )  # fmt: skip
    (fault,) = verify(Graph("g", {"y": wrong}))
    assert "item 0 has axes [b=2, n=5, e=3]; expected [b=2, n=5]" in str(fault)


def test_meaning():
    rng = np.random.default_rng(0)
    s, v = rng.normal(size=(2, 5, 7)) * 30, rng.normal(size=(2, 7, 3))
    found = evaluate(mixed(), {"s": s, "v": v}, precise=True)
    p = np.exp(s - s.max(-1, keepdims=True))
    np.testing.assert_allclose(found["top"], s.max(-1))
    np.testing.assert_allclose(found["weight"], p.sum(-1), rtol=1e-13)
    np.testing.assert_allclose(found["y"], p / p.sum(-1, keepdims=True) @ v, rtol=1e-12)


def test_nothing_at_all_is_the_identity():
    s, v = tensor("s", "activation", "f32", n=2, t=0), tensor("v", "activation", "f32", t=0, e=3)
    top, weight, mix = reduce(softened(3), ("t",), s, ONE, v)
    graph = Graph("g", {"top": top.value, "weight": weight.value, "mix": mix.value})
    found = evaluate(graph, {"s": np.zeros((2, 0)), "v": np.zeros((0, 3))})
    assert found["top"].tolist() == [-np.inf] * 2
    assert found["weight"].tolist() == [0, 0]
    assert found["mix"].shape == (2, 3)


def test_large_ones_need_no_large_arrays():
    """A component is never made for every pair of a value and an axis it lacks."""
    s = tensor("s", "activation", "f32", n=512, t=512)
    v = tensor("v", "activation", "f32", t=512, e=256)
    mix = reduce(softened(3), ("t",), s, ONE, v)[2]
    graph = Graph("g", {"y": mix.value})
    rng = np.random.default_rng(0)
    given = {"s": rng.normal(size=(512, 512)), "v": rng.normal(size=(512, 256))}
    p = np.exp(given["s"] - given["s"].max(-1, keepdims=True))
    np.testing.assert_allclose(evaluate(graph, given)["y"], p @ given["v"], rtol=1e-3, atol=1e-3)


def test_printed_and_read_back():
    graph = mixed()
    first = show(graph).splitlines()[1]
    repair = "add * where($0 == $3, 1.0, exp($0 - $3))"
    assert first == f"  monoid streamed soft: max, {repair}, {repair}"
    again = parse(show(graph))
    assert dict(again.outputs) == dict(graph.outputs)
    held = again.outputs["top"].operands[0].monoid
    assert held == softened(3)
    assert held.parts == softened(3).parts


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (Part(ADD, op("sub", Arg(0), Arg(2))), "max, add * ($0 - $2)"),
        (Part(ADD, op("sub", Arg(0), Arg(2)), "add"), "max, add + ($0 - $2)"),
        (Part(ADD, op("mul", Arg(0), Arg(2)), "add"), "max, add + $0 * $2"),
        (Part(ADD, Arg(0), "mul", op("add", Arg(0), Arg(2))), "max, add * $0 then + ($0 + $2)"),
        (Part(MUL, None, "mul", Arg(2)), "max, mul then + $2"),
        (Part(MUL), "max, mul"),
    ],
)
def test_every_part_has_a_text(part, text):
    monoid = streamed("m", [Part(MAX), part])
    graph = Graph("g", {"y": reduce(monoid, ("t",), SCORES, ONE)[1].value})
    assert f"monoid streamed m: {text}\n" in show(graph)
    assert parse(show(graph)).outputs["y"] is graph.outputs["y"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("max, add * $1", r"component 1 repaired by those before it, not by \$1"),
        ("max * $0", "component 0 repaired by those before it"),
        ("max, plus", "expected a monoid"),
        ("max, add * ", "expected an operand"),
        ("max, add then $0", r"expected '\+'"),
        ("max, add * $9", "expected"),
    ],
)
def test_faults_of_the_text(text, fault):
    lines = f"graph g\n monoid streamed m: {text}\n %x: f32[n] = activation\n return x=%x"
    with pytest.raises(InputError, match=fault):
        parse(lines)


def test_a_monoid_may_be_called_streamed():
    monoid = streamed("streamed", [Part(MAX), Part(ADD)])
    graph = Graph("g", {"y": reduce(monoid, ("t",), SCORES, ONE)[1].value})
    assert parse(show(graph)).outputs["y"] is graph.outputs["y"]


def test_work_is_counted_on_the_axes_of_each_component():
    fold = mixed().outputs["top"].operands[0]
    rows = 2 * 5 * 7
    each = 1 + 1 + 2  # combine, multiply, exp and difference
    assert flops(fold).constant == rows * 1 + rows * each + rows * 3 * each
