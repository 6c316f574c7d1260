"""Prices of tiled kernels: above the speed of light, and moved by what they are made of."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.compiler.processor import Processor
from maquette.compiler.tiling import Counts
from maquette.price.kernel import FITTED, IDEAL, Constants, light, price, seconds

BOX = Processor(
    name="box", lanes=16, registers=32, threads=2, l1=48 << 10, l2=2 << 20, l3=32 << 20,
    fma=320e9, vector=160e9, l1_bandwidth=600e9, l2_bandwidth=250e9, l3_bandwidth=50e9,
    memory_bandwidth=25e9, launch=1e-6,
)  # fmt: skip

amounts = st.floats(0, 1e12)
counted = st.builds(
    Counts,
    fma=amounts,
    vector=amounts,
    traffic=st.dictionaries(st.sampled_from(["registers", "l1", "l2", "l3"]), amounts),
    launches=st.integers(1, 4),
    iterations=amounts,
)
shares = st.floats(0.05, 1.0)
constants = st.builds(
    Constants,
    product=shares, vector=shares, near=shares, far=shares, iteration=st.floats(0, 100),
    overlap=st.floats(1, 50), residual=st.floats(0, 1), source=st.just("made up"),
)  # fmt: skip


@given(counted, constants)
def test_no_price_beats_the_speed_of_light(counts, fitted):
    work = replace(counts, iterations=0.0, launches=0)  # loops and launches only cost more
    assert seconds(counts, BOX, fitted) >= light(work, BOX) * (1 - 1e-9)
    assert light(counts, BOX) >= light(work, BOX)


@given(counted, constants, st.sampled_from(["fma", "vector", "iterations"]))
def test_more_work_never_costs_less(counts, fitted, what):
    more = replace(counts, **{what: getattr(counts, what) * 1.5 + 1})
    assert seconds(more, BOX, fitted) >= seconds(counts, BOX, fitted) * (1 - 1e-9)


@given(counted, constants)
def test_a_price_is_between_its_longest_part_and_the_sum_of_all(counts, fitted):
    found = price(counts, BOX, fitted)
    parts = found.parts.values()
    assert max(parts) * (1 - 1e-9) <= found.total <= sum(parts) * (1 + 1e-9)


@pytest.mark.parametrize(
    ("counts", "bound", "expected"),
    [
        (Counts(320e9, 0, {}), "product", 1.0),
        (Counts(0, 160e9, {}), "vector", 1.0),
        (Counts(0, 0, {"registers": 600e9}), "l1", 1.0),
        (Counts(0, 0, {"l1": 250e9}), "l2", 1.0),
        (Counts(0, 0, {"l2": 50e9}), "l3", 1.0),
        (Counts(0, 0, {"l3": 25e9, "l2": 25e9}), "memory", 1.0),
        (Counts(0, 0, {}, launches=1000), "launch", 1e-3),
    ],
)
def test_the_ideal_price_is_the_roof_that_binds(counts, bound, expected):
    found = price(replace(counts, launches=counts.launches if bound == "launch" else 0), BOX, IDEAL)
    assert found.bound == bound
    assert found.total == pytest.approx(expected, rel=2e-3)  # caches keep a little


def test_overlap_goes_from_one_after_the_other_to_all_at_once():
    counts = Counts(320e9, 160e9, {}, launches=0)
    one_by_one, at_once = (replace(IDEAL, overlap=p) for p in (1.0, math.inf))
    assert seconds(counts, BOX, one_by_one) == pytest.approx(2.0)
    assert seconds(counts, BOX, at_once) == pytest.approx(1.0)


def test_an_estimate_is_an_interval_about_the_price():
    counts = Counts(1e9, 1e8, {"l3": 1e6})
    e = price(counts, BOX).estimate
    assert e.low < e.point == seconds(counts, BOX) < e.high
    assert e.reason == FITTED.source
