"""Which expert a request is for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maquette.errors import InputError
from maquette.serve.composition.popularity import Popularity, drawn, shares


def test_shares_add_up():
    none = [None] * 5
    assert shares(Popularity(), none) == [0.2] * 5
    found = shares(Popularity("zipf", s=1.0), none)
    assert sum(found) == pytest.approx(1) and found[0] / found[4] == pytest.approx(5)
    assert shares(Popularity("zipf", s=0.0), none) == pytest.approx([0.2] * 5)


def test_draws_have_their_shares():
    chances = [0.5, 0.3, 0.2, 0.0]
    found = np.bincount(drawn(chances, 20_000, seed=3), minlength=4)
    assert found[3] == 0
    assert stats.chisquare(found[:3], np.array(chances[:3]) * 20_000).pvalue > 1e-3


def test_fewer_draws_are_the_first_ones():
    assert (drawn([0.4, 0.6], 50, 7) == drawn([0.4, 0.6], 90, 7)[:50]).all()
    assert (drawn([0.4, 0.6], 50, 7) != drawn([0.4, 0.6], 50, 8)).any()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "zipf"}, "s: is missing"),
        ({"kind": "zipf", "s": -1.0}, "s: -1.0 is out of range"),
        ({"kind": "uniform", "s": 1.0}, "does not go with kind 'uniform'"),
        ({"kind": "trace"}, "file: is missing"),
        ({"kind": "uniform", "file": "x.csv"}, "file: does not go with"),
    ],
)
def test_contradictions(values, said):
    with pytest.raises(InputError, match=said):
        Popularity(**values)
