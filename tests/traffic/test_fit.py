import numpy as np
import pytest

from maquette.catalogue.traffic import preset, save
from maquette.errors import InputError
from maquette.traffic import (
    Arrivals,
    Prefixes,
    Requests,
    TrafficSpec,
    describe,
    fixed,
    generate,
    lognormal,
)
from maquette.traffic.fit import fit, published, smooth_quantiles, table_mean

ORIGINAL = TrafficSpec(
    lognormal(mean=3000, cv=1.2),
    lognormal(mean=300, cv=0.7),
    rate=4.0,
    arrivals=Arrivals("gamma", 1.8),
    correlation=-0.5,
    prefixes=Prefixes(128, 3, 128, 1.5, 0.4, conversations=64),
)


def test_the_smoothest_table_through_lognormal_quantiles_is_lognormal():
    true = lognormal(p50=1000, sigma=0.7)
    known = {
        p: 1000 * float(np.exp(0.7 * z)) for p, z in ((0.5, 0), (0.9, 1.28155), (0.99, 2.32635))
    }
    found = smooth_quantiles(known, n=10_000)
    u = np.array([0.01, 0.05, 0.1, 0.25, 0.75, 0.95, 0.999])
    assert found.at(u) == pytest.approx(true.at(u), rel=0.01)


def test_a_mean_is_met_and_an_impossible_one_refused():
    statistics = {"min": 10, "p50": 100, "p90": 300, "p99": 900}
    for mean in (120, 150):
        assert published({**statistics, "mean": mean}, 5000).mean() == pytest.approx(mean, rel=0.01)
    with pytest.raises(InputError, match="no monotone table has"):
        published({**statistics, "mean": 50}, 5000)
    with pytest.raises(InputError, match="unknown statistics p42; expected min, max, p1, p5"):
        published({"p50": 3, "p42": 1}, 50)
    with pytest.raises(InputError, match="no p50"):
        published({"p90": 3}, 50)


def test_table_mean_is_the_integral():
    p, lengths = np.array([0, 0.3, 0.8, 1]), np.array([5.0, 50.0, 50.0, 700.0])
    u = (np.arange(10**6) + 0.5) / 10**6
    integral = np.exp(np.interp(u, p, np.log(lengths))).mean()
    assert table_mean(p, lengths) == pytest.approx(integral, rel=1e-6)


def test_a_fitted_preset_generates_the_statistics_of_its_trace(tmp_path):
    trace = generate(ORIGINAL, 20_000, seed=11)
    made = fit(trace, "mine")
    found, again = describe(trace), describe(generate(made.traffic, 20_000, seed=5))
    assert again.rate_per_s == pytest.approx(found.rate_per_s, rel=0.04)
    assert again.gap_cv == pytest.approx(found.gap_cv, rel=0.04)
    assert again.cacheable_share == pytest.approx(found.cacheable_share, abs=0.03)
    for name in ("input_tokens", "output_tokens"):
        for statistic in ("mean", "p50", "p90", "p99"):
            expected = getattr(getattr(found, name), statistic)
            assert getattr(getattr(again, name), statistic) == pytest.approx(expected, rel=0.04)
    assert made.traffic.correlation == pytest.approx(-0.5, abs=0.03)
    assert made.traffic.prefixes.system_prompts == 3
    save(made, tmp_path / "mine.toml")
    assert preset(str(tmp_path / "mine.toml")) == made


def test_bursts_regular_and_closed_traffic_are_told_apart():
    def refit(arrivals, rate=2.0):
        spec = TrafficSpec(fixed(50), fixed(5), rate=rate, arrivals=arrivals)
        return fit(generate(spec, 8000), "x").traffic

    bursts = refit(Arrivals("bursts", 13.0, 0.00136)).arrivals
    assert bursts.process == "bursts" and bursts.pause_share == pytest.approx(0.00136, rel=0.3)
    assert refit(Arrivals("constant")).arrivals.process == "constant"
    loop = refit(Arrivals("closed", concurrency=7), None)
    assert loop.arrivals == Arrivals("closed", concurrency=7)
    assert loop.input.at(np.array([0.1, 0.9])).tolist() == [50, 50]


def test_too_little_to_fit():
    few = Requests(np.arange(5), np.ones(5, np.int64), np.ones(5, np.int64), source="five")
    with pytest.raises(InputError, match="five: is too little to fit"):
        fit(few, "x")
