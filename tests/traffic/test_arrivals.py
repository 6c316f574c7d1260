import numpy as np
import pytest

from maquette.errors import InputError
from maquette.traffic import Arrivals
from maquette.traffic.arrivals import arrival_ns, unit_gaps

GRID = (np.arange(400_000) + 0.5) / 400_000  # equally likely quantiles: no sampling noise

PROCESSES = [
    Arrivals("constant"),
    Arrivals("poisson"),
    Arrivals("gamma", 0.5),
    Arrivals("gamma", 2.0),
    Arrivals("bursts", 4.0, 0.02),
]


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_gaps_have_mean_one_and_the_cv_asked_for(process):
    gaps = unit_gaps(process, GRID)
    expected = 0.0 if process.process == "constant" else process.cv
    assert gaps.mean() == pytest.approx(1, rel=2e-3)
    assert gaps.std() == pytest.approx(expected, rel=1e-2, abs=1e-12)


def test_gamma_of_cv_one_is_poisson():
    assert np.allclose(unit_gaps(Arrivals("gamma", 1.0), GRID), unit_gaps(Arrivals(), GRID))


def test_poisson_counts_in_windows_vary_as_their_mean():
    u = np.random.default_rng(3).random(200_000)
    counts = np.bincount(arrival_ns(Arrivals(), 50.0, u) // 10**9)[:-1]
    assert counts.mean() == pytest.approx(50, rel=0.01)
    assert counts.var() / counts.mean() == pytest.approx(1, rel=0.06)


def test_a_rate_so_low_that_64_bits_do_not_hold_the_times():
    for process in PROCESSES:
        with pytest.raises(InputError, match=r"rate: at 1e-12 the 1,000 requests span more than"):
            arrival_ns(process, 1e-12, GRID[::400])
    assert arrival_ns(Arrivals("constant"), 1e-8, GRID[:90])[-1] == 89 * 10**17
    assert len(arrival_ns(Arrivals(), 1e-12, GRID[:0])) == 0


def test_bursts_are_a_share_of_long_pauses():
    gaps = unit_gaps(Arrivals("bursts", 13.0, 0.00136), GRID)
    assert (gaps > 30).mean() == pytest.approx(0.00136 * np.exp(-30 / 249), rel=0.05)


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_another_rate_is_another_clock(process):
    u = np.random.default_rng(1).random(1000)
    slow, fast = (arrival_ns(process, rate, u) for rate in (2.0, 8.0))
    assert slow[0] == fast[0] == 0 and slow.dtype == np.int64
    assert np.abs(slow - 4 * fast).max() <= 2.5  # half a ns of rounding, times four, and once more
    assert (np.diff(slow) >= 0).all()


@pytest.mark.parametrize(
    ("make", "where"),
    [
        (lambda: Arrivals("gamma", 0.0), "cv: 0.0 is out of range"),
        (lambda: Arrivals("gamma", float("nan")), "cv: nan is out of range"),
        (lambda: Arrivals("poisson", 2.0), "cv: is fixed for poisson arrivals"),
        (lambda: Arrivals("bursts", 13.0, 0.5), "pause_share: 0.5 does not go with a cv of 13"),
        (lambda: Arrivals("closed"), "concurrency: 0 does not go with closed"),
        (lambda: Arrivals("poisson", concurrency=3), "concurrency: 3 does not go with poisson"),
    ],
)
def test_parameters_out_of_range(make, where):
    with pytest.raises(InputError, match=where):
        make()
