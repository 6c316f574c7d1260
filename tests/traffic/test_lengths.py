from math import exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.errors import InputError
from maquette.traffic import Lengths, fixed, lognormal, quantiles, uniform

GRID = (np.arange(200_000) + 0.5) / 200_000


def test_fixed_and_uniform():
    assert set(fixed(7).at(GRID).tolist()) == {7}
    counts = np.bincount(uniform(3, 6).at(GRID))
    assert counts.tolist() == [0, 0, 0, 50_000, 50_000, 50_000, 50_000]
    assert uniform(3, 6).mean() == pytest.approx(4.5, rel=1e-3)


@pytest.mark.parametrize(
    "two",
    [
        {"mean": 1165, "cv": 0.8},
        {"mean": 1165, "p50": 910},
        {"mean": 1165, "p90": 2240},
        {"p50": 910, "p90": 2240},
        {"p50": 910, "sigma": 0.7},
        {"p90": 2240, "sigma": 0.7},
    ],
    ids=lambda two: "+".join(two),
)
def test_a_lognormal_has_the_two_statistics_it_is_made_from(two):
    drawn = lognormal(**two).at(GRID)
    found = {
        "mean": drawn.mean(),
        "cv": drawn.std() / drawn.mean(),
        "p50": np.percentile(drawn, 50),
        "p90": np.percentile(drawn, 90),
        "sigma": np.log(drawn).std(),
    }
    for name, value in two.items():
        assert found[name] == pytest.approx(value, rel=4e-3), name


def test_lognormal_mean_is_the_closed_form():
    assert lognormal(p50=500, sigma=0.6).mean() == pytest.approx(500 * exp(0.18), rel=1e-3)
    assert lognormal(mean=500, cv=2.0).sigma == pytest.approx(sqrt(log(5)))


def test_quantiles_are_kept_and_log_linear_between():
    table = quantiles({0: 10, 0.5: 100, 0.9: 1000, 1: 1000})
    at = table.at(np.array([1e-12, 0.25, 0.5, 0.7, 0.9, 0.95]))
    assert at.tolist() == [10, 32, 100, 316, 1000, 1000]
    between = (0.5 * 90 + 0.4 * 900) / log(10) + 0.1 * 1000  # the mean of a log-linear piece
    assert table.mean() == pytest.approx(between, rel=2e-3)


@given(
    st.floats(1, 1e5), st.floats(0.01, 3), st.integers(1, 50), st.integers(50, 10**6),
    st.lists(st.floats(1e-9, 1 - 1e-9), min_size=1),
)  # fmt: skip
def test_lengths_stay_within_bounds_and_rise_with_the_variate(p50, sigma, low, high, u):
    drawn = Lengths("lognormal", p50, sigma, min=low, max=high).at(np.array(sorted(u)))
    assert drawn.dtype == np.int64
    assert low <= drawn[0] and drawn[-1] <= high
    assert (np.diff(drawn) >= 0).all()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fixed(0), "p50: 0.0 is out of range"),
        (lambda: uniform(9, 3), "max: 3 is below min = 9"),
        (lambda: Lengths("uniform"), "max: is missing"),
        (lambda: Lengths("lognormal", p50=3.0), "sigma: is missing"),
        (lambda: Lengths("fixed", 3.0, 1.0), "sigma: does not go with kind fixed"),
        (lambda: Lengths("fixed", 3.0, min=0), "min: 0 is out of range"),
        (lambda: quantiles({0: 1, 0.5: 7}), "do not rise from 0 to 1"),
        (lambda: quantiles({0: 5, 1: 3}), "lengths do not rise"),
        (lambda: quantiles({}), "quantiles: does not go"),
        (lambda: lognormal(mean=9), "cannot be fixed by mean"),
        (lambda: lognormal(sigma=1, cv=1), "cannot be fixed by sigma, cv"),
        (lambda: lognormal(mean=-9, cv=1), "lognormal mean: -9 is out of range"),
        (lambda: lognormal(mean=5, p50=9), "none has mean 5, p50 9, p90 free"),
        (lambda: lognormal(mean=100, p90=900), "none has mean 100, p50 free, p90 900"),
    ],
)
def test_parameters_out_of_range(make, says):
    with pytest.raises(InputError, match=says):
        make()
