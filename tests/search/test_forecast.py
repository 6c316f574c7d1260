"""Distributions of what a deployment does: of its constants, of its requests, and near the knee."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import maquette as mq
from maquette.price.calibration import NAMES, first_principles
from maquette.price.interval import Z80, central, gradient, spread_draws
from maquette.report import simulated
from maquette.search.forecast import doubts
from maquette.search.simulation import run
from maquette.search.types import Targets
from maquette.traffic import generate, synthetic
from maquette.traffic.describe import head, scale, take

CERTAIN = ((0.0,) * len(NAMES),) * len(NAMES)


@pytest.fixture(scope="module")
def deployment():
    return mq.deployment("llama-3.1-8b", "h100-sxm")


def sent(rate, n=150):
    return generate(synthetic(rate=rate, input_tokens=400, output_tokens=60), n, seed=3)


def test_few_even_draws_place_quantiles_that_independent_ones_miss():
    cal = first_principles("m", "vllm")

    def price(c):
        return 0.6 / c["memory"] + 0.2 / c["kv"] + 100 * c["step"]

    slope = gradient(price, cal)
    many = np.array([price(c) for c in spread_draws(cal, slope, 4000, seed=9)])
    low, high = np.log(np.quantile(many, [0.1, 0.9]) / price(cal))
    even, apart = (
        np.array([np.log(central([price(c) for c in draw(seed)])) for seed in range(40)])
        - np.log(price(cal))
        for draw in (lambda s: spread_draws(cal, slope, 16, s), lambda s: cal_draws(cal, s))
    )
    assert np.allclose(even.mean(axis=0), [low, high], atol=0.06 * (high - low))
    assert np.all(even.std(axis=0) < 0.1 * (high - low))
    assert even.std(axis=0).sum() < 0.6 * apart.std(axis=0).sum()


def cal_draws(cal, seed):
    """Independent ones."""
    rng = np.random.default_rng(seed)
    away = rng.multivariate_normal(np.zeros(len(NAMES)), np.array(cal.covariance), 16)
    noise = np.exp(rng.normal(0.0, cal.residual, 16))
    return [cal.at(cal.vector + row).slower(x) for row, x in zip(away, noise, strict=True)]


def test_draws_have_the_covariance_of_the_posterior():
    cal = first_principles("m", "vllm")
    drawn = spread_draws(cal, gradient(lambda c: c["step"], cal), 2000, seed=1)
    at = NAMES.index("step")
    logs = np.array([c.vector[at] for c in drawn])
    assert logs.std() == pytest.approx(np.hypot(cal.covariance[at][at] ** 0.5, 0.25), rel=0.05)


def test_what_is_certain_varies_with_the_requests_only(deployment):
    cal = replace(deployment.calibration, covariance=CERTAIN, residual=0.0, unexplained={})
    found = run(replace(deployment, known=cal), sent(6.0), draws=4).forecast
    assert found.streams == 4
    for name, held in found.constants.items():
        assert held.low == pytest.approx(held.high), name
        both, luck = found.intervals[name], found.requests[name]
        assert (both.low, both.high) == pytest.approx((luck.low, luck.high)), name
    assert found.requests["ttft_s"].high > 1.02 * found.requests["ttft_s"].low


def test_requests_of_a_trace_are_what_will_come(deployment):
    given = take(sent(6.0), np.arange(150))
    found = run(deployment, given, draws=4).forecast
    assert found.streams == 1
    assert all(x.low == pytest.approx(x.high) for x in found.requests.values())


def test_overload_becomes_certain_with_the_rate(deployment):
    able = run(deployment, sent(6.0), draws=0).metrics.sustainable_per_s
    chances = [
        run(deployment, sent(share * able), draws=16).forecast.overload
        for share in (0.3, 0.8, 1.0, 1.3, 3.0)
    ]
    assert chances == sorted(chances)
    assert chances[0] < 0.01 and 0.25 < chances[2] < 0.75 and chances[-1] > 0.99


def test_close_to_the_knee_a_distribution_is_told(deployment):
    able = run(deployment, sent(6.0), draws=0).metrics.sustainable_per_s
    near, far = (
        dict(simulated.summary(run(deployment, sent(x * able), Targets(1.0), draws=8)))
        for x in (0.95, 0.3)
    )
    assert "in the median" in near["TTFT p99"] and "at 90 %" in near["TTFT p99"]
    assert "[" in far["TTFT p99"] and "median" not in far["TTFT p99"]
    for rows in (near, far):
        assert "grows without bound" in rows["knee"] and "overload in" in rows["knee"]
        assert "constants" in rows["spread"] and "other requests" in rows["spread"]


def test_a_closed_loop_has_no_overload(deployment):
    spec = synthetic(concurrency=4, input_tokens=400, output_tokens=60)
    found = run(deployment, generate(spec, 60), draws=4)
    assert found.forecast.overload is None
    assert "open loop" in dict(simulated.summary(found))["knee"]


def test_drawn_again_it_is_the_same_traffic():
    first = sent(5.0)
    again = first.redrawn(11)
    assert len(again) == len(first) and not np.array_equal(again.arrival_ns, first.arrival_ns)
    few = scale(head(first, 20), factor=2.0).redrawn(11)
    assert np.array_equal(few.input_tokens, again.input_tokens[:20])
    assert np.array_equal(few.arrival_ns, np.rint(again.arrival_ns[:20] / 2).astype(np.int64))
    assert take(first, np.arange(3)).redrawn is None


def test_what_to_measure_first_by_hand():
    cal = first_principles("m", "vllm")
    slope = np.zeros(len(NAMES))
    slope[NAMES.index("memory")], slope[NAMES.index("launch")] = -0.8, 0.1
    first, second, third, *rest = doubts(slope, cal)
    total = (0.8 * 0.15) ** 2 + (0.1 * 0.70) ** 2 + 0.25**2
    assert [first.name, second.name, third.name] == ["residual", "memory", "launch"]
    assert second.share == pytest.approx((0.8 * 0.15) ** 2 / total)
    assert sum(d.share for d in (first, second, third)) == pytest.approx(1)
    assert all(d.share == 0 for d in rest)


def test_what_is_unexplained_widens_latencies_and_no_rate_that_is_asked_for(deployment):
    known = replace(deployment.calibration, unexplained={"open ttft": 0.4, "open tpot": 0.2})
    plain, wide = (
        run(replace(deployment, known=cal), sent(4.0), draws=4).forecast
        for cal in (replace(known, unexplained={}), known)
    )
    for name, sd in (("ttft_s", 0.4), ("tpot_s", 0.2), ("e2e_s", 0.2)):
        own, more = plain.intervals[name], wide.intervals[name]
        assert more.high > own.high and more.low < own.low
        told = wide.clients[name]
        assert np.log(told.high / told.low) / 2 / Z80 == pytest.approx(sd)
    name = "output_tokens_per_s"
    assert wide.intervals[name] == plain.intervals[name]
    assert wide.clients[name].low == wide.clients[name].high
    assert wide.constants == plain.constants and wide.requests == plain.requests
