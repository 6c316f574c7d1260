"""What patterns mean at their edges, and what evaluation refuses."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.errors import InputError, ProgramError
from maquette.ir import Graph, Program, axis, evaluate, make, run, sym
from maquette.ir.build import (
    Tensor,
    activation,
    apply,
    concat,
    group_by,
    indices,
    iota,
    recurrence,
    reduce,
    scan,
    silu,
    softmax,
    softplus,
    tensor,
    top,
    weight,
    where,
)
from maquette.ir.monoids import ADD, AND, MAX, MIN, MONOIDS, OR
from maquette.ir.patterns import FlatMap


def value(result, sizes=None, /, **inputs):
    return evaluate(Graph("test", {"y": result.value}), inputs, sizes, precise=True)["y"]


def rng(*shape):
    return np.random.default_rng(7).normal(size=shape)


@pytest.mark.parametrize(
    ("left", "right", "over", "result"),
    [
        ("nd", "df", "d", "nf"),
        ("bsd", "bd", "d", "bs"),
        ("bsgrk", "btgk", "k", "bsgrt"),
        ("emd", "edf", "d", "emf"),
        ("bgrst", "btgk", "t", "bgrsk"),
        ("ab", "cd", "", ""),
        ("abd", "abd", "bd", "a"),
    ],
)
def test_contractions_are_einsum(left, right, over, result):
    size = dict(zip("abcdefgkmnrst", range(2, 15), strict=True))
    x, y = rng(*(size[a] for a in left)), rng(*(size[a] for a in right))[::-1].copy()
    tx = activation("x", **{a: size[a] for a in left})
    ty = weight("y", **{a: size[a] for a in right})
    if over:
        product = (tx * ty).sum(*over)
        names = "".join(a.name for a in product.axes)
        assert sorted(names) == sorted(result)
        np.testing.assert_allclose(
            value(product, x=x, y=y), np.einsum(f"{left},{right}->{names}", x, y)
        )
    else:
        np.testing.assert_allclose(value(tx * ty, x=x, y=y), np.einsum("ab,cd->abcd", x, y))


def test_an_empty_contraction_is_zero():
    y = (activation("x", n="n", d="d") * weight("w", d="d", f=3)).sum("d")
    assert (value(y, x=np.zeros((2, 0)), w=np.zeros((0, 3))) == np.zeros((2, 3))).all()


def test_reads_outside_a_tensor_are_zero():
    x = tensor("x", "activation", "f32", n=4)
    back = x.at(n=iota("n", 4) - 1)
    ahead = x.at(n=iota("n", 4) + 2)
    held = np.array([1.0, 2.0, 3.0, 4.0])
    assert value(back, x=held).tolist() == [0, 1, 2, 3]
    assert value(ahead, x=held).tolist() == [3, 4, 0, 0]


def test_a_causal_convolution_is_reads_at_computed_coordinates():
    x, w = activation("x", b=2, s=7), weight("w", j=3)
    places = iota("s", 7) - iota("j", 3)
    y = (x.at(s=places) * w).sum("j")
    xs, ws = rng(2, 7), rng(3)
    expected = [np.convolve(row, ws)[:7] for row in xs]
    found = value(y, x=xs, w=ws)
    np.testing.assert_allclose(found if found.shape == (2, 7) else found.T, expected)


def test_gathers_read_rows():
    table, ids = weight("table", v=11, d=3), indices("ids", b="b", s="s")
    rows, held = rng(11, 3), np.array([[3, 0, 10], [5, 5, 1]])
    found = value(table.at(v=ids), table=rows, ids=held)
    np.testing.assert_array_equal(np.moveaxis(found, 0, -1), rows[held])


def test_a_gather_of_a_gather():
    x, outer, inner = activation("x", n=5), indices("outer", i=4), indices("inner", j=2)
    y = x.at(n=outer.at(i=inner))
    xs, a, b = rng(5), np.array([4, 0, 2, 2]), np.array([3, 0])
    np.testing.assert_array_equal(value(y, x=xs, outer=a, inner=b), xs[a[b]])


def test_last_is_the_last():
    x = activation("x", b=2, s="s", d=3)
    xs = rng(2, 5, 3)
    np.testing.assert_array_equal(value(x.last("s"), x=xs), xs[:, -1])


def test_top_breaks_ties_by_position():
    x = activation("x", n=2, e=5)
    found = value(top(x, "e", "k", 3), x=np.array([[1, 3, 3, 0, 3], [5, 5, 5, 5, 5.0]]))
    assert found.tolist() == [[1, 2, 4], [0, 1, 2]]


def test_top_of_what_has_no_order_or_no_negative():
    x = activation("x", n=2, e=3)
    found = value(top(x, "e", "k", 3), x=np.array([[1, np.nan, np.inf], [np.nan, 2, np.nan]]))
    assert found.tolist() == [[1, 2, 0], [0, 2, 1]]
    found = value(top(x, "e", "k", 3), x=np.array([[-128, 0, 127], [5, -128, -128]], np.int8))
    assert found.tolist() == [[2, 1, 0], [0, 1, 2]]


def test_top_of_more_than_there_are():
    with pytest.raises(ProgramError, match="top 4 of the 3 positions of axis 'e'"):
        value(top(activation("x", e="e"), "e", "k", 4), x=np.zeros(3))


def filtered(mask, room):
    out = axis("kept", "kept", room)
    parts = {"rule": "where", "along": "n", "out": out, "key": mask.value}
    return Tensor(make(FlatMap, axes=(out,), dtype="i32", **parts))


def test_where_keeps_positions_in_order_and_pads_with_minus_one():
    x = activation("x", n="n")
    kept = filtered(x > 0.0, "n")
    assert value(kept, x=np.array([-1, 2, 0, 3.0])).tolist() == [1, 3, -1, -1]
    assert value(x.at(n=kept), x=np.array([-1, 2, 0, 3.0])).tolist() == [2, 3, 0, 0]


def test_where_without_room():
    kept = filtered(activation("x", n="n") > 0.0, 1)
    with pytest.raises(ProgramError, match="2 positions of 'n' are kept, 1 fit"):
        value(kept, x=np.array([1.0, 1.0]))


def grouped(room):
    key = indices("key", n="n", k=2)
    return key, group_by(key, axis("e", "hit", 3), axis("m", "per", room))


def test_groups_have_slots_and_members_row_by_row():
    _, (slot, n, k) = grouped(sym("n") * 2)
    held = np.array([[2, 0], [2, 1], [7, -3]])  # 7 and -3 name no group
    assert value(slot, key=held).tolist() == [[0, 0], [1, 0], [-1, -1]]
    assert value(n, key=held).tolist() == [[0] + [-1] * 5, [1] + [-1] * 5, [0, 1] + [-1] * 4]
    assert value(k, key=held).tolist() == [[1] + [-1] * 5, [1] + [-1] * 5, [0, 0] + [-1] * 4]


def test_a_group_larger_than_its_axis():
    _, (slot, *_) = grouped(1)
    with pytest.raises(ProgramError, match="a group has 2 members"):
        value(slot, key=np.array([[2, 0], [2, 1]]))


def test_mixture_of_experts_equals_a_loop():
    N, E, C, D, F = 7, 5, 2, 4, 6
    x, router = activation("x", n="n", d=D), weight("router", d=D, e=E)
    up, down = weight("up", e=E, d=D, f=F), weight("down", e=E, f=F, d=D)
    logits = (x * router).sum("d")
    chosen = top(logits, "e", "k", C)
    pairs = sym("n") * C
    slot, token, _ = group_by(chosen, axis("e", "hit", E), axis("m", pairs / "hit", pairs))
    hidden = silu((x.at(n=token) * up).sum("d"))
    made = (hidden * down).sum("f").at(e=chosen, m=slot)
    y = (made * softmax(logits, "e").at(e=chosen)).sum("k")
    held = {"x": rng(N, D), "router": rng(D, E), "up": rng(E, D, F), "down": rng(E, F, D)}
    found = value(y, **held)
    scores = held["x"] @ held["router"]
    gate = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = np.zeros((N, D))
    for i in range(N):
        for e in np.argsort(-scores[i])[:C]:
            h = held["x"][i] @ held["up"][e]
            expected[i] += gate[i, e] * (h / (1 + np.exp(-h))) @ held["down"][e]
    names = [a.name for a in y.axes]
    np.testing.assert_allclose(np.transpose(found, [names.index(n) for n in "nd"]), expected)


@pytest.mark.parametrize("length", [0, 1, 2, 5, 8, 13])
def test_recurrences_are_loops(length):
    decay, drive = activation("a", b=2, t="t"), activation("u", b=2, t="t", p=3)
    total, h = recurrence(decay, drive, "t")
    a, u = rng(2, length), rng(2, length, 3)
    state = np.zeros((2, 3))
    expected = []
    for i in range(length):
        state = a[:, i, None] * state + u[:, i]
        expected.append(state)
    found = value(h, a=a, u=u)
    np.testing.assert_allclose(found, np.reshape(np.array(expected), (length, 2, 3)).swapaxes(0, 1))
    spread = np.broadcast_to(np.cumprod(a, axis=1)[..., None], (2, length, 3))
    np.testing.assert_allclose(value(total, a=a, u=u), spread)


@pytest.mark.parametrize(
    ("monoid", "expected"),
    [(ADD, np.cumsum), (MAX, np.maximum.accumulate), (MIN, np.minimum.accumulate)],
)
def test_scans_are_accumulations(monoid, expected):
    y = scan(monoid, "i", activation("x", i=6, j=2))[0]
    x = rng(6, 2)
    np.testing.assert_allclose(value(y, x=x), expected(x, axis=0))


def test_a_reduction_with_order_folds_left_to_right_over_axes_as_named():
    affine = MONOIDS["affine"]
    a, u = activation("a", i=3, j=5), activation("u", i=3, j=5)
    held = rng(3, 5), rng(3, 5)
    for over in (("i", "j"), ("j", "i")):
        h = 0.0
        order = [(i, j) for i in range(3) for j in range(5)]
        for place in sorted(order, key=lambda p: p if over == ("i", "j") else p[::-1]):
            h = held[0][place] * h + held[1][place]
        found = value(reduce(affine, over, a, u)[1], a=held[0], u=held[1])
        np.testing.assert_allclose(found, h)


def test_bools_reduce():
    x = activation("x", n=3, d=2) > 0.0
    held = np.array([[1, 1], [1, -1], [-1, -1.0]])
    assert value(reduce(AND, ("d",), x)[0], x=held).tolist() == [True, False, False]
    assert value(reduce(OR, ("d",), x)[0], x=held).tolist() == [True, True, False]


def test_an_empty_maximum_is_the_identity():
    y = activation("x", n="n").max("n")
    assert value(y, x=np.zeros(0)) == -np.inf


def test_views_name_the_same_elements():
    x = activation("x", a=2, b=3, c=4)
    xs = rng(2, 3, 4)
    np.testing.assert_array_equal(value(x.split("c", p=2, q=2), x=xs), xs.reshape(2, 3, 2, 2))
    np.testing.assert_array_equal(
        value(x.merge("a", "c", into="z"), x=xs), xs.transpose(0, 2, 1).reshape(8, 3)
    )
    np.testing.assert_array_equal(
        value(x.merge("c", "a", into="z"), x=xs), xs.transpose(1, 2, 0).reshape(3, 8)
    )
    np.testing.assert_array_equal(value(x.slice("b", 1, 2), x=xs), xs[:, 1:])
    y = weight("y", c=4, b="m", a=2)  # parts may lay out their axes differently
    ys = rng(4, 2, 2)
    joined = value(concat("b", x, y), x=xs, y=ys)
    np.testing.assert_array_equal(joined, np.concatenate([xs, ys.transpose(2, 1, 0)], 1))


def test_a_slice_past_the_end():
    y = activation("x", n="n").slice("n", 3, 2)
    assert value(y, x=np.arange(5.0)).tolist() == [3, 4]
    with pytest.raises(ProgramError, match=r"\[3, 5\) of axis 'n', which has 4"):
        value(y, x=np.arange(4.0))


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("abs", np.abs), ("sqrt", np.sqrt), ("rsqrt", lambda v: v**-0.5),
        ("recip", lambda v: 1 / v),
        ("exp", np.exp), ("log", np.log), ("sin", np.sin), ("cos", np.cos), ("tanh", np.tanh),
        ("sigmoid", lambda v: 1 / (1 + np.exp(-v))), ("softplus", lambda v: np.log1p(np.exp(v))),
        ("erf", lambda v: [0.5204998778130465, 0.9953222650189527]), ("neg", np.negative),
    ],
)  # fmt: skip
def test_unary_operations(op, expected):
    x = np.array([0.5, 2.0])
    np.testing.assert_allclose(value(apply(op, activation("x", n=2)), x=x), expected(x))


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("pow", [-8.0, 0.0625]), ("div", [-2 / 3, -2.0]), ("max", [3, 4]), ("min", [-2, -2]),
        ("floordiv", [-1, -2]), ("mod", [1, 0]),
        ("eq", [0, 0]), ("ne", [1, 1]), ("lt", [1, 0]), ("le", [1, 0]),
        ("gt", [0, 1]), ("ge", [0, 1]),
    ],
)  # fmt: skip
def test_binary_operations(op, expected):
    x, y = tensor("x", "index", "i32", n=2), tensor("y", "index", "i32", n=2)
    assert value(
        apply(op, x, y), x=np.array([-2, 4]), y=np.array([3, -2])
    ).tolist() == pytest.approx(expected)


def test_extreme_values_do_not_overflow():
    x = activation("x", n=2)
    far = np.array([-1000.0, 1000.0])
    assert value(apply("sigmoid", x), x=far).tolist() == [0, 1]
    assert value(softplus(x), x=far).tolist() == [0, 1000]


def test_casts_to_whole_numbers_cut_towards_zero():
    y = activation("x", n=3).to("i32")
    assert value(y, x=np.array([1.9, -1.9, 0.4])).tolist() == [1, -1, 0]


def test_logic():
    x = activation("x", n=3)
    inside = (x > 0.0) & (x < 2.0)
    y = where(apply("not", inside), x, 9)
    assert value(y, x=np.array([-1.0, 1.0, 3.0])).tolist() == [-1, 9, 3]


def test_results_do_not_alias_inputs():
    x = activation("x", n=3)
    held = np.arange(3.0)
    value(x.rename(n="m"), x=held)[0] = 7
    assert held.tolist() == [0, 1, 2]


def test_formats_are_those_of_the_operands_and_not_of_coordinates():
    x = activation("x", n=4)
    table = apply("cos", iota("n", 4) * 0.5)
    assert table.value.dtype.name == "f32"
    assert (x * table).value.dtype.name == "bf16"
    assert (iota("n", 4) + 1).value.dtype.name == "i32"
    assert (iota("n", 4) / 2).value.dtype.name == "f32"
    assert (x * tensor("y", "weight", "f32", n=4)).value.dtype.name == "f32"
    assert (x * tensor("q", "weight", "int4", n=4)).value.dtype.name == "bf16"


def test_constants_of_different_kinds_are_different():
    x = activation("x", n=4)
    assert (x + 1).value is (x + 1).value
    assert (x + 1).value is not (x + 1.0).value


def test_inputs_are_checked_all_at_once():
    graph = Graph("g", {"y": (activation("x", n="n", d=4) * weight("w", d=4)).value})
    with pytest.raises(InputError) as error:
        evaluate(graph, {"x": np.zeros((3, 5)), "v": np.zeros(3)})
    assert [str(f) for f in error.value.faults] == [
        "inputs: v: g has no such input (known: w, x)",
        "inputs: x: has shape (3, 5); expected (3, 4) for [n=n, d=4]",
        "inputs: w: missing; expected an array of [d=4]",
    ]


def test_symbols_without_a_number_are_named():
    y = activation("x", n=3) * sym("scale")
    with pytest.raises(ProgramError, match="no number for 'scale' in size scale"):
        value(y, x=np.zeros(3))
    assert value(y, {"scale": 3}, x=np.ones(3)).tolist() == [3, 3, 3]


def test_sizes_are_solved_in_any_order():
    a = activation("a", i=sym("p") + sym("q") + sym("r"))
    b, c = activation("b", j=sym("p") - sym("q")), activation("c", k=sym("p") * 3)
    total = a.sum("i") + b.sum("j") + c.sum("k") + sym("r")
    assert value(total, a=np.ones(9), b=np.ones(2), c=np.ones(12)) == 9 + 2 + 12 + 3


def test_extents_are_whole():
    y = iota("n", sym("t") / 2)
    assert value(y, {"t": 4}).tolist() == [0, 1]
    for t, half in ((3, "1.5"), (-2, "-1")):
        with pytest.raises(ProgramError, match=rf"1/2\*t is {half}.*a whole number, 0 or more"):
            value(y, {"t": t})


def test_sizes_are_solved_from_shapes():
    x, y = activation("x", a=sym("t") - sym("s"), b="s"), activation("y", c=sym("t") * 2)
    total = x.sum("a", "b") * sym("t")
    assert value(total + y.sum("c"), x=np.ones((3, 2)), y=np.zeros(10)) == 30


def test_a_program_names_what_is_missing():
    graph = Graph("g", {"x": (activation("x", n=2) * weight("w", n=2)).value})
    program = Program("p", {"g": graph}, ("g", "g"))
    one = np.ones(2)
    out, states = run(program, {"x": one}, {"0.w": one * 2, "1.w": one * 3})
    assert out["x"].tolist() == [6, 6]
    assert states == {}
    with pytest.raises(InputError, match=r"weights: 1\.w: missing, g needs it"):
        run(program, {"x": one}, {"0.w": one})
