"""Closed forms against published figures and against each other."""

from __future__ import annotations

from math import floor

import numpy as np
import pytest

from maquette.serve.composition import published
from maquette.serve.composition.closed import (
    cliffs,
    fit,
    footprint,
    held,
    lru_hit_rate,
    speedup,
    switching,
    table5,
    without_hits,
    zipf,
)

EXPERT = 2 * 6_738_415_616  # bytes of Llama-2-7B in bf16


def test_all_eight_speedups_within_three_percent_of_two_constants():
    found = fit()
    assert found.worst < 0.03 and found.rows == 8
    rows = table5()
    assert [r.published for r in rows] == [6.6, 3.7, 4.8, 2.8, 4.2, 2.7, 3.9, 2.6]
    assert all(abs(r.error) < 0.03 for r in rows)


def test_leaving_a_row_out_predicts_it():
    for i, row in enumerate(published.OVERALL):
        rest = fit([r for j, r in enumerate(published.OVERALL) if j != i])
        assert speedup(row, rest.prefill, rest.copy) == pytest.approx(row.published, rel=0.03)


def test_fitted_times_are_plausible_of_the_machine():
    # A copy takes 13.48 ms at 1 TB/s, which dates everything else: a step can be no faster than
    # reading all weights from HBM at its full rate.
    found = fit()
    step = EXPERT / published.NODE_COPY / found.copy
    floor_ = EXPERT / (8 * 1.8e12)
    assert floor_ < step < 2 * floor_


@pytest.mark.parametrize(("links", "a100", "h100"), [(1, 31, 15), (8, 3.9, 1.9)])
def test_switching(links, a100, h100):
    assert switching("DGX A100", links) == pytest.approx(a100, rel=0.05)
    assert switching("DGX H100", links) == pytest.approx(h100, rel=0.05)


def test_eight_links_are_the_stronger_baseline_in_every_row():
    one, eight = table5(1), table5(8)
    assert all(b.computed < a.computed for a, b in zip(one, eight, strict=True))
    assert [round(r.computed, 1) for r in eight[:2]] == [2.3, 1.6]


def test_cliff_and_out_of_memory():
    dgx = cliffs(published.DGX_HBM, published.DGX_HOST, EXPERT)
    assert (floor(dgx.resident), floor(dgx.cold), floor(dgx.both)) == (47, 148, 195)
    # 37.99 experts: the published 38 is rounded; 37 whole ones stay.
    assert round(held(published.NODE_HBM, EXPERT)) == 38
    assert floor(held(published.NODE_HBM, EXPERT)) == 37


def test_footprint_follows_from_a_pinned_router_alone():
    assert footprint(EXPERT, reserve=EXPERT).machines == published.MACHINES_IN_ITS_STEAD
    assert footprint(EXPERT, reserve=35e9).machines == published.MACHINES_IN_ITS_STEAD
    found = footprint(EXPERT, reserve=0)
    assert found.machines == found.machines_bare == 18
    assert found.fits_cold and not footprint(EXPERT, 0, experts=900).fits_cold


def test_published_speedups_in_absolute_times():
    got = without_hits(router=39.2, copy=8.35, prefill=18.8, step=1, batch=8, output_tokens=20)
    assert got == pytest.approx(39.2 + 8 * (8.35 + 18.8 + 20))


def test_hit_rate_under_lru_against_a_simulated_cache():
    rng = np.random.default_rng(1)
    weights = zipf(60, 0.9)
    asked = rng.choice(60, size=60_000, p=weights)
    kept: dict[int, None] = {}
    hits = 0
    for e in asked.tolist():
        hits += e in kept
        kept.pop(e, None)
        kept[e] = None
        if len(kept) > 20:
            del kept[next(iter(kept))]
    assert lru_hit_rate(weights, 20) == pytest.approx(hits / len(asked), abs=0.01)


def test_hit_rate_ends():
    assert lru_hit_rate([1, 1, 0], 2) == 1.0  # what is never asked for needs no place
    assert lru_hit_rate([1, 1], 0) == 0.0
    rates = [lru_hit_rate(zipf(50, s), 10) for s in (0, 0.5, 1, 1.5)]
    assert rates == sorted(rates) and rates[0] == pytest.approx(0.2)
