"""Chains of dependent reductions become one fold of the same meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.derive.programs import (
    ATTENTION,
    HOISTED,
    INF,
    STREAMED,
    Shapes,
    activation,
    causal,
    full,
    graph,
    inputs,
    layer_norm,
    layer_norm_apart,
    log_sum_exp,
    rms_norm,
    safe,
    sigmoid_attention,
    sink,
    soft,
    unguarded,
    variance,
)
from maquette.compiler.derive import RULES, derive
from maquette.ir import Graph, Reduce, evaluate, parse, show, streams, verify
from maquette.ir.build import Tensor, apply, dot, exp
from maquette.ir.facts import contraction
from maquette.ir.graph import walk
from maquette.ir.monoids import Streamed
from maquette.ir.semantics import Numbers, reduce

DERIVED = (*STREAMED, *HOISTED)
quick = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def close(found, expected, tolerance=1e-12, least=1e-300):
    """Equal to a part of the largest value, NaN where the other is."""
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    largest = np.nanmax(np.abs(expected), initial=least, where=np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * largest)


def compare(of, given, tolerance=1e-12):
    made = derive(of).graph
    with np.errstate(all="ignore"):
        close(
            evaluate(made, given, precise=True)["y"],
            evaluate(of, given, precise=True)["y"],
            tolerance,
        )


def folds(of):
    return [v for v in of.values if isinstance(v, Reduce) and isinstance(v.monoid, Streamed)]


@pytest.mark.parametrize("program", DERIVED, ids=lambda p: p.__name__)
def test_same_meaning_sound_and_printable(program):
    of = graph(program)
    derived = derive(of)
    assert not verify(of)
    assert not verify(derived.graph)
    assert not derived.refusals
    assert len(derived.derivations) == 1
    assert len(folds(derived.graph)) == (program in STREAMED)
    assert parse(show(derived.graph)).outputs["y"] is derived.graph.outputs["y"]
    for seed, spread in enumerate((1, 40)):
        compare(of, inputs(of, np.random.default_rng(seed), spread))


@pytest.mark.parametrize("program", DERIVED, ids=lambda p: p.__name__)
def test_any_sizes(program):
    @quick
    @given(
        st.integers(1, 7), st.integers(1, 40), st.integers(1, 3), st.integers(1, 5),
        st.integers(0, 10**6), st.sampled_from([0.1, 5.0, 40.0]),
    )  # fmt: skip
    def hold(s, t, b, d, seed, spread):
        of = graph(program, Shapes(s=s, t=t, b=b, d=d, e=d))
        compare(of, inputs(of, np.random.default_rng(seed), spread))

    hold()


@pytest.mark.parametrize("program", ATTENTION, ids=lambda p: p.__name__)
def test_every_attention_is_one_fold_of_the_same_form(program):
    (fold,) = folds(derive(graph(program)).graph)
    text = [str(p.op) for p in fold.monoid.parts]
    assert text == ["max", "add", "add"]
    assert [sorted(a.name for a in fold.component(i))[-1] for i in range(3)] == ["s", "s", "s"]
    assert "e" not in {a.name for a in fold.component(1)}
    assert "e" in {a.name for a in fold.component(2)}
    one, value = fold.args[1:]
    assert one.axes == ()  # exp(x − m) at m = x
    assert "s" not in value.shape


def test_golden_causal_attention():
    derived = derive(graph(causal))
    assert show(derived.graph) == GOLDEN
    (found,) = derived.derivations
    assert [v.axes for v in found.replaced] == [v.axes for v in found.by]


GOLDEN = """\
graph causal
  monoid streamed max.add.add: max, add * where($0 == $3, 1.0, exp($0 - $3)), \
