"""Exchanges between experts: both ways in closed form, expected copies, and the quicker one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.machines import machine
from maquette.price.network import FLOORS, NOTICE, copies, exchange

H100, GBPS = machine("h100-sxm"), 1e9
REACHED, FIXED = 0.8, 8e-6
SENT = 128 * 8 * 7392.0  # a hundred and twenty-eight tokens to eight experts each


def took(n, direct=None, nbytes=SENT, reached=REACHED, fixed=FIXED, chip=H100):
    return float(exchange(chip, nbytes, n, 8, reached, fixed, direct))


def test_copies_that_go_straight_cross_links_inside_and_across_at_once():
    inside, across = SENT * 7 / 8 / (450 * GBPS), SENT * 8 / 16 / (50 * GBPS)
    assert took(8, True) == pytest.approx(inside / REACHED + 3 * 1e-6 + FLOORS * FIXED)
    wait = 3 * 1e-6 + 5e-6
    assert took(16, True) == pytest.approx(across / REACHED + wait + FLOORS * FIXED)


def test_a_copy_for_each_node_is_handed_on_inside():
    across = SENT / 8 * copies(2, 8) / 2 / (50 * GBPS)
    extra = 8e-6 + (FLOORS + NOTICE) * FIXED
    assert took(16, False) == pytest.approx(across / REACHED + extra)


def test_engines_take_the_quicker_way():
    """Few tokens go straight; of many, copies per node are fewer bytes than copies per expert."""
    assert took(64) == took(64, True) < took(64, False)
    many = 4096 / 128 * SENT
    assert took(64, nbytes=many) == took(64, False, many) < took(64, True, many)


@pytest.mark.parametrize(("groups", "chosen"), [(1, 8), (8, 8), (4, 2), (256, 8)])
def test_expected_copies_are_those_of_draws(groups, chosen):
    draws = np.random.default_rng(0).integers(0, groups, size=(20_000, chosen))
    drawn = np.mean([len(set(row)) for row in draws[:5000].tolist()])
    assert float(copies(groups, chosen)) == pytest.approx(drawn, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    n=st.sampled_from([1, 2, 4, 8, 16, 64, 256]),
    nbytes=st.floats(0, 1e9),
    reached=st.floats(0.1, 1),
    direct=st.sampled_from([None, True, False]),
)
def test_light_is_faster_and_more_bytes_never_are(n, nbytes, reached, direct):
    ours = took(n, direct, nbytes, reached)
    assert ours >= took(n, direct, nbytes, 1.0, 0.0) * (1 - 1e-12)
    assert took(n, direct, nbytes * 1.1 + 1, reached) >= ours
    assert (ours == 0.0) == (n == 1)


def test_without_a_network_nothing_leaves_the_node():
    chip = machine("rtx-4090")
    assert took(4096, chip=chip) == np.inf or "scale_out" in chip.links


def test_a_group_too_large_for_a_machine_leaves_smaller_ones_their_price():
    """An A100 on PCIe has no network in the catalogue."""
    card = machine("a100-pcie")
    both = exchange(card, 1e7, np.array([2.0, 64.0]), 8, 0.8, 8e-6)
    assert both[0] == exchange(card, 1e7, 2, 8, 0.8, 8e-6) > 0
    assert np.isinf(both[1])
