"""Prices: the speed of light, additivity, closed forms of links and experts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.engines import engine
from maquette.catalogue.machines import machine
from maquette.plans.types import Infeasible, Mesh, Plan, Policy
from maquette.price.budget import divided
from maquette.price.calibration import NAMES, transferred
from maquette.price.environment import (
    batch_environment,
    causal_pairs,
    mesh_environment,
    nothing,
    uniform,
)
from maquette.price.experts import imbalance, popularity, touched
from maquette.price.interval import estimate
from maquette.price.memory import fits
from maquette.price.network import CHUNK, collective
from maquette.price.rates import formats
from maquette.price.replica import replica, step_model
from maquette.price.seconds import IDEAL, walk_seconds
from price.priced import CAL, H100, PLAIN, environment, lowered


def walk(schedule, plan, cal, prefill, decode):
    env = environment(schedule, plan, prefill, decode)
    return walk_seconds(schedule, H100, cal, env)


NAMES_OF_MODELS = ["llama-3.1-8b", "mixtral-8x7b", "deepseek-v2", "mamba2-2.7b", "gpt-oss-120b"]


@pytest.mark.parametrize("name", NAMES_OF_MODELS)
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 256),
    context=st.integers(1, 8000),
    tp=st.sampled_from([1, 2, 4, 8]),
    logs=st.lists(st.floats(-2, 2), min_size=len(NAMES), max_size=len(NAMES)),
)
def test_no_price_beats_the_speed_of_light(name, batch, context, tp, logs):
    schedule = lowered(name)
    plan = Plan(mesh=Mesh(tp=tp))
    cal = CAL.at(CAL.vector + np.array(logs))
    shape, none = uniform(schedule, batch, 1.0, context), nothing(schedule)
    priced = walk(schedule, plan, cal, none, shape)
    ideal = walk(schedule, plan, IDEAL, none, shape)
    for ours, light in zip(priced, ideal, strict=True):
        assert float(ours.total) >= float(light.total) * (1 - 1e-12)


@pytest.mark.parametrize("name", NAMES_OF_MODELS)
@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 64),
    context=st.integers(2, 6000),
    chunk=st.integers(1, 512),
    past=st.integers(0, 5000),
)
def test_the_step_model_is_the_walk(name, batch, context, chunk, past):
    """Tabulated coefficients against walking the mixed batch itself."""
    schedule = lowered(name)
    plan = Plan(mesh=Mesh(tp=2), policy=Policy(max_batched_tokens=1024, max_seqs=80))
    decode = uniform(schedule, batch, 1.0, context)
    prefill = uniform(schedule, 1.0, chunk, past + chunk)
    direct = sum(float(s.total) for s in walk(schedule, plan, CAL, prefill, decode))
    direct += CAL["step"] + CAL["seq"] * (batch + 1) + CAL["token"] * (batch + chunk)
    step = step_model(schedule, H100, PLAIN, plan, CAL)
    ours = step.overhead + step.tokens[batch + chunk] + step.seqs[batch + 1] + step.prefill
    for a in step.attention:
        name_ = next(n for n, w in schedule.windows.items() if w == a.window)
        ours += max(a.pair * prefill[f"pairs:{name_}"], a.read * prefill[f"context:{name_}"])
        context_sum = decode[f"context:{name_}"]
        ours += max(a.at[k, batch] + a.slope[k, batch] * context_sum for k in range(len(a.at)))
    assert ours == pytest.approx(direct, rel=1e-9)


def test_arrays_of_plans_price_as_each_plan_alone():
    schedule = lowered("llama-3.1-70b")
    none = nothing(schedule)
    mesh = {"tp": np.array([1, 2, 8]), "pp": np.array([1, 2, 1]), "dp": 1, "ep": 1}
    shape = uniform(schedule, np.array([1.0, 8.0, 64.0]), 1.0, np.array([10.0, 500.0, 4000.0]))
    env = {
        **mesh_environment(schedule, mesh),
        **formats(H100, Plan().precision, schedule),
        **batch_environment(schedule, mesh, prefill=none, decode=shape),
    }
    together = sum(s.total for s in walk_seconds(schedule, H100, CAL, env))
    for i in range(3):
        plan = Plan(mesh=Mesh(tp=int(mesh["tp"][i]), pp=int(mesh["pp"][i])))
        alone = uniform(schedule, [1.0, 8.0, 64.0][i], 1.0, [10.0, 500.0, 4000.0][i])
        total = sum(float(s.total) for s in walk(schedule, plan, CAL, none, alone))
        assert together[i] == pytest.approx(total, rel=1e-12)


def test_causal_pairs_against_counting():
    for window in (0, 3, 8):
        for past in range(6):
            for new in range(1, 7):
                reach = [past + i + 1 for i in range(new)]
                counted = sum(min(r, window) if window else r for r in reach)
                assert causal_pairs(new, past + new, window) == counted


def test_all_reduce_closed_form():
    """2(n-1)/n of the tensor over the link, plus latencies that do not depend on it."""
    link = float(H100.links["scale_up"].bandwidth.value)
    small, big = (float(collective(H100, "all-reduce", b, 8, 1.0, 0.0)) for b in (0.0, 1e9))
    assert big - small == pytest.approx(2 * 7 / 8 * 1e9 / link)
    assert float(collective(H100, "all-reduce", 1e9, 1, 1.0, 1.0)) == 0.0


def test_crossing_nodes_is_dearer():
    near, far = (float(collective(H100, "all-reduce", 1e8, n, 0.8, 8e-6)) for n in (8, 16))
    outer = H100.links["scale_out"]
    hop = float(outer.latency.value) if outer.latency else 5e-6
    sent = 2 * (1 / 2) * (1e8 / 8) / (float(outer.bandwidth.value) * 0.8)
    across = sent + 2 * np.sqrt(sent * 8e-6 * CHUNK) + hop + 8e-6
    assert far - near == pytest.approx(across, rel=1e-6)


@pytest.mark.parametrize(("tokens", "total", "chosen"), [(1, 8, 2), (7, 64, 6), (100, 128, 8)])
def test_experts_touched_against_drawing(tokens, total, chosen):
    rng = np.random.default_rng(0)
    counts = [
        len({e for _ in range(tokens) for e in rng.choice(total, chosen, replace=False)})
        for _ in range(300)
    ]
    error = 4 * np.std(counts) / np.sqrt(len(counts)) + 1e-9
    assert float(touched(tokens, total, chosen)) == pytest.approx(np.mean(counts), abs=error)


def test_skew_touches_fewer_and_loads_unevenly():
    assert float(touched(16, 64, 4, skew=1.0)) < float(touched(16, 64, 4))
    assert popularity(4, 0.0).tolist() == [0.25] * 4
    assert float(imbalance(1e9, 64, 4, 8)) == pytest.approx(1.0, abs=1e-3)
    assert float(imbalance(4, 64, 4, 8)) > 1.5
    assert float(imbalance(100, 64, 4, 1)) == 1.0


def test_what_does_not_fit_says_by_how_much():
    schedule = lowered("llama-3.1-70b")
    found = fits(schedule, H100, PLAIN, Plan())
    assert isinstance(found, Infeasible)
    assert found.unit == "GB per device"
    assert found.short_by == pytest.approx(141.1 + 1 - 0.9 * 85.5 + 1.5, abs=1.5)
    assert isinstance(replica(schedule, H100, PLAIN, Plan(), CAL), Infeasible)


def test_kv_cache_of_a_plan_in_closed_form():
    schedule = lowered("llama-3.1-8b")
    held = fits(schedule, H100, PLAIN, Plan())
    assert not isinstance(held, Infeasible)
    assert held.kv_per_token == 2 * 32 * 8 * 128 * 2
    assert held.kv_tokens == pytest.approx(held.kv / held.kv_per_token)
    assert held.weights == pytest.approx(8_030_261_248 * 2, rel=1e-6)


def test_heads_are_replicated_beyond_their_number():
    schedule = lowered("llama-3.1-70b")
    eight, sixteen = (
        fits(schedule, replace(H100, node=16), PLAIN, Plan(mesh=Mesh(tp=tp))) for tp in (8, 16)
    )
    assert not isinstance(eight, Infeasible)
    assert not isinstance(sixteen, Infeasible)
    assert eight.kv_per_token == sixteen.kv_per_token


def test_interval_widens_with_distance_from_measurement():
    near = estimate(lambda c: 1e-3 / c["memory"] + c["step"], CAL, 4000)
    far = estimate(lambda c: 1e-3 / c["memory"] + c["step"], transferred(CAL, "other"), 4000)
    assert near.low < near.point < near.high
    assert far.high - far.low > near.high - near.low
    assert far.reason == "transferred"


def test_recurrent_states_limit_the_sequences_that_fit():
    schedule = lowered("mamba2-2.7b")
    few = fits(schedule, machine("a10g"), PLAIN, Plan(policy=Policy(max_batched_tokens=2048)))
    assert not isinstance(few, Infeasible)
    state = 64 * (80 * 64 * 128 * 4 + 3 * (5120 + 2 * 128) * 2)  # scan in f32, convolution in bf16
    assert few.state_per_seq == pytest.approx(state, rel=0.01)
    assert 1 <= few.seqs < 256
    assert few.seqs == int((few.kv) // few.state_per_seq)


def test_the_longest_stage_sets_the_pace_and_the_memory():
    schedule = lowered("llama-3.1-8b")
    assert schedule.layers == 32
    even = Plan(mesh=Mesh(pp=2))
    uneven = even.but(stages=(24, 8))
    none, shape = nothing(schedule), uniform(schedule, 8.0, 1.0, 1000.0)
    layers = [
        sum(
            float(s.total) for s in walk(schedule, p, CAL, none, shape) if s.section.part == "dense"
        )
        for p in (even, uneven)
    ]
    assert layers[1] == pytest.approx(layers[0] * 24 / 16)
    held = [fits(schedule, H100, PLAIN, p) for p in (even, uneven)]
    assert held[1].kv_per_token == pytest.approx(held[0].kv_per_token * 24 / 16)


def test_activations_beyond_what_a_static_share_leaves_take_from_the_cache():
    chosen = engine("sglang")
    size, weights, reserve = 80e9, 16e9, 1e9
    room = (1 - 0.836) * (size - reserve)

    def left(activations):
        of = replace(Plan(), policy=replace(chosen.policy, memory_utilisation=0.836))
        return divided(chosen, of, size, weights, activations, reserve).left

    assert left(room * 0.99) == left(0.0)
    assert left(0.0) - left(room + 5e9) == pytest.approx(5e9)