add * where($0 == $3, 1.0, exp($0 - $3))
  %q: f32[b=2, h=4, s=9, d=4] = activation
  %k: f32[b=2, h=4, t=9, d=4] = activation
  %v: f32[b=2, h=4, t=9, e=3] = activation
  %0: i32[t=9] = t
  %1: i32[s=9] = s
  %2: bool[t=9, s=9] = %0 <= %1
  %3: f32[b=2, h=4, s=9, d=4, t=9] = %q * %k
  %4: f32[b=2, h=4, s=9, t=9] = add over d: %3
  %5: f32[b=2, h=4, s=9, t=9] = %4 * 0.5
  %6: f32[t=9, s=9, b=2, h=4] = where(%2, %5, -inf)
  %7: f32[] = 1.0
  %8: f32[s=9, b=2, h=4, e=3] = max.add.add over t: %6, %7, %v
  %9: f32[s=9, b=2, h=4, e=3] = item 2 of %8
  %10: f32[s=9, b=2, h=4] = item 1 of %8
  %11: f32[s=9, b=2, h=4] = item 0 of %8
  %12: f32[s=9, b=2, h=4, e=3] = %9 / (%10 + (%11 - %11))
  return y=%12"""


@pytest.mark.parametrize("program", STREAMED, ids=lambda p: p.__name__)
def test_blocks_of_any_size_fold_to_the_same(program):
    """The fold by blocks, as backends do it, against leaf by leaf combined in a tree."""
    of = derive(graph(program, Shapes(s=3, t=67, b=1))).graph
    (fold,) = folds(of)
    given = inputs(of, np.random.default_rng(3), 20)
    below = Graph("below", {str(i): a for i, a in enumerate(dict.fromkeys(fold.args))})
    made = evaluate(below, {n: given[n] for n in below.inputs}, precise=True)
    operands = [made[str(list(dict.fromkeys(fold.args)).index(a))] for a in fold.args]
    numbers = Numbers({}, np.float64)
    with np.errstate(all="ignore"):
        whole = reduce(fold, operands, numbers)
        for block in (1, 7, 64, 1000):
            for i, part in enumerate(streams.fold(fold, operands, numbers, block)):
                names, own = [a.name for a in fold.axes], [a.name for a in fold.component(i)]
                place = tuple(slice(None) if n in own else 0 for n in names)
                close(part, whole[i][place], 1e-11, least=1)


@pytest.mark.parametrize("program", DERIVED, ids=lambda p: p.__name__)
def test_in_single_precision_it_is_as_good_as_the_program(program):
    errors = {"naive": 0.0, "derived": 0.0}
    of = graph(program, Shapes(s=8, t=200))
    made = derive(of).graph
    with np.errstate(all="ignore"):
        for seed in range(4):
            given = inputs(of, np.random.default_rng(seed), 4)
            given = {
                n: x.astype(np.float32) if x.dtype.kind == "f" else x for n, x in given.items()
            }
            exact = evaluate(of, given, precise=True)["y"]
            for name, which in (("naive", of), ("derived", made)):
                wrong = np.abs(evaluate(which, given)["y"] - exact)
                errors[name] += float(np.nanmean(wrong) / np.nanmean(np.abs(exact)))
    assert errors["derived"] <= 2 * errors["naive"] + 4e-7


@pytest.mark.parametrize("offset", [1e2, 1e4])
@pytest.mark.parametrize("program", [variance, layer_norm, layer_norm_apart])
def test_moments_do_not_cancel_far_from_nought(program, offset):
    of = graph(program, Shapes(s=8, t=512))
    made = derive(of).graph
    rng = np.random.default_rng(0)
    given = inputs(of, rng)
    given["a"] = given["a"] + offset
    given = {n: x.astype(np.float32) for n, x in given.items()}
    exact = evaluate(of, given, precise=True)["y"]
    naive, derived = (np.abs(evaluate(g, given)["y"] - exact).max() for g in (of, made))
    assert derived <= 2 * naive + 1e-6 * np.abs(exact).max()


def mask(*rows):
    held = np.zeros((9, 9))
    for row in rows:
        held[row] = -INF
    return held


@pytest.mark.parametrize("program", [safe, STREAMED[5]], ids=lambda p: p.__name__)
def test_rows_in_which_all_is_masked(program):
    of = graph(program)
    held = inputs(of, np.random.default_rng(0)) | {"mask": mask(0, 4)}
    compare(of, held)
    found = evaluate(derive(of).graph, held)["y"]
    assert np.isnan(found).any() == (program is not safe)


@pytest.mark.parametrize("wrong", [INF, -INF, np.nan])
@pytest.mark.parametrize("program", [soft, log_sum_exp])
def test_values_that_are_no_numbers(program, wrong):
    of = graph(program)
    held = inputs(of, np.random.default_rng(0))
    held["x"][0, 3] = held["x"][1] = wrong
    compare(of, held)


def test_a_sum_after_a_norm_is_a_contraction_again():
    made = derive(graph(rms_norm)).graph
    assert any((c := contraction(v)) is not None and c.matrix for v in made.values)


def test_no_dependence_nothing_to_do():
    of = graph(sigmoid_attention)
    derived = derive(of)
    assert derived.graph.outputs["y"] is of.outputs["y"]
    assert not derived.derivations
    assert not derived.refusals


def test_an_unguarded_exponential_is_guarded():
    of = graph(unguarded)
    held = inputs(of, np.random.default_rng(0))
    held["a"][0, 0] += 60
    found = evaluate(derive(of).graph, held)["y"]
    close(found, evaluate(of, held, precise=True)["y"], 1e-4)


def centred():
    a = activation("a", n=4, d=8)
    return a, a - a.mean("d")


def skew():
    _, x = centred()
    return (x * x * x).mean("d")


def how_many_are_largest():
    a, _ = centred()
    return apply("where", apply("eq", a, a.max("d")), 1.0, 0.0).sum("d")


def mean_distance():
    return apply("abs", centred()[1]).sum("d")


def product_of_scaled():
    a, _ = centred()
    from maquette.ir.build import reduce as reduction
    from maquette.ir.monoids import MUL

    return reduction(MUL, ("d",), a / a.sum("d"))[0]


def largest_of_scaled():
    a, _ = centred()
    return (a / a.sum("d")).max("d")


def not_about_a_centre():
    a, _ = centred()
    return ((a + apply("sqrt", (a * a).sum("d"))) * activation("w", d=8, f=3)).sum("d")


@pytest.mark.parametrize(
    ("program", "condition"),
    [
        (skew, "A1"),
        (how_many_are_largest, "A1"),
        (mean_distance, "A1"),
        (product_of_scaled, "A2"),
        (largest_of_scaled, "A2"),
        (not_about_a_centre, "stability"),
    ],
)
def test_what_cannot_be_derived_stays_and_says_why(program, condition):
    of = Graph("g", {"y": program().value})
    derived = derive(of)
    assert [r.condition for r in derived.refusals] == [condition]
    (refusal,) = derived.refusals
    assert len(refusal.why) > 20
    assert refusal.value in of.values
    assert not [d for d in derived.derivations if of.outputs["y"] in d.replaced]
    compare(of, inputs(of, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("program", "rule"), [(full, "exponent"), (variance, "moment"), (rms_norm, "hoist")]
)
def test_rules_that_are_not_to_be_used(program, rule):
    of = graph(program)
    without = derive(of, rules=[r for r in RULES if r != rule])
    assert without.graph.outputs["y"] is of.outputs["y"]
    assert {r.condition for r in without.refusals} == {"rules"}
    assert derive(of, rules=[rule]).derivations


def test_what_else_reads_the_results_reads_the_fold():
    s, v = activation("s", n=4, t=9), activation("v", t=9, e=2)
    top = s.max("t")
    e = exp(s - top)
    total = e.sum("t")
    of = Graph("g", {"y": dot(e / total, v, "t").value, "top": top.value, "p": (e / total).value})
    made = derive(of).graph
    assert len(folds(made)) == 1
    assert [v for v in made.values if isinstance(v, Reduce)] == folds(made)
    held = inputs(of, np.random.default_rng(0))
    expected = evaluate(of, held, precise=True)
    for name, found in evaluate(made, held, precise=True).items():
        close(found, expected[name])


def test_one_inside_the_other():
    """What the first fold makes is the second's leaf; they are not one fold."""
    s, v = activation("s", n=9, t=9), activation("v", t=9, e=2)
    first = dot(soft_of(s), v, "t")
    scores = dot(first, first.rename(n="t"), "e")
    of = Graph("g", {"y": dot(soft_of(scores), v, "t").value})
    made = derive(of).graph
    assert len(folds(made)) == 2
    compare(of, inputs(of, np.random.default_rng(0)))


