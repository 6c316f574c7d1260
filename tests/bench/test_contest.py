"""Contests: ratios of one turn, failures that say why, errors beside the reference."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.bench.contest import OURS, Case, Contender, Held, hold, shares
from maquette.bench.memory import available, extra_bytes
from maquette.errors import Fault, NotYet

MB = 1 << 20


def sleeper(seconds: float, value: float = 1.0):
    def run():
        time.sleep(seconds)
        return np.full(3, value)

    return lambda: Contender(run)


def fails(error: Exception):
    def make():
        raise error

    return make


def held(**entries) -> Held:
    case = Case("case", {"seq": 3}, entries, lambda: np.ones(3))
    return hold(case, turns=5, budget=2.0)


def standing(found: Held, name: str):
    return next(s for s in found.standings if s.name == name)


def test_the_slower_one_is_so_many_times_slower():
    found = held(**{OURS: sleeper(0.004), "slow": sleeper(0.016)})
    assert 3 < standing(found, "slow").slower.median < 5
    assert standing(found, OURS).slower.median == 1.0
    assert found.turns == 5


def test_who_takes_long_has_fewer_samples_each_beside_one_of_ours():
    case = Case("case", {}, {"slow": sleeper(0.05), OURS: sleeper(0.004)})
    found = hold(case, turns=12, budget=0.2)
    assert found.turns == standing(found, OURS).seconds.n == 12
    assert standing(found, "slow").seconds.n == standing(found, "slow").slower.n == 3


@given(
    st.lists(st.floats(1e-3, 10.0), min_size=1, max_size=6),
    st.floats(0.1, 60.0),
    st.integers(3, 20),
)
def test_shares_keep_to_the_budget_beyond_the_three_that_all_have(seconds, budget, most):
    found = shares(seconds, budget, most)
    assert all(3 <= n <= most for n in found)
    asked = sum(n * s for n, s in zip(found, seconds, strict=True))
    assert asked <= budget + 3 * sum(seconds) + 1e-9


def test_errors_are_beside_the_reference():
    found = held(**{OURS: sleeper(0.001, 1.25), "exact": sleeper(0.001)})
    assert standing(found, OURS).max_error == standing(found, OURS).relative_error == 0.25
    assert standing(found, "exact").max_error == 0.0


def test_another_shape_is_infinitely_wrong():
    found = held(**{OURS: lambda: Contender(lambda: np.ones(4))})
    assert standing(found, OURS).max_error == float("inf")


@pytest.mark.parametrize("error", [NotYet(Fault("op", "is unknown")), RuntimeError("no\nroom")])
def test_who_fails_takes_no_part_and_says_why(error):
    found = held(**{OURS: sleeper(0.001), "broken": fails(error)})
    assert standing(found, "broken").seconds is None
    assert str(error).splitlines()[0] in standing(found, "broken").failed
    assert standing(found, OURS).seconds is not None


def test_a_bug_of_ours_is_not_swallowed():
    with pytest.raises(KeyError):
        held(**{OURS: fails(KeyError("bug"))})


def test_without_ours_there_are_times_and_no_ratios():
    found = held(**{"other": sleeper(0.001), OURS: fails(NotYet("none"))})
    assert standing(found, "other").seconds is not None
    assert standing(found, "other").slower is None


@pytest.mark.skipif(extra_bytes(lambda: None) is None, reason="the system keeps no peak")
def test_extra_memory_is_the_peak_not_what_is_left():
    def run():
        big = np.ones(64 * MB // 8)
        return big.sum()

    found = extra_bytes(run)
    assert 63 * MB < found < 72 * MB
    assert extra_bytes(lambda: None) < 4 * MB
    assert extra_bytes(run) > 60 * MB  # again: what was freed counts again


@pytest.mark.skipif(available() is None, reason="the system does not say")
def test_something_is_available():
    assert available() > MB


@pytest.mark.skipif(extra_bytes(lambda: None) is None, reason="the system keeps no peak")
def test_buffers_that_are_kept_count():
    case = Case("case", {}, {OURS: lambda: Contender(lambda: np.ones(3), held_bytes=50 * MB)})
    found = hold(case, turns=3, budget=0.1)
    assert standing(found, OURS).extra_bytes >= 50 * MB
