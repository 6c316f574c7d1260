from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from maquette.catalogue.requests import Asked
from maquette.errors import InputError
from maquette.traffic import (
    Arrivals,
    Prefixes,
    Priority,
    TrafficSpec,
    describe,
    fixed,
    generate,
    lognormal,
    synthetic,
)

FULL = TrafficSpec(
    lognormal(mean=800, cv=1),
    lognormal(mean=100, cv=0.5),
    rate=3.0,
    arrivals=Arrivals("gamma", 2.0),
    correlation=0.6,
    prefixes=Prefixes(64, 3, 128, continue_share=0.5),
    priorities=(Priority(0, 0.25), Priority(5, 0.75)),
    name="full",
)
COLUMNS = ("arrival_ns", "input_tokens", "output_tokens", "priority", "block_hash", "block_start")


def columns(requests):
    return {name: getattr(requests, name) for name in COLUMNS}


def test_same_seed_same_bytes_and_another_seed_others():
    one, two, other = (columns(generate(FULL, 500, seed)) for seed in (1, 1, 2))
    assert all(one[k].tobytes() == two[k].tobytes() and one[k].dtype == np.int64 for k in COLUMNS)
    assert all(one[k].tobytes() != other[k].tobytes() for k in COLUMNS)
    assert generate(FULL, 500, 1).source == generate(FULL, 500, 1).source
    assert "seed 1" in generate(FULL, 500, 1).source


def test_fewer_requests_are_the_first_of_more():
    few, many = generate(FULL, 100), generate(FULL, 1000)
    for name in ("arrival_ns", "input_tokens", "output_tokens", "priority"):
        assert (getattr(few, name) == getattr(many, name)[:100]).all()
    assert (few.block_hash == many.block_hash[: many.block_start[100]]).all()


def test_common_random_numbers_at_another_rate():
    slow, fast = columns(generate(FULL, 1000)), columns(generate(replace(FULL, rate=30.0), 1000))
    assert np.abs(slow.pop("arrival_ns") - 10 * fast.pop("arrival_ns")).max() <= 6
    assert all((slow[k] == fast[k]).all() for k in slow)


def test_components_are_independent_streams():
    base = columns(generate(FULL, 1000))
    changed = columns(generate(replace(FULL, input=fixed(500)), 1000))
    assert (base["arrival_ns"] == changed["arrival_ns"]).all()
    assert (base["priority"] == changed["priority"]).all()
    draws = [base[k] for k in ("input_tokens", "priority")] + [
        np.diff(base["arrival_ns"], append=0)
    ]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert abs(spearmanr(a, b).statistic) < 0.1


def test_correlation_and_priorities():
    made = generate(FULL, 20_000)
    # of normal scores 0.6, Spearman's rho is 6/pi asin(0.3)
    rho = spearmanr(made.input_tokens, made.output_tokens).statistic
    assert rho == pytest.approx(6 / np.pi * np.arcsin(0.3), abs=0.02)
    assert (made.priority == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert set(made.priority.tolist()) == {0, 5}


def test_the_command_line_means():
    spec = synthetic(rate=6.45, input_tokens=1165, output_tokens=220)
    found = describe(generate(spec, 10_000))
    assert found.rate_per_s == pytest.approx(6.45, rel=0.03)
    assert found.gap_cv == pytest.approx(1, abs=0.03)
    assert found.input_tokens.mean == pytest.approx(1165, rel=0.03)
    assert found.output_tokens.mean == pytest.approx(220, rel=0.03)
    assert spec.input.mean() == pytest.approx(1165, rel=2e-3)
    same = synthetic(rate=6.45, input_tokens=1165, output_tokens=220, distribution="fixed")
    assert set(generate(same, 50).input_tokens.tolist()) == {1165}
    bursty = synthetic(rate=6.45, input_tokens=1165, output_tokens=220, arrival_cv=3.0)
    assert describe(generate(bursty, 50_000)).gap_cv == pytest.approx(3, rel=0.05)


def test_a_closed_loop_has_clients_and_no_arrivals():
    made = generate(synthetic(concurrency=8, input_tokens=10, output_tokens=10), 20)
    assert made.concurrency == 8
    assert not made.arrival_ns.any()
    assert describe(made).rate_per_s is None
    assert "closed loop of 8 clients" in made.source


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: replace(FULL, rate=None), "rate: is missing"),
        (lambda: replace(FULL, rate=-1.0), "rate: -1.0 is out of range"),
        (
            lambda: replace(FULL, arrivals=Arrivals("closed", concurrency=2)),
            "rate: does not go with",
        ),
        (lambda: replace(FULL, correlation=1.0), "correlation: 1.0 is out of range"),
        (lambda: replace(FULL, priorities=(Priority(1, 0.5),)), "do not add up to 1"),
        (lambda: generate(FULL, 0), "requests: 0 is out of range"),
        (lambda: generate(FULL, 5, seed=-1), "seed: -1 is out of range"),
        (lambda: synthetic(input_tokens=5, output_tokens=5), "are both missing"),
        (
            lambda: synthetic(rate=1, concurrency=2, input_tokens=5, output_tokens=5),
            "are contradictory",
        ),
        (lambda: synthetic(rate=1, input_tokens=0, output_tokens=5), "input_tokens: 0 is out of"),
        (
            lambda: synthetic(
                rate=1, input_tokens=5, output_tokens=5, process="constant", arrival_cv=2
            ),
            "arrival_cv: does not go with constant",
        ),
        (
            lambda: synthetic(rate=1, input_tokens=5, output_tokens=5, process="bursts"),
            "process: bursts have more parameters",
        ),
    ],
)
def test_contradictions_are_errors(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_clients_of_public_benchmarks_draw_below_nominal_lengths():
    spec = synthetic(
        concurrency=4, input_tokens=1000, output_tokens=100, distribution="below", range_ratio=0.5
    )
    got = generate(spec, 4000, seed=1)
    for tokens, nominal in ((got.input_tokens, 1000), (got.output_tokens, 100)):
        assert nominal / 2 <= tokens.min() and tokens.max() <= nominal
        assert tokens.mean() == pytest.approx(0.75 * nominal, rel=0.01)
    for ratio in (0.0, 1.2):
        with pytest.raises(InputError, match="range_ratio"):
            synthetic(rate=1, input_tokens=9, output_tokens=9, range_ratio=ratio)
    with pytest.raises(InputError, match="only lengths below a nominal one"):
        Asked(input_tokens=9, output_tokens=9, rate=1, range_ratio=0.8)