def soft_of(s: Tensor) -> Tensor:
    e = exp(s - s.max("t"))
    return e / e.sum("t")


def test_a_later_sum_of_the_same_row_that_needs_the_first_is_apart():
    """The second's values depend on the first's total by way of another axis."""
    s, v = activation("s", n=5, t=5), activation("v", t=5)
    e = exp(s - s.max("t"))
    total = e.sum("t")
    across = total.sum("n") * v
    of = Graph("g", {"y": (e * across).sum("t").value, "total": total.value})
    made = derive(of).graph
    assert not verify(made)
    compare(of, inputs(of, np.random.default_rng(0)))
    assert list(walk([made.outputs["y"]]))


def test_the_sink_by_joining_is_the_sink_by_adding():
    from maquette.ir.build import concat

    z = Shapes()
    extra = activation("extra", h=z.h)
    joined = concat("u", z.scores().rename(t="u"), spread(extra, z).rename(t="u"))
    p = softmax_over(joined, "u").slice("u", 0, z.t).rename(u="t")
    of = Graph("g", {"y": dot(p, z.values(), "t").value})
    (fold,) = folds(derive(of).graph)
    (other,) = folds(derive(graph(sink)).graph)
    assert fold.monoid == other.monoid
    compare(of, inputs(of, np.random.default_rng(0), 10))


def softmax_over(x: Tensor, over: str) -> Tensor:
    e = exp(x - x.max(over))
    return e / e.sum(over)


def spread(extra: Tensor, z: Shapes) -> Tensor:
    return extra + activation("nought", b=z.b, h=z.h, s=z.s, t=1) * 0.0
