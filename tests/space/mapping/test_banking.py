"""Banks: what is said to be free of conflicts is, at every base."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.machines import machine
from maquette.ir import build as b
from maquette.ir.graph import Graph
from maquette.plans.types import Infeasible
from maquette.space.mapping import Options, mapped, part
from maquette.space.mapping.banking import Access, Banking, banked, conflicts, serves, turns

FABRIC = machine("sn40l").fabric


@pytest.mark.parametrize("banks", [4, 16, 32])
def test_a_diagonal_stripe_serves_rows_and_columns_at_full_rate(banks):
    """SN40L, MICRO 2024, §IV-B: a transpose reads at the rate at which rows were written."""
    stripe = Banking(banks, (1, 1))
    for base in product(range(banks), repeat=2):
        assert conflicts(stripe, Access.row(banks, 2), base) == 0
        assert conflicts(stripe, Access.column(banks, 2), base) == 0
    assert conflicts(Banking(banks, (0, 1)), Access.column(banks, 2)) == banks - 1


def test_the_stripe_is_found():
    assert banked([Access.row(16, 2), Access.column(16, 2)], 16) == Banking(16, (1, 1))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=4, unique=True
        ),
        min_size=1,
        max_size=3,
    )
)
def test_serving_is_what_every_base_says(groups):
    accesses = [Access(tuple(g)) for g in groups]
    found = banked(accesses, 8, blocks=(1, 2))
    if isinstance(found, Infeasible):
        for n, a, c in product(range(4, 9), range(8), range(8)):
            tried = Banking(n, (a, c))
            assert not all(serves(tried, x) for x in accesses)
        return
    period = found.banks * found.block
    for access, base in product(accesses, product(range(period), repeat=2)):
        assert conflicts(found, access, base) == 0


def test_strides_that_share_a_factor_with_the_banks_take_more_of_them():
    found = banked([Access.row(4, 1, stride=2)], 8)
    assert isinstance(found, Banking)
    assert serves(found, Access.row(4, 1, stride=2))
    assert not serves(Banking(4, (1,)), Access.row(4, 1, stride=2))


def test_reads_at_random_places_have_copies():
    assert banked([Access(((0,),) * 4, random=True)], 16).copies == 4


def test_more_lanes_than_banks():
    found = banked([Access.row(32, 1)], 16)
    assert isinstance(found, Infeasible) and found.short_by == 16


def test_what_an_array_reads_column_by_column_lies_in_stripes():
    """A product takes one point of the summed axis a cycle; what wrote it ran along that axis."""
    x = b.activation("x", m=64, k=32)
    y = b.dot(b.tanh(b.dot(x, b.weight("w0", k=32, n=64), "k")), b.weight("w1", n=64, o=32), "n")
    chip = machine("sn40l")
    found = mapped(part(Graph("two", {"y": y.value}), {}), chip, Options(cuts=(), tiles=(2,)))
    (section,) = found.sections
    across = {(b.source, b.stage) for b in section.buffers if b.across}
    products = [s.stage for s in section.shares if s.stage.path == "matrix"]
    assert {n for _, n in across} == {p.name for p in products}
    assert not any(b.across for b in section.buffers if b.name.startswith("w"))


def test_too_few_banks_take_turns():
    few = replace(FABRIC, banks=replace(FABRIC.banks, value=8))
    assert (turns(True, FABRIC), turns(True, few), turns(False, few)) == (1, 2, 2)
    odd = replace(FABRIC, banks=replace(FABRIC.banks, value=17))
    assert turns(True, odd) == 1
