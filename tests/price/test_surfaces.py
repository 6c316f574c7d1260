"""Surfaces of single kernels: closed forms at full waves, bounds, order, and arrays as scalars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.machines import machine
from maquette.price import surfaces
from maquette.price.calibration import NAMES, first_principles
from maquette.price.network import CHUNK, collective
from maquette.price.seconds import IDEAL

H100 = machine("h100-sxm")
CAL = first_principles("h100-sxm", "any")
PEAK, STREAM = 989e12, 3.35e12


def product(rows, columns, depth, cal=CAL, groups=None, even=False, near=0.0):
    weights = columns * depth * (1 if groups is None else groups)
    nbytes = 2.0 * (weights + rows * (columns + depth) * (1 if groups is None else groups))
    found = surfaces.product(
        H100, cal, PEAK, rows, columns, depth, nbytes, groups=groups, even=even, near=near
    )
    return found, nbytes


@pytest.mark.parametrize("waves", [1, 2, 5])
def test_full_waves_of_the_largest_tile_in_closed_form(waves):
    """11 × 12 tiles of 256 × 128 are one wave over 132 units; more waves are as many times that."""
    found, _ = product(256 * 11 * waves, 128 * 12, 8192)
    flops = 2 * 256 * 11 * waves * 128 * 12 * 8192
    stored = 2 * waves * 256 * 128 * 2 * CAL["draw"] / 1e6  # filled and written
    assert float(found.matrix) == pytest.approx(flops / (PEAK * CAL["matrix"]) + stored, rel=1e-12)


def test_one_row_of_tiles_more_is_another_wave():
    full, more = (float(product(256 * 11 + n, 128 * 12, 8192)[0].matrix) for n in (0, 1))
    assert more > 1.2 * full


def test_a_kernel_of_one_tile_draws_what_one_unit_can():
    """Too shallow to be split: 64 columns keep one unit busy."""
    found, nbytes = product(16, 64, 2048)
    assert float(found.memory) == pytest.approx(nbytes * CAL["draw"] / 1e6)
    wide, much = product(16, 64 * 4096, 2048)
    assert float(wide.memory) == pytest.approx(much / (STREAM * CAL["memory"]))


def test_what_the_cache_holds_does_not_come_from_memory():
    small = 2 * 8192 * 2048.0  # 34 MB, of a cache of 52
    held = float(surfaces.resident(H100, np.array(small)))
    assert held == pytest.approx(small * (1.5 - small / 52.4e6), rel=0.01)
    assert float(surfaces.resident(H100, np.array(1e9))) == 0.0
    near, far = (product(16, 8192, 2048, near=n)[0].memory for n in (held, 0.0))
    units = 128 * 1e6 / CAL["draw"]  # as many tiles
    assert float(far - near) == pytest.approx(held / (STREAM * CAL["memory"]) - held / units)


def test_experts_pay_for_half_a_tile_each():
    """64 groups of 1024 rows and tiles of 256: four full ones each, and half a tile on average."""
    even, uneven = (
        float(product(1024, 4096, 4096, groups=64.0, even=e)[0].matrix) for e in (True, False)
    )
    assert uneven / even == pytest.approx(4.5 / 4, rel=0.02)


SHAPES = st.tuples(*[st.integers(0, 14)] * 2, st.integers(7, 14))


@settings(max_examples=60, deadline=None)
@given(
    shape=SHAPES,
    odd=st.integers(0, 40),
    groups=st.sampled_from([None, 1.0, 7.5, 64.0]),
    logs=st.lists(st.floats(-2, 2), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_no_product_beats_the_speed_of_light_and_none_gets_quicker_with_rows(
    shape, odd, groups, logs
):
    rows, columns, depth = 2 ** shape[0] + odd, 2 ** shape[1] * 3, 2 ** shape[2]
    cal = CAL.at(CAL.vector + np.array(logs))
    ours, light = (product(rows, columns, depth, c, groups)[0] for c in (cal, IDEAL))
    assert ours.matrix >= light.matrix * (1 - 1e-12)
    assert ours.memory >= light.memory * (1 - 1e-12)
    assert product(rows + 1, columns, depth, cal, groups)[0].matrix >= ours.matrix * (1 - 1e-12)


def test_arrays_are_their_scalars():
    rows, depth = np.array([1.0, 100.0, 5000.0]), np.array([512.0, 4096.0, 16384.0])
    together = product(rows, 3072.0, depth)[0]
    for i in range(3):
        alone = product(float(rows[i]), 3072.0, float(depth[i]))[0]
        assert together.matrix[i] == pytest.approx(float(alone.matrix))
        assert together.memory[i] == pytest.approx(float(alone.memory))


def test_prefill_attention_in_closed_form():
    """Long prompts: products and exponentials one after another, and some keys nobody sees."""
    n, heads, dim = 16384, 32, 128
    pairs = n * (n + 1) / 2
    found = surfaces.prefill(H100, CAL, PEAK, heads, dim, pairs, n, 0.0, longest=n)
    each = 4 * dim / (PEAK * CAL["attention"]) + surfaces.softmax(H100, CAL)
    assert float(found.matrix) == pytest.approx(heads * (pairs + CAL["keys"] * n) * each)
    light = surfaces.prefill(H100, IDEAL, PEAK, heads, dim, pairs, n, 0.0)
    assert float(light.matrix) == pytest.approx(4 * dim * heads * pairs / PEAK)


def test_one_head_of_a_prompt_is_a_few_units_work():
    """Its last tile of 128 queries sees all keys, and one unit works through them."""
    n, dim = 4096, 128
    pairs = n * (n + 1) / 2
    found = surfaces.prefill(H100, CAL, PEAK, 1, dim, pairs, n, 0.0, longest=n)
    each = 4 * dim / (PEAK * CAL["attention"]) + surfaces.softmax(H100, CAL)
    assert float(found.matrix) == pytest.approx(128 * n * 132 * each)


def test_chunks_of_a_collective_in_closed_form():
    """The best number of chunks makes of a transfer and a chunk's latency the square of roots."""
    link = float(H100.links["scale_up"].bandwidth.value)
    fixed, big = 8e-6, 1e8
    none, took = (float(collective(H100, "all-reduce", b, 8, 0.8, fixed)) for b in (0.0, big))
    alone = 2 * 7 / 8 * big / (link * 0.8)
    chunks = np.linspace(1, 1000, 100_000)  # in flight while one more is filled
    best = np.min((alone / chunks + fixed * CHUNK) * (1 + chunks)) - fixed * CHUNK
    assert took - none == pytest.approx(best, rel=1e-3)


