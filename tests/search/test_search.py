"""The search against brute force, its bounds against simulation, its words against its plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.catalogue.machines import system, systems
from maquette.catalogue.models import model
from maquette.catalogue.traffic import preset
from maquette.models.decoder import program
from maquette.plans.types import Mesh, Plan
from maquette.search import apart, contest
from maquette.search.bounds import load
from maquette.search.evaluate import judge, run
from maquette.search.explain import BOOSTS
from maquette.search.plan import _grounds, plan, silent
from maquette.search.screen import nondominated
from maquette.search.space import meshes, room
from maquette.search.types import FrontierPoint, Question, Targets, Wish
from maquette.traffic import generate, synthetic
from maquette.traffic.describe import describe, head


def question(name="llama-3.1-8b", on="h100x2", rate=8.0, n=300, **targets):
    requests = generate(synthetic(rate=rate, input_tokens=800, output_tokens=120), n, seed=3)
    wanted = Targets(targets.get("ttft", 1.0), targets.get("tpot", 0.04), 95.0)
    return Question(model(name), systems(on), requests, wanted)


@pytest.fixture(scope="module")
def answer():
    return plan(question())


def everything(asked):
    """Every plan of the space with every number of replicas, bounds or not, simulated."""
    free = replace(asked, targets=Targets(None, None, asked.targets.percentile))
    few = head(asked.requests, 10**9)
    for ground in _grounds(free, few, load(few, 50.0), silent):
        for candidate in ground.screened.candidates:
            setting = replace(ground.setting, targets=asked.targets)
            yield judge(setting, candidate, run(setting, candidate))


SPACES = {
    "dense": question(),
    "dense, slow": question(rate=2.0, n=120, tpot=0.012),
    "experts": question("mixtral-8x7b", on="h100x4", rate=4.0, n=120),
    "two systems": replace(question(n=150), systems=systems("a100-80gbx2,h100x2")),
    "two formats": replace(question(n=150), precisions=("bf16", "fp8")),
    "three devices": question(on="h100x3", rate=14.0, n=200),
    "two engines": replace(question(n=150), engines=("vllm", "sglang")),
    "no price": question(on="a40x4", rate=3.0, n=150, ttft=2.0, tpot=0.08),
    "one is priced": replace(question(n=150), systems=systems("a40x4,h100x2")),
    "one token": replace(
        question(),
        requests=generate(synthetic(rate=20.0, input_tokens=600, output_tokens=1), 150, seed=1),
    ),
    "closed loop": replace(
        question(),
        requests=generate(synthetic(concurrency=24, input_tokens=500, output_tokens=60), 150, 2),
    ),
    "median": replace(question(rate=20.0, n=200), targets=Targets(0.3, 0.02, 50.0)),
}


@pytest.mark.parametrize("name", SPACES)
def test_no_plan_of_the_space_is_better(name):
    """Against simulating all of it."""
    asked = SPACES[name]
    found = plan(asked).winner
    good = [o for o in everything(asked) if o.meets and not o.metrics.load > 1]
    assert found is not None
    assert good
    assert found.candidate.cost <= min(o.candidate.cost for o in good)


def test_bounds_bound_what_is_simulated(answer):
    for outcome in answer.outcomes:
        c, m = outcome.candidate, outcome
        assert c.max_rate > 0
        trace_tpot = m.metrics.tpot.mean if hasattr(m.metrics, "tpot") else None
        if trace_tpot is not None:
            assert c.tpot_s <= trace_tpot * 1.25


def test_impossible_targets_are_pruned_not_simulated():
    found = plan(question(tpot=1e-4))
    assert found.winner is None
    assert found.outcomes == ()
    assert sum(found.pruned.values()) > 0


def test_what_cannot_fit_is_counted_with_its_reason():
    found = plan(question("llama-3.1-405b", n=50))
    assert found.winner is None
    assert any("memory" in reason for reason in found.infeasible)


def test_explanation_of_a_memory_bound_plan(answer):
    why = answer.explanation
    assert why is not None
    assert sum(s.share for s in why.decode) == pytest.approx(1.0)
    assert {g.resource for g in why.gains} == set(BOOSTS)
    memory = next(g for g in why.gains if g.resource == "memory bandwidth")
    assert memory.tpot < 0
    assert why.saturation is not None
    assert why.saturation >= 1.0
    assert answer.winner.probability is not None


def test_same_question_same_answer(answer):
    again = plan(question())
    assert again.winner is not None
    assert again.winner.candidate == answer.winner.candidate
    assert again.winner.intervals == answer.winner.intervals


def test_interrupt_keeps_what_was_found():
    def stop(stage, done, total):
        if stage == "simulating" and done == 2:
            raise KeyboardInterrupt

    found = plan(question(), stop)
    assert found.interrupted
    assert len(found.outcomes) == 2


def test_other_styles_are_planned_beside_kernels():
    found = plan(question(on="sn40lx8,h100"))
    assert {k.partition("/")[2] for k in found.calibrations} == {"vendor", "vllm"}
    assert found.winner is not None


points = st.builds(
    lambda speed, usd: FrontierPoint(speed, usd, "m", Plan(), 1),
    st.floats(0.1, 100),
    st.floats(0.1, 100),
)


@given(st.lists(points, max_size=30))
def test_frontier_is_the_set_nobody_beats(found):
    kept = nondominated(found)
    for p in kept:
        assert not any(
            q.tokens_per_s_user > p.tokens_per_s_user
            and q.usd_per_mtok_output < p.usd_per_mtok_output
            for q in found
        )
    for p in found:
        assert any(
            q.tokens_per_s_user >= p.tokens_per_s_user
            and q.usd_per_mtok_output <= p.usd_per_mtok_output
            for q in kept
        )


def test_bounds_are_bounds_on_steady_traffic():
    """Of every plan of a space, simulated: no mean TPOT below its bound, no first token sooner."""
    asked = question(rate=10.0, n=400, ttft=60.0, tpot=10.0)
    for ground in _grounds(asked, asked.requests, load(asked.requests, 95.0), silent):
        for c in ground.screened.candidates:
            outcome = judge(ground.setting, c, run(ground.setting, c))
            assert outcome.metrics.ttft[95.0] >= c.ttft_s * (1 - 1e-9)
            # The batch fills and drains: the bound is of the steady state between.
            assert outcome.metrics.tpot.mean >= c.tpot_s * 0.93
            assert outcome.metrics.sustainable_per_s <= c.max_rate * 1.02


def test_a_prompt_just_over_the_budget_is_not_two_full_steps():
    requests = generate(
        synthetic(rate=1.0, input_tokens=2049, output_tokens=8, distribution="fixed"), 40, seed=0
    )
    asked = replace(question("llama-3.1-70b", on="h100x8"), requests=requests)
    for ground in _grounds(asked, requests, load(requests, 95.0), silent):
        for c in ground.screened.candidates:
            trace = run(ground.setting, c)
            first = float((trace.first_token_ns - trace.arrival_ns).min()) * 1e-9
            assert c.ttft_s <= first * (1 + 1e-6)


def test_lengths_beyond_every_cache_are_said():
    requests = generate(
        synthetic(rate=1.0, input_tokens=2_000_000, output_tokens=8, distribution="fixed"),
        5,
        seed=0,
    )
    found = plan(replace(question(), requests=requests))
    assert found.winner is None
    assert found.pruned["a request is longer than its KV cache"] > 0
    assert any("the longest has 2,000,007 tokens" in w for w in found.warnings)


@pytest.mark.parametrize("on", ["h100x6", "h100x12", "h100x16"])
def test_any_number_of_devices(on):
    found = plan(question(on=on, rate=60.0, n=200, tpot=0.03))
    assert found.winner is not None
    assert found.winner.plan.devices <= systems(on)[0].devices


def test_replicas_do_not_straddle_nodes():
    twelve = system("h100x12")  # nodes of eight and of four
    assert room(twelve, Mesh(tp=6)) == 1
    assert room(twelve, Mesh(tp=4)) == 3
    assert room(twelve, Mesh(tp=4, pp=3)) == 1
    assert room(twelve, Mesh(tp=12)) == 1
    assert room(system("gb200-nvl72"), Mesh(tp=8)) == 72 // 8


def test_meshes_of_odd_systems():
    dense = program(model("llama-3.1-8b"))
    assert Mesh(tp=3, pp=2) in set(meshes(6, dense))
    assert Mesh(tp=4) in set(meshes(6, dense))
    assert Mesh(tp=8, pp=9) in set(meshes(72, dense))
    assert all(m.devices <= 6 for m in meshes(6, program(model("mixtral-8x7b"))))


@pytest.mark.parametrize("n", [1, 40])
def test_requests_that_come_at_once_have_no_rate(n):
    asked = question(n=n)
    at_once = replace(asked.requests, arrival_ns=asked.requests.arrival_ns * 0)
    found = plan(replace(asked, requests=at_once))
    assert found.winner is not None
    assert found.explanation is not None
    assert found.explanation.saturation is None


def test_many_cheap_failures_do_not_hide_the_plan_that_keeps_the_targets():
    """Bursts: bounds of the mean pass what bursts break."""
    requests = generate(
        synthetic(rate=30.0, input_tokens=1500, output_tokens=80, arrival_cv=6.0), 500, seed=5
    )
    asked = replace(question(on="h100x8"), requests=requests, targets=Targets(0.6, 0.05, 99.0))
    found = plan(asked)
    assert found.winner is not None
    good = [o for o in everything(asked) if o.meets]
    assert found.winner.candidate.cost == min(o.candidate.cost for o in good)


def test_shared_prefixes_are_not_computed_twice_in_the_bounds():
    requests = generate(preset("agent").traffic, 120, seed=2)
    asked = load(requests, 95.0)
    assert asked.fresh.mean() < asked.input.mean()
    share = 1 - asked.fresh.sum() / asked.input.sum()
    assert share == pytest.approx(describe(requests).cacheable_share, abs=0.1)
    found = plan(
        replace(question(on="h100x4"), requests=requests, targets=Targets(2.0, 0.05, 95.0))
    )
    assert found.winner is not None


def test_the_policy_said_is_each_engines_own_otherwise():
    asked = replace(question(n=60), engines=("vllm", "sglang"), policy={"max_seqs": 64})
    grounds = _grounds(asked, asked.requests, load(asked.requests, 95.0), silent)
    for ground, blocks in zip(grounds, (16, 1), strict=True):
        policies = {o.plan.policy for o in ground.where.options}
        assert {p.max_seqs for p in policies} == {64}
        assert {p.block_size for p in policies} == {blocks}
        assert len({p.max_batched_tokens for p in policies}) > 1
    fixed = replace(asked, policy={"max_batched_tokens": 4096})
    (ground, _) = _grounds(fixed, asked.requests, load(asked.requests, 95.0), silent)
    assert {o.plan.policy.max_batched_tokens for o in ground.where.options} == {4096}


def test_what_is_wished_is_kept():
    found = plan(replace(question(n=80), wish=Wish(tp=2), replicas=1))
    assert {(o.plan.mesh.tp, o.plan.replicas) for o in found.outcomes} == {(2, 1)}


def test_the_winner_is_run_on_all_requests():
    """The first requests come slowly, the rest fast: what does for the first does not for all."""
    slow = generate(synthetic(rate=2.0, input_tokens=1500, output_tokens=100), 2000, seed=1)
    fast = generate(synthetic(rate=40.0, input_tokens=1500, output_tokens=100), 1500, seed=2)
    requests = replace(
        slow,
        arrival_ns=np.append(slow.arrival_ns, slow.arrival_ns[-1] + fast.arrival_ns),
        input_tokens=np.append(slow.input_tokens, fast.input_tokens),
        output_tokens=np.append(slow.output_tokens, fast.output_tokens),
    )
    found = plan(replace(question(on="h100x4"), requests=requests))
    assert found.winner is not None
    assert found.winner.metrics.requests == 3500
    assert found.winner.plan.devices > 1


@pytest.mark.parametrize(
    ("name", "rate", "tpot"), [("llama-3.1-8b", 6.0, 0.0095), ("mixtral-8x7b", 3.0, 0.018)]
)
def test_prefilling_apart_wins_where_it_should(name, rate, tpot, monkeypatch):
    """Long prompts, tight TPOT; against every pair of meshes and numbers of replicas."""
    requests = generate(synthetic(rate=rate, input_tokens=3500, output_tokens=150), 200, seed=7)
    asked = replace(question(name, on="h100x6"), requests=requests, targets=Targets(1, tpot, 99.0))
    found = plan(asked).winner
    monkeypatch.setattr(apart, "KEPT", 10**6)
    monkeypatch.setattr(contest, "LIMIT", 10**6)
    best = plan(asked).winner
    assert found is not None
    assert best is not None
    assert found.plan.mode == "disaggregated"
    assert found.candidate.cost == best.candidate.cost


def test_what_needs_a_link_is_not_planned_without_one():
    found = plan(question(on="xeon-8480x2", rate=0.05, n=20, ttft=60.0, tpot=5.0))
    assert {o.plan.mesh.devices for o in found.outcomes} == {1}
    assert any("no link of xeon-8480" in reason for reason in found.infeasible)
