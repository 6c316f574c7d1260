"""Samples that other work disturbed are left out, and calls are compared within a turn."""

from __future__ import annotations

import time

import pytest

from maquette.run.timing import Sample, in_turns, kept, ratios, spread, steadily, timed


def test_a_sleeping_call_did_not_have_the_processor():
    assert not timed(lambda: time.sleep(0.02), busy=1).quiet
    assert timed(lambda: time.sleep(0.001)).quiet  # of which nobody said that it computes


def test_disturbed_samples_are_left_out():
    samples = [Sample(1.0, True), Sample(9.0, False), Sample(1.2, True)]
    assert kept(samples) == ([1.0, 1.2], 1)


def test_the_fastest_stay_where_nearly_all_were_disturbed():
    samples = [Sample(float(s), False) for s in (5, 3, 9, 1, 7, 8)]
    assert kept(samples) == ([1.0, 3.0], 4)


def test_turns_alternate_in_direction():
    calls: list[str] = []
    in_turns([lambda: calls.append("a"), lambda: calls.append("b")], turns=[2, 2])
    assert calls == ["a", "b", "b", "a"]


def test_who_has_had_its_turns_waits_while_the_others_go_on():
    calls: list[str] = []
    found = in_turns([lambda: calls.append("a"), lambda: calls.append("b")], turns=[1, 3])
    assert calls == ["a", "b", "b", "b"]
    assert [len(f) for f in found] == [1, 3]
    mine = [Sample(s, True) for s in (1.0, 5.0, 5.0)]
    assert ratios(mine, [Sample(2.0, True)]).median == 2.0


def test_a_spell_that_slows_both_leaves_the_ratio_alone():
    mine = [Sample(s, True) for s in (1.0, 1.0, 10.0, 1.0)]
    other = [Sample(2 * s.seconds, True) for s in mine]
    found = ratios(mine, other)
    assert (found.low, found.median, found.high) == (2.0, 2.0, 2.0)


def test_a_pair_with_one_disturbed_sample_is_no_pair():
    mine, other = [Sample(1.0, True)] * 3, [Sample(2.0, True), Sample(99.0, False), Sample(2, True)]
    found = ratios(mine, other)
    assert (found.median, found.n, found.rejected) == (2.0, 2, 1)


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0], [1.0, 5.0, 2.0, 4.0]])
def test_quartiles_enclose_the_median(values):
    found = spread(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)


def test_samples_beside_a_slow_yardstick_do_not_count():
    shares = iter([1.0, 0.5, 1.0, 1.0, 1.0, 1.0])
    (found,) = steadily(
        [lambda: None], lambda: next(shares), enough=2, budget=9.0, busy=[0], times=[1]
    )
    assert [s.quiet for s in found] == [False, False, True, True]


def test_nobody_waits_for_quiet_for_ever():
    (found,) = steadily([lambda: None], lambda: 0.0, enough=9, budget=0.0, busy=[0], times=[1])
    assert len(found) == 2


def test_one_that_has_enough_keeps_nobody_waiting_for_ever():
    def restless():
        time.sleep(1e-4)  # never so many threads busy

    calls = [lambda: None, restless]
    found = steadily(calls, lambda: 1.0, enough=1, budget=0.0, busy=[0, 64], times=[1, 1])
    assert [len(x) for x in found] == [1, 2]


def test_who_has_enough_waits_for_the_others():
    quick, slow = [], []
    shares = iter([1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    found = steadily(
        [lambda: quick.append(1), lambda: slow.append(1)],
        lambda: next(shares, 1.0),
        enough=1, budget=9.0, busy=[0, 0], times=[1, 1],
    )  # fmt: skip
    assert (len(found[0]), len(found[1])) == (1, 3)
    assert len(slow) == 2 * len(found[1])  # once before each sample, for the caches
