"""Figures of a trace against their definitions, and the fluid estimate against the clock."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from maquette.plans.types import Policy
from maquette.price.step import Attention, Replica, StepModel
from maquette.serve.metrics import latencies, summary
from maquette.serve.simulate import simulate
from maquette.serve.types import Disaggregation, Trace
from maquette.traffic.types import Requests

STEP = StepModel(1.0, 0.0, np.zeros(101), np.zeros(9), ())
SECOND = Replica(STEP, 0, 16, 1, 100, 0.0)


def test_definitions_on_two_requests() -> None:
    """One after the other: 3 tokens in 3 s, then a wait of 2 s and 5 tokens in 5 s."""
    rows = Requests(np.array([0, 10**9]), np.array([7, 9]), np.array([3, 5]))
    metrics = summary(simulate(rows, [SECOND]), ttft=2.0, tpot=1.0)  # type: ignore[arg-type]
    assert metrics.ttft.mean == 2.0  # 1 and 3
    assert metrics.ttft[50] == 2.0
    assert metrics.tpot.mean == 1.0
    assert metrics.queue.mean == 1.0
    assert metrics.e2e.mean == 5.0
    assert metrics.itl.n == 6
    assert metrics.itl[50] == pytest.approx(1.0, rel=0.01)
    assert metrics.duration == 8.0
    assert metrics.output_tokens_per_s == 1.0
    assert metrics.input_tokens_per_s == 2.0
    assert metrics.tokens_per_s == 3.0
    assert metrics.utilisation == 1.0
    assert (metrics.mean_running, metrics.mean_waiting) == (1.0, 0.25)
    assert (metrics.good_share, metrics.goodput_per_s) == (0.5, 0.125)
    assert summary(simulate(rows, [SECOND])).goodput_per_s is None


def test_one_token_has_no_tpot() -> None:
    rows = Requests(np.array([0]), np.array([7]), np.array([1]))
    trace = simulate(rows, [SECOND])
    assert len(latencies(trace)["tpot"]) == 0
    assert math.isnan(summary(trace).tpot.mean)
    assert math.isnan(summary(trace).itl[99])


def gpu(blocks: int = 4000, seqs: int = 64, budget: int = 2048) -> Replica:
    n, tokens = np.arange(65.0), np.arange(2049.0)
    at, slope = np.stack([1e-6 * n, 0 * n + 2e-4]), np.stack([5e-8 + 0 * n, 0 * n])
    at[:, 0] = slope[:, 0] = 0
    attention = Attention(0, 1e-9, 5e-8, at, slope)
    step = StepModel(5e-4, 3e-4, np.maximum(5e-3, 4e-5 * tokens), 1e-5 * n, (attention,))
    return Replica(step, blocks, 16, seqs, budget, 1e5)


def burst(n: int, rate: float = 1e6, seed: int = 0) -> Requests:
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1e9 / rate, n)).astype(np.int64)
    prompt, output = rng.integers(20, 600, n), rng.integers(5, 200, n)
    return Requests(arrival, prompt, output)


def steady_rate(trace: Trace) -> float:
    """Requests per second while the system neither fills nor drains."""
    finish = np.sort(trace.finish_ns) / 1e9
    early, late = len(finish) // 5, len(finish) * 4 // 5
    return float((late - early) / (finish[late] - finish[early]))


@pytest.mark.parametrize(
    ("policy", "replica", "tolerance"),
    [
        (Policy(), gpu(), 0.05),
        (Policy(), gpu(budget=300), 0.05),
        (Policy(), gpu(seqs=4), 0.05),
        (Policy("prefill-first", chunked_prefill=False), gpu(), 0.05),
        (Policy(scheduler="static"), gpu(seqs=16), 0.10),
        (Policy(), gpu(blocks=600), 0.25),  # repeated work is left out
        (Policy(admission="output"), gpu(blocks=600), 0.1),
        (Policy("prefill-first"), gpu(), 0.05),
        (Policy("prefill-first", admission="output"), gpu(blocks=600, budget=300), 0.1),
    ],
)
def test_the_fluid_estimate_is_what_overload_yields(
    policy: Policy, replica: Replica, tolerance: float
) -> None:
    trace = simulate(burst(1600), [replica, replica], policy)
    metrics = summary(trace)
    assert steady_rate(trace) == pytest.approx(metrics.sustainable_per_s, rel=tolerance)
    assert metrics.load > 1
    assert any("overload" in w for w in metrics.warnings)
    assert any("the queue grows" in w for w in metrics.warnings)


@pytest.mark.parametrize(("givers", "link"), [(1, 1e12), (3, 1e12), (3, 1e9)])
def test_the_fluid_estimate_of_a_split_fleet(givers: int, link: float) -> None:
    split = Disaggregation((gpu(),) * givers, link, 0.0)  # type: ignore[arg-type]
    trace = simulate(burst(1500), [gpu()], disaggregation=split)
    assert steady_rate(trace) == pytest.approx(trace.sustainable_per_s, rel=0.05)


def test_a_calm_system_warns_of_nothing() -> None:
    trace = simulate(burst(2000, rate=3.0), [gpu()])
    metrics = summary(trace)
    assert metrics.warnings == ()
    assert metrics.load < 0.7
    assert metrics.offered_per_s == pytest.approx(3.0, rel=0.1)


def test_preemption_is_told() -> None:
    metrics = summary(simulate(burst(600), [gpu(blocks=200)]))
    assert any("computed anew" in w for w in metrics.warnings)
    assert metrics.preemptions > 0


def test_nothing_served_has_no_figures() -> None:
    rows = Requests(np.array([0, 0]), np.array([700, 900]), np.array([3, 5]))
    metrics = summary(simulate(rows, [gpu(blocks=10)]))
    assert (metrics.rejected, metrics.finished) == (2, 0)
    assert math.isnan(metrics.ttft.mean)
    assert math.isnan(metrics.load)
    assert any("every request was rejected" in w for w in metrics.warnings)


def test_no_more_is_sustained_than_servers_accept():
    requests = Requests(np.arange(50) * 10**6, np.full(50, 8), np.full(50, 2))
    quick = Replica(StepModel(1e-6, 0.0, np.zeros(65), np.zeros(65), ()), 0, 16, 64, 64, 0.0)
    slow = replace(quick, accept=0.01)
    link = Disaggregation((slow, slow, slow), 1e12, 0.0)
    alone, both, split = (
        simulate(requests, fleet, disaggregation=found).sustainable_per_s
        for fleet, found in (((slow,), None), ((slow, slow), None), ((quick,), link))
    )
    assert (alone, both, split) == pytest.approx((100, 200, 300))
    assert simulate(requests, (quick,)).sustainable_per_s > 1000