def test_machines_without_stated_units_have_no_waves():
    bare = replace(H100, compute=replace(H100.compute, units=None))
    a, b = (
        float(surfaces.product(bare, CAL, PEAK, 256.0 * n, 128.0, 4096.0, 1.0).matrix)
        for n in (132, 133)
    )
    assert b / a == pytest.approx(133 / 132)


def test_outputs_cut_between_units_are_put_together():
    """Latents, 128 heads: two tiles of 64 rows a sequence; each unit leaves a part, and one more
    where sequences are as many as units: 64 × 512 numbers of four bytes, written and read."""
    many = surfaces.joined(H100, CAL, 128.0, 128.0, 512.0)
    nbytes = 2 * 4 * (2 * 132) * 64 * 512.0
    near = nbytes * (1.5 - nbytes / 2 / 52.4e6)  # of 35 MB in a cache of 52
    drawn = near / (132 * 1e6 / CAL["draw"])
    assert float(many) == pytest.approx((nbytes - near) / (STREAM * CAL["kv"]) + drawn, rel=1e-3)
    few, none = (float(surfaces.joined(H100, CAL, n, 128.0, 512.0)) for n in (1.0, 0.0))
    assert none == 0.0 < few < float(many) / 2  # what one sequence leaves stays in the cache
    assert float(surfaces.joined(H100, IDEAL, 128.0, 128.0, 512.0)) == 0.0
