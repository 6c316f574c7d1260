"""Streamed folds as C++ against the naive program in double precision."""

from dataclasses import replace

import numpy as np
import pytest

from maquette.compiler.tile.phases import Phases
from maquette.compiler.tile.roles import Roles, roles
from maquette.compiler.tile.stream_sizes import Sizes
from run.cpp.folds import SMALL, Case, arrays, products, run, softmaxed
from run.cpp.meaning import needs_compiler

pytestmark = needs_compiler
CAUSAL = "where(t <= s, %p * 0.25, -inf)"
WIDE = Sizes(block=64, super=128, depth=24, products=(4, 6), contractions=(4, 6))


def places(case):
    return np.arange(case.s)[:, None], np.arange(case.t)[None, :]


def check(case, scores, sizes=SMALL, tolerance=3e-6, seed=0, scale=1.0):
    inputs = arrays(case.kernel, seed, scale)
    wanted = softmaxed(case, inputs, scores(products(case, inputs), inputs))
    found = run(case.kernel, sizes, inputs)["y"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def causal(case):
    s, t = places(case)
    return lambda p, _: np.where(t <= s, p * 0.25, -np.inf)


@pytest.mark.parametrize("n", [1, 7, 77, 119, 121, 500])
def test_any_length_below_the_diagonal(n):
    case = Case(s=n, t=n, score=CAUSAL)
    check(case, causal(case))


def test_features_that_are_no_multiple_of_anything():
    case = Case(b=2, s=50, t=93, d=24, e=41)
    check(case, lambda p, _: p * 0.25, WIDE)


def test_a_window_of_positions():
    case = Case(s=150, t=150, score="where((t <= s) & (s - t < 40), %p * 0.25, -inf)")
    s, t = places(case)
    check(case, lambda p, _: np.where((t <= s) & (s - t < 40), p * 0.25, -np.inf))


def test_penalties_by_distance_in_every_head_and_a_soft_cap():
    score = "where(t > s, -inf, tanh(%p * 0.05) * 5.0 + exp(h * -0.7) * (t - s))"
    case = Case(h=3, s=70, t=70, score=score)
    s, t = places(case)
    slope = np.exp(-0.7 * np.arange(3))[:, None, None]
    check(
        case,
        lambda p, _: np.where(t > s, -np.inf, np.tanh(p * 0.05) * 5 + slope * (t - s)),
    )


def test_scores_that_exponentials_multiply():
    case = Case(s=70, t=70, score="where(t <= s, tanh(%p * 0.25), -inf)", power=30.0)
    s, t = places(case)
    check(case, lambda p, _: np.where(t <= s, 30 * np.tanh(p * 0.25), -np.inf), tolerance=1e-5)


def test_scores_are_computed_once_whatever_they_are_converted_from():
    score = "where(t > s, -inf, %p * 0.25 + exp(h * -0.7) * to_f32(t - s))"
    case = Case(h=3, s=70, t=70, score=score)
    s, t = places(case)
    slope = np.exp(-0.7 * np.arange(3))[:, None, None]
    check(case, lambda p, _: np.where(t > s, -np.inf, p * 0.25 + slope * (t - s)))
    (held,) = [r for r in roles(case.kernel) if isinstance(r, Roles) and r.rows == "s"]
    assert Phases(held).buffers == 1  # the tile of products takes scores, then their weights


def test_heads_that_share_keys_and_values():
    case = Case(h=8, groups=4, score=CAUSAL)
    check(case, causal(case))


def test_heads_inside_positions_in_memory():
    case = Case(b=2, layout="bsh", score=CAUSAL)
    check(case, causal(case))


@pytest.mark.parametrize("axes", ["h, s, t", "s, t", "h, t"])
def test_a_tensor_is_added_to_scores(axes):
    case = Case(score="%p * 0.25 + %mask", reads={"mask": f"f32[{axes}]"})
    given = {"h, s, t": (slice(None),), "s, t": (None,), "h, t": (slice(None), None)}[axes]
    check(case, lambda p, x: p * 0.25 + x["mask"][given])


def test_a_tensor_of_booleans_selects():
    case = Case(score="where(%mask, %p * 0.25, -inf)", reads={"mask": "bool[s, t]"})
    check(case, lambda p, x: np.where(x["mask"], p * 0.25, -np.inf))


def test_blocks_of_positions_selected_by_a_smaller_tensor():
    reads = {"mask": "bool[s=4, t=4]"}
    score = "where(%mask[s=s // 16, t=t // 16] | (t == s), %p * 0.25, -inf)"
    case = Case(s=64, t=64, score=score, reads=reads)
    s, t = places(case)
    check(
        case,
        lambda p, x: np.where(x["mask"][s // 16, t // 16] | (t == s), p * 0.25, -np.inf),
    )


def test_rows_without_a_position_are_nan():
    case = Case(s=40, t=40, score="where(t + 3 <= s, %p * 0.25, -inf)")
    s, t = places(case)
    check(case, lambda p, _: np.where(t + 3 <= s, p * 0.25, -np.inf))


def test_more_than_one_output():
    case = Case(score=CAUSAL, outputs="y z")
    inputs = arrays(case.kernel)
    scores = causal(case)(products(case, inputs), inputs)
    found = run(case.kernel, SMALL, inputs)
    np.testing.assert_allclose(found["y"], softmaxed(case, inputs, scores), atol=3e-6)
    wanted = np.log(np.exp(scores).sum(-1))
    np.testing.assert_allclose(found["z"], wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("n", [45, 130])
def test_passes_over_a_whole_row(n):
    case = Case(s=n, t=n, score=CAUSAL, form="passes")
    check(case, causal(case), replace(SMALL, depth=-(-n // 4) * 4))


def test_weights_that_need_no_other():
    case = Case(s=70, t=70, score="where(t <= s, %p * 0.25 - 1.5, -inf)", form="sigmoid")
    inputs = arrays(case.kernel)
    s, t = places(case)
    weights = np.where(t <= s, 1 / (1 + np.exp(1.5 - products(case, inputs) * 0.25)), 0)
    found = run(case.kernel, SMALL, inputs)["y"]
    np.testing.assert_allclose(found, weights @ inputs["v"], atol=5e-6)


def test_weights_that_are_scores():
    case = Case(s=70, t=70, score="where(t <= s, %p, 0.0)", form="linear")
    inputs = arrays(case.kernel)
    s, t = places(case)
    weights = np.where(t <= s, products(case, inputs), 0)
    found = run(case.kernel, SMALL, inputs)["y"]
    np.testing.assert_allclose(found, weights @ inputs["v"], atol=2e-4)


def test_operands_stored_in_16_bits():
    case = Case(s=60, t=60, score=CAUSAL, held="bf16")
    check(case, causal(case), tolerance=2e-2)


@pytest.mark.parametrize(
    "sizes",
    [
        Sizes(16, 16, 36, (1, 12), (1, 8)),
        Sizes(48, 96, 64, (3, 8), (3, 8)),
        Sizes(80, 240, 20, (5, 4), (5, 5)),
        Sizes(64, 192, 192, (2, 12), (2, 8)),
    ],
    ids=str,
)
def test_sizes_change_nothing(sizes):
    case = Case(s=161, t=161, score=CAUSAL)
    check(case, causal(case), sizes)


def test_scores_of_hundreds():
    case = Case(s=90, t=90, score=CAUSAL)
    check(case, causal(case), tolerance=1e-4, scale=100.0)


@pytest.mark.parametrize(("value", "where"), [(np.nan, "q"), (np.inf, "v"), (np.nan, "k")])
def test_what_is_not_finite_stays_so(value, where):
    case = Case(s=40, t=40)
    inputs = arrays(case.kernel)
    inputs[where][0, 1, 7, 3] = value
    wanted = softmaxed(case, inputs, products(case, inputs) * 0.25)
    found = run(case.kernel, SMALL, inputs)["y"]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(wanted))
