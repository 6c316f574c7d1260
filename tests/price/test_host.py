"""Launching, capturing, overlapping and waiting: against counting, and against the walk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.catalogue.engines import engine
from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.errors import InputError
from maquette.models.decoder import program
from maquette.plans.legality import adjusted, capturable
from maquette.plans.types import Mesh, Plan, Policy
from maquette.price.calibration import first_principles, unserved
from maquette.price.captured import captured, largest
from maquette.price.environment import (
    batch_environment,
    mesh_environment,
    mesh_of,
    nothing,
    uniform,
)
from maquette.price.host import launches
from maquette.price.memory import memory
from maquette.price.rates import formats
from maquette.price.replica import replica, stages, step_model
from maquette.price.seconds import walk_seconds
from maquette.price.skew import slowest, stretch
from maquette.search.bounds import GRID, batch_at, curves, load
from maquette.search.explain import sections, shares
from maquette.serve.simulate import simulate
from maquette.traffic.spec import generate, synthetic

H100 = machine("h100-sxm")
CAL = first_principles("h100-sxm", "vllm")
SMALL = replace(CAL, values={**CAL.values, "launch": 1e-6})
VLLM = engine("vllm")
ONE = Mesh()
VLLM_SIZES = [1, 2, 4, *range(8, 257, 8), *range(272, 513, 16)]
SGLANG_SIZES = [1, 2, 4, 8, 12, *range(16, 257, 8), *range(272, 513, 16)]
OLD_SIZES = [1, 2, 4, *range(8, 257, 8)]


@pytest.mark.parametrize(
    ("name", "sizes"), [("vllm", VLLM_SIZES), ("sglang", SGLANG_SIZES), ("vllm-0.6", OLD_SIZES)]
)
def test_batches_are_padded_to_the_sizes_engines_list(name, sizes):
    n = np.arange(1, sizes[-1] + 3)
    size, replayed = captured(engine(name).capture, n, sizes[-1])
    for k, at, hit in zip(n, size, replayed, strict=True):
        assert hit == (k <= sizes[-1])
        assert at == (min(s for s in sizes if s >= k) if hit else k)
    again, still = captured(engine(name).capture, size, sizes[-1])
    assert np.array_equal(again, size) and np.array_equal(still, replayed)


def test_a_size_is_asked_of_engines_that_capture():
    with pytest.raises(InputError, match="captures no sizes"):
        capturable(engine("tensorrt-llm-0"), Policy(captured=8))
    capturable(VLLM, Policy(captured=8))


def test_compiled_plans_are_launched_as_one():
    schedule, plan, found = deployed(found=engine("tensorrt-llm-0"), mesh=Mesh(tp=8))
    step = step_model(schedule, H100, found, plan, SMALL)
    assert step.floor is None


def test_the_largest_size_follows_sequences_devices_and_memory():
    policy = replace(VLLM.policy, max_seqs=100)
    assert largest(VLLM, policy, 1, 80e9) == 200
    assert largest(VLLM, replace(policy, graphs="none"), 1, 80e9) == 0
    assert largest(VLLM, replace(policy, captured=64), 1, 80e9) == 64
    sglang = engine("sglang")
    many = replace(sglang.policy, max_seqs=1000)
    for gib, tp, most in ((16, 1, 8), (24, 1, 48), (48, 8, 160), (80, 1, 256), (80, 4, 512)):
        assert largest(sglang, many, tp, gib * 2**30) == most


def deployed(name="llama-3.2-1b", found=VLLM, mesh=ONE, **policy):
    changed = replace(found.policy, max_batched_tokens=1024, max_seqs=300, **policy)
    plan = Plan(mesh=mesh, policy=changed, engine=found.name)
    return lower(program(model(name)), found), plan, found


def walked(schedule, plan, cal, n, context, prefill=False):
    """Device seconds and launches of a step, padded by hand to nothing."""
    mesh, none = mesh_of(plan), nothing(schedule)
    shape = uniform(schedule, 1 if prefill else n, n if prefill else 1, context)
    given = {"prefill": shape, "decode": none} if prefill else {"prefill": none, "decode": shape}
    env = {
        **mesh_environment(schedule, mesh),
        **formats(H100, plan.precision, schedule),
        **batch_environment(schedule, mesh, **given),
    }
    device = sum(float(s.total) for s in walk_seconds(schedule, H100, cal, env))
    return device + float(stages(schedule, H100, cal, mesh, env)), launches(schedule, env)


def priced(step, n, context, schedule):
    """A decode step of the step model."""
    took = step.overhead + step.tokens[n] + step.seqs[n]
    for a in step.attention:
        reach = min(context, a.window) if a.window else context
        took += (a.at[:, n] + a.slope[:, n] * n * reach).max()
    return took if step.floor is None else max(took, step.floor.decoding[n])


@pytest.mark.parametrize("mesh", [Mesh(), Mesh(tp=4), Mesh(pp=2)])
@pytest.mark.parametrize("n", [1, 8, 64, 256])
def test_an_eager_decode_step_is_the_longer_of_device_and_launching(mesh, n):
    schedule, plan, found = deployed(mesh=mesh, graphs="none")
    device, (every, _) = walked(schedule, plan, SMALL, n, 500)
    step = step_model(schedule, H100, found, plan, SMALL)
    work = SMALL["step"] + n * (SMALL["seq"] + SMALL["token"])
    assert priced(step, n, 500, schedule) == pytest.approx(
        max(device, every * SMALL["dispatch"]) + work
    )
    layers, collectives = 16, 2 * (mesh.tp > 1)
    assert every > layers * (8 + collectives)


def test_a_captured_step_launches_once():
    schedule, plan, found = deployed()
    device, _ = walked(schedule, plan, SMALL, 64, 500)
    step = step_model(schedule, H100, found, plan, SMALL)
    work = SMALL["step"] + 64 * (SMALL["seq"] + SMALL["token"])
    assert priced(step, 64, 500, schedule) == pytest.approx(device + work)
    tokens = step.tokens - np.arange(len(step.tokens)) * SMALL["token"]
    assert tokens[57] == pytest.approx(tokens[64], rel=1e-12) and tokens[65] > tokens[64]


def test_what_binds_the_device_does_not_notice_launching():
    schedule, plan, found = deployed("llama-3.1-8b", graphs="none")
    eager = step_model(schedule, H100, found, plan, CAL)
    replayed = step_model(schedule, H100, *(found, plan.but(policy=found.policy)), CAL)
    assert priced(eager, 64, 8000, schedule) == pytest.approx(
        priced(replayed, 64, 8000, schedule), rel=1e-9
    )


@pytest.mark.parametrize("graphs", ["none", "decode", "piecewise", "full"])
@pytest.mark.parametrize("tokens", [16, 512, 1000])
def test_a_prompt_is_the_longer_of_device_and_its_launches(graphs, tokens):
    """The longer of device and launching, the attention of the prompt included."""
    schedule, plan, found = deployed(mesh=Mesh(tp=8), graphs=graphs)
    device, (every, between) = walked(schedule, plan, SMALL, tokens, tokens, prefill=True)
    step = step_model(schedule, H100, found, plan, SMALL)
    pairs = tokens * (tokens + 1) / 2
    attention = sum(max(a.pair * pairs, a.read * tokens) for a in step.attention)
    took = step.overhead + step.tokens[tokens] + step.seqs[1] + step.prefill + attention
    took = max(took, step.floor.chunk[tokens] + step.floor.seqs[1])
    replayed = graphs in ("piecewise", "full") and tokens <= 512
    launching = (between if replayed else every) * SMALL["dispatch"]
    work = SMALL["step"] + SMALL["seq"] + tokens * SMALL["token"]
    assert took == pytest.approx(max(device, launching) + work, rel=1e-9)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize(("n", "tokens"), [(1, 16), (64, 128), (200, 512)])
def test_a_mixed_step_is_launched_once(overlap, n, tokens):
    """Eager: the longer of all that the device does, walked, and of launching that once."""
    schedule, plan, found = deployed("gemma-2-9b", graphs="none", overlap=overlap)
    mesh = mesh_of(plan)
    decode, prefill = uniform(schedule, n, 1, 500), uniform(schedule, 1, tokens, tokens)
    env = {
        **mesh_environment(schedule, mesh),
        **formats(H100, plan.precision, schedule),
        **batch_environment(schedule, mesh, prefill=prefill, decode=decode),
    }
    device = sum(float(s.total) for s in walk_seconds(schedule, H100, SMALL, env))
    launch = float(launches(schedule, env)[0]) * SMALL["dispatch"]
    work = SMALL["step"] + (n + 1) * SMALL["seq"] + (n + tokens) * SMALL["token"]
    expected = max(device, work + launch) if overlap else work + max(device, launch)
    step = step_model(schedule, H100, found, plan, SMALL)
    took = step.overhead + step.tokens[n + tokens] + step.seqs[n + 1] + step.prefill
    for a, name in zip(step.attention, schedule.windows, strict=True):
        took += max(a.pair * prefill[f"pairs:{name}"], a.read * prefill[f"context:{name}"])
        took += (a.at[:, n] + a.slope[:, n] * decode[f"context:{name}"]).max()
    took = max(took, step.floor.chunk[n + tokens] + step.floor.seqs[n + 1])
    assert took == pytest.approx(expected, rel=1e-9)


def test_host_work_that_overlaps_is_hidden_behind_the_device():
    busy = replace(CAL, values={**CAL.values, "step": 4e-3})
    for n, context in ((1, 10), (200, 2000)):
        schedule, plan, found = deployed(overlap=True)
        at = int(captured(found.capture, n, 512)[0])
        step = step_model(schedule, H100, found, plan, busy)
        mesh = {**walked_env(schedule, plan, n, context), "tokens": float(at)}
        device = sum(float(s.total) for s in walk_seconds(schedule, H100, busy, mesh))
        host = busy["step"] + n * (busy["seq"] + busy["token"]) + busy["dispatch"]
        assert priced(step, n, context, schedule) == pytest.approx(max(device, host), rel=1e-6)


def walked_env(schedule, plan, n, context):
    mesh = mesh_of(plan)
    shape = uniform(schedule, n, 1, context)
    return {
        **mesh_environment(schedule, mesh),
        **formats(H100, plan.precision, schedule),
        **batch_environment(schedule, mesh, prefill=nothing(schedule), decode=shape),
    }


# -- ranks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 8, 72])
def test_the_slowest_rank_against_drawing(n):
    rng = np.random.default_rng(n)
    drawn = rng.normal(size=(200_000, n)).max(axis=1)
    assert slowest(n) == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 200_000**0.5)
    assert stretch(0.1, np.array([[n], [1]])).tolist() == [[1 + 0.1 * slowest(n)], [1.0]]


def test_slowest_of_two_and_three_in_closed_form():
    assert slowest(2) == pytest.approx(np.pi**-0.5, abs=1e-7)
    assert slowest(3) == pytest.approx(1.5 * np.pi**-0.5, abs=1e-7)


def test_jitter_stretches_what_the_device_does():
    schedule, plan, found = deployed(mesh=Mesh(tp=4), jitter=0.05)
    even = step_model(schedule, H100, found, plan.but(policy=replace(plan.policy, jitter=0.0)), CAL)
    uneven = step_model(schedule, H100, found, plan, CAL)
    host = CAL["step"] + 8 * (CAL["seq"] + CAL["token"])
    ratio = (priced(uneven, 8, 900, schedule) - host) / (priced(even, 8, 900, schedule) - host)
    assert ratio == pytest.approx(1 + 0.05 * slowest(4))


def test_skewed_experts_are_waited_for():
    took = []
    for skew in (0.0, 0.5, 1.0):
        schedule, plan, found = deployed("mixtral-8x7b", mesh=Mesh(tp=8, ep=8), expert_skew=skew)
        step = step_model(schedule, H100, found, plan, CAL)
        took.append(step.tokens[1000])
    assert took[0] < took[1] < took[2]


# -- bounds of the planner ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llama-3.2-1b", "mixtral-8x7b"])
@pytest.mark.parametrize(
    "policy",
    [{"graphs": "none"}, {"graphs": "decode"}, {"overlap": True}, {"jitter": 0.1},
     {"expert_skew": 0.8}, {"captured": 32}],
)  # fmt: skip
def test_bounds_are_the_step_model_or_less(name, policy):
    meshes = [Mesh(tp=2), Mesh(tp=4, ep=4) if "x" in name else Mesh(tp=4), Mesh(tp=2, pp=2)]
    schedule, first, found = deployed(name, mesh=meshes[0], **policy)
    plans = [first.but(mesh=m) for m in meshes]
    asked = load(generate(synthetic(rate=1, input_tokens=400, output_tokens=60), 20, seed=0), 99.0)
    curve = curves(schedule, H100, found, SMALL, plans, asked)
    for row, plan in enumerate(plans):
        step = replica(schedule, H100, found, plan, SMALL).step
        ours = np.array([priced(step, int(n), asked.held, schedule) for n in GRID if n <= 300])
        bound = np.broadcast_to(curve.step, (len(plans), len(GRID)))[row, : len(ours)]
        assert (bound <= ours * (1 + 1e-9)).all()
        at = [i for i in range(len(ours)) if GRID[i] in (1, 2, 8)]
        if policy.get("captured", 999) >= 8:
            assert bound[at] == pytest.approx(ours[at], rel=1e-6)


SLOW = replace(SMALL, values={**SMALL.values, "stream": 1e-4, "accept": 0.02})


@pytest.mark.parametrize("mesh", [Mesh(tp=2), Mesh(pp=2)])
@pytest.mark.parametrize("slow", ["stream", "accept"])
def test_bounds_know_the_server(mesh, slow):
    """Steps and rates against the clock, everything asked for at once."""
    cal = replace(unserved(SMALL), values={**unserved(SMALL).values, slow: SLOW[slow]})
    schedule, first, found = deployed(mesh=mesh)
    asked = generate(synthetic(rate=1e4, input_tokens=100, output_tokens=30), 400, seed=0)
    curve = curves(schedule, H100, found, cal, [first], load(asked, 99.0))
    one = replica(schedule, H100, found, first, cal)
    known = [n for n in GRID if n <= 300]
    ours = [priced(one.step, int(n), load(asked, 99.0).held, schedule) for n in known]
    assert (curve.step[0, : len(known)] <= np.array(ours) * (1 + 1e-9)).all()
    if slow == "stream":
        assert curve.step[0, 30:40] == pytest.approx(1e-4 * mesh.lanes * GRID[30:40])
    trace = simulate(asked, [one], first.policy)
    rate, most = len(asked) / (trace.end_ns * 1e-9), curve.rate[0].max()
    assert rate <= most <= 1.3 * rate


@pytest.mark.parametrize(
    ("clients", "inputs", "outputs", "slow"),
    [
        (512, 64, 16, {}),  # the door lets fewer in
        (512, 64, 16, {"stream": 8e-5}),
        (256, 64, 8, {"stream": 8e-5, "accept": 1e-9}),  # first tokens are a step of few
        (100, 8000, 10, {}),  # prompts fill every step
        (64, 500, 100, {"stream": 1e-4}),
        (32, 200, 2, {"request": 0.05}),
    ],
)
@pytest.mark.parametrize("engine_name", ["vllm", "vllm-0.6", "sglang"])
def test_a_loop_decodes_no_more_than_its_clients(engine_name, clients, inputs, outputs, slow):
    cal = replace(CAL, values={**CAL.values, **slow})
    schedule, plan, found = deployed(found=engine(engine_name))
    plan = replace(plan, policy=replace(found.policy, max_seqs=512))
    spec = synthetic(concurrency=clients, input_tokens=inputs, output_tokens=outputs)
    asked = generate(spec, 6 * clients, seed=0)
    curve = curves(schedule, H100, found, cal, [plan], load(asked, 99.0))
    bound = np.interp(curve.looped(0, clients), GRID, curve.tpot[0])
    trace = simulate(asked, [replica(schedule, H100, found, plan, cal)], plan.policy)
    took, steps = trace.finish_ns - trace.first_token_ns, asked.output_tokens - 1
    lasting = slice(clients, -2 * clients)  # the last have fewer beside them
    assert bound <= took[lasting].sum() * 1e-9 / steps[lasting].sum()


def test_a_rate_is_reached_at_the_least_batch():
    rates = np.minimum(GRID * 2.0, 100.0)
    assert batch_at(rates, 100.0) == GRID[GRID >= 50][0]
    assert batch_at(rates, 7.0) == pytest.approx(3.5)
    assert batch_at(rates, 0.0) == 1.0 and batch_at(rates, 101.0) == GRID[-1]


@pytest.mark.parametrize(
    ("n", "mesh"), [(4, Mesh(tp=4)), (250, Mesh(tp=4)), (100, Mesh(tp=2, pp=2)), (4, Mesh(pp=2))]
)
def test_a_step_explained_adds_up_to_what_the_clock_takes(n, mesh):
    """Handing over is in it, and the server where it is the slowest."""
    schedule, plan, found = deployed(mesh=mesh)
    at = int(captured(found.capture, n, 512)[0])
    parts, more = sections(schedule, H100, found, plan, SLOW, batch=n, new=1.0, context=300)
    rows = {s.section: s for s in shares(parts, more)}
    step = replica(schedule, H100, found, plan, SLOW).step
    took = sum(s.seconds for s in rows.values())
    assert took == pytest.approx(priced(step, n, 300, schedule), rel=0.02 if at > n else 1e-6)
    assert ("server" in rows) == (n >= 100)
    assert ("to the next stage" in rows) == (mesh.pp > 1)


def test_policies_say_what_can_be():
    with pytest.raises(InputError) as caught:
        adjusted(Policy(), {"graphs": "some", "jitter": -1.0, "reserve": float("nan")})
    assert [f.where for f in caught.value.faults] == ["graphs", "reserve", "jitter"]


@pytest.mark.parametrize("graphs", ["full", "none"])
def test_no_step_is_shorter_than_sending_its_tokens(graphs):
    """One server sends the tokens of all lanes; what a device takes longer for hides it."""
    schedule, plan, found = deployed(mesh=Mesh(pp=2), graphs=graphs)
    slow = replace(CAL, values={**CAL.values, "stream": 1e-4})
    without, with_ = (
        replica(schedule, H100, found, plan, cal).step for cal in (unserved(CAL), slow)
    )
    sent = np.arange(plan.policy.max_seqs + 1) * 1e-4 * 2
    least = without.floor.decoding if without.floor else 0.0
    assert np.array_equal(with_.floor.decoding, np.maximum(least, sent))
    assert np.array_equal(with_.floor.sent, sent)
    if without.floor:  # beside launching, not after it
        assert np.array_equal(with_.floor.seqs, without.floor.seqs)
        assert np.array_equal(with_.floor.chunk, without.floor.chunk)
    assert np.array_equal(with_.tokens, without.tokens) and with_.overhead == without.overhead
    one = replica(schedule, H100, found, replace(plan, mesh=ONE), slow)
    apart = generate(synthetic(rate=1e4, input_tokens=8, output_tokens=200), 200, seed=0)
    trace = simulate(apart, [one], plan.policy)
    assert apart.output_tokens.sum() / (trace.end_ns * 1e-9) < 1e4
    quick = replica(schedule, H100, found, replace(plan, mesh=ONE), unserved(CAL))
    assert simulate(apart, [quick], plan.policy).end_ns < trace.end_ns


def test_passes_of_a_step_take_the_memory_of_one():
    found = engine("lmdeploy-0.2")
    schedule, plan = lower(program(model("llama-2-7b")), found), Plan(policy=found.policy)
    budget = found.policy.max_batched_tokens
    assert found.pass_tokens < budget
    held = [
        memory(schedule, H100, replace(found, pass_tokens=n), plan).activations
        for n in (None, budget, found.pass_tokens)
    ]
    assert held[0] == held[1] > 5 * held[2]
