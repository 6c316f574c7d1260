"""What holds for every simulation, numbered.

1. Tokens are conserved.
2. KV blocks never exceed capacity and all come back.
3. No request starts before it arrives; first token and finish follow in order.
4. Nothing of one lane overlaps: its clock only goes forward.
5. The same input gives the same bytes.
6. No step exceeds the token budget or the sequences allowed.
7. Work is conserved: a replica with waiting work that fits is never idle.
8. The order in which equal replicas are listed changes nothing.
9. Scaling every duration and arrival by c scales every time by c.
10. One request at a time with constant service waits as Pollaczek and Khinchine say.
11. Little's law: mean number in the system is rate times mean time in it.
12. Dropped requests never raise the throughput.
13. What a request takes outside the engine comes before all else of it: an open loop happens as
    much later, and a lone client of a closed one waits for it every time.
14. Servers accept one request at a time: an open loop happens as one whose requests were sent when
    they were accepted, and no client of a closed one is served sooner after another.
"""

from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.plans.types import Policy
from maquette.price.step import Attention, Replica, StepModel
from maquette.serve.metrics import latencies, summary
from maquette.serve.simulate import Simulation, simulate
from maquette.serve.types import FINISHED, Trace
from maquette.traffic.types import Requests
from serve.serving_cases import Case, case_of, cases

some = settings(max_examples=60, deadline=None)


def run(case: Case, mode: str = "coalesced") -> Trace:
    return simulate(
        case.requests,
        case.replicas,
        case.policy,
        mode=mode,  # type: ignore[arg-type]
        disaggregation=case.split,
    )


def constant(seconds: float, seqs: int = 1) -> Replica:
    """A replica whose every step takes as long."""
    step = StepModel(seconds, 0.0, np.zeros(4097), np.zeros(seqs + 1), ())
    return Replica(step, 0, 16, seqs, 4096, 0.0)


def poisson(rate: float, n: int, seed: int, output: int = 1) -> Requests:
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1e9 / rate, n)).astype(np.int64)
    return Requests(arrival, np.full(n, 10), np.full(n, output))


@some
@given(cases)
def test_1_tokens_are_conserved(case: Case) -> None:
    trace = run(case)
    done = trace.status == FINISHED
    computed = int((np.arange(len(trace.steps_by_tokens)) * trace.steps_by_tokens).sum())
    output, prompt = trace.output_tokens[done], trace.input_tokens[done]
    cached = trace.cached_tokens[done]
    least = int((prompt - cached).sum() + (output - 1).sum())
    if done.all() and not trace.preemptions.any() and case.policy.scheduler == "continuous":
        assert computed == least
        assert int(trace.gap_counts.sum()) == int((output - 1).sum())
    assert computed >= least
    assert int(trace.gap_counts.sum()) >= int((output - 1).sum())
    assert (trace.gap_counts >= 0).all()
    assert (trace.cached_tokens < trace.input_tokens).all()  # one token is always computed
    assert int(trace.steps_by_tokens.sum()) == int(trace.steps_by_seqs.sum()) == trace.steps


@some
@given(cases)
def test_2_blocks_are_conserved(case: Case) -> None:
    simulation = Simulation(
        case.requests, case.replicas, case.policy, "coalesced", case.split, 10**9
    )
    simulation.cluster.run()
    for lane in simulation.lanes:
        reserved = getattr(lane, "_reserved", 0)  # a static batch keeps its blocks to the next
        assert lane.blocks.available + reserved == lane.blocks.capacity
        assert not lane.blocks._held
        assert lane.blocks.idle_blocks == sum(lane.blocks.idle.values())
        lane.blocks.evict()  # as whoever looks does
        assert lane.blocks.idle_blocks == sum(lane.blocks.idle.values()) <= lane.blocks.capacity
    segments = simulation.trace().segments
    everyone = [*case.replicas, *(case.split.prefill if case.split else ())]
    for number, one in enumerate(everyone):
        used = segments.kv_blocks[segments.replica == number]
        assert (used >= 0).all()
        if one.kv_blocks and len(used):
            assert used.max() <= -(-one.kv_blocks // one.lanes)


@some
@given(cases)
def test_3_order_of_a_request(case: Case) -> None:
    trace = run(case)
    done = trace.status == FINISHED
    seen = trace.scheduled_ns >= 0
    assert (trace.scheduled_ns >= trace.arrival_ns)[seen].all()
    assert (trace.first_token_ns > trace.scheduled_ns)[done].all()
    assert (trace.finish_ns >= trace.first_token_ns)[done].all()
    assert ((trace.finish_ns == trace.first_token_ns) == (trace.output_tokens == 1))[done].all()
    assert (trace.finish_ns == -1)[~done].all()
    assert trace.end_ns >= trace.finish_ns.max()


@some
@given(cases)
def test_4_the_clock_goes_forward(case: Case) -> None:
    trace = simulate(
        case.requests,
        [replace(r, lanes=1) for r in case.replicas],
        case.policy,
        max_segments=10**9,
    )
    s = trace.segments
    assert (s.end_ns >= s.start_ns).all()
    for number in range(len(case.replicas)):
        mine = s.replica == number
        assert (s.start_ns[mine][1:] >= s.end_ns[mine][:-1] - 1).all()  # each rounded by itself


@some
@given(cases)
def test_5_the_same_bytes(case: Case) -> None:
    assert pickle.dumps(run(case)) == pickle.dumps(run(case))


@some
@given(cases)
def test_6_no_step_exceeds_its_budget(case: Case) -> None:
    trace = run(case)
    everyone = [*case.replicas, *(case.split.prefill if case.split else ())]
    tokens, seqs = (np.flatnonzero(c) for c in (trace.steps_by_tokens, trace.steps_by_seqs))
    if trace.steps:
        assert tokens.max() <= max(r.max_batched_tokens for r in everyone)
        assert seqs.max() <= max(-(-r.max_seqs // r.lanes) for r in everyone)
        assert tokens.min() >= 1
        assert seqs.min() >= 1


@some
@given(cases)
def test_7_work_is_conserved(case: Case) -> None:
    """Whoever waits does so while the only replica is in a step."""
    trace = simulate(
        case.requests, [replace(case.replicas[0], lanes=1)], case.policy, max_segments=10**9
    )
    s = trace.segments
    idle = np.flatnonzero(s.start_ns[1:] > s.end_ns[:-1] + 1)
    started = trace.scheduled_ns[trace.status == FINISHED]
    arrived = trace.arrival_ns[trace.status == FINISHED]
    for gap in idle:
        begin, end = s.end_ns[gap] + 1, s.start_ns[gap + 1] - 1
        assert not ((arrived < end) & (started > begin)).any()


@some
@given(cases, st.integers(1, 3))
def test_8_equal_replicas_are_interchangeable(case: Case, shift: int) -> None:
    fleet = [replace(case.replicas[0]) for _ in range(3)]
    a = simulate(case.requests, fleet, case.policy)
    b = simulate(case.requests, fleet[shift:] + fleet[:shift], case.policy)
    for name in ("scheduled_ns", "first_token_ns", "finish_ns", "replica", "gap_counts"):
        assert np.array_equal(getattr(a, name), getattr(b, name))


@some
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 7]))
def test_9_time_has_no_unit(seed: int, c: int) -> None:
    case = case_of(seed)
    slower = [replace(r, step=r.step.scaled(c)) for r in case.replicas]
    limit = case.policy.timeout_s
    policy = replace(case.policy, timeout_s=None if limit is None else limit * c)
    requests = replace(case.requests, arrival_ns=case.requests.arrival_ns * c)
    if c == 2 or limit is None:  # other factors round differently, and ties may part
        a = simulate(case.requests, case.replicas, case.policy)
        b = simulate(requests, slower, policy)
        if (a.status == b.status).all() and a.steps == b.steps:
            off = np.abs(b.finish_ns - c * a.finish_ns)[a.status == FINISHED]
            assert (off <= c).all()
        else:
            assert c != 2, "doubling keeps every rounding"


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_10_pollaczek_khinchine(load: float) -> None:
    service = 0.1
    waits = []
    for seed in range(12):
        trace = simulate(poisson(load / service, 8000, seed), [constant(service)])
        waits.append(latencies(trace)["queue"].mean())
    expected = load * service / (2 * (1 - load))
    error = np.std(waits, ddof=1) / np.sqrt(len(waits))
    assert abs(np.mean(waits) - expected) < 4 * error
    assert error < 0.05 * expected


def test_11_littles_law() -> None:
    """The number in the system, integrated over the timeline, against rate times time."""
    fleet = [constant(0.05, seqs=8)]
    trace = simulate(poisson(4.0, 5000, 3, output=20), fleet, max_segments=10**9)
    s = trace.segments
    area = float((s.running * (s.end_ns - s.start_ns)).sum()) / trace.end_ns
    metrics = summary(trace)
    assert metrics.mean_running == pytest.approx(area, rel=1e-6)
    total = metrics.requests_per_s * metrics.e2e.mean
    assert metrics.mean_running + metrics.mean_waiting == pytest.approx(total, rel=1e-9)


def test_12_dropping_never_raises_throughput() -> None:
    busy, fleet = poisson(30.0, 400, 1, output=20), [constant(0.05, seqs=8)]
    whole = summary(simulate(busy, fleet))
    for timeout in (0.5, 1.2, 3.0, 10.0):
        cut = summary(simulate(busy, fleet, Policy(timeout_s=timeout)))
        assert cut.timed_out > 0
        assert any("dropped" in w for w in cut.warnings)
        assert cut.output_tokens_per_s <= whole.output_tokens_per_s * (1 + 1e-9)


@some
@given(cases, st.integers(1, 50))
def test_13_outside_the_engine(case: Case, ms: int) -> None:
    """Numbers are whole milliseconds, so that clocks agree to the last digit."""

    def away(replicas: tuple[Replica, ...]) -> tuple[Replica, ...]:
        return tuple(replace(r, request=ms * 1e-3) for r in replicas)

    policy = replace(case.policy, timeout_s=None)
    split = case.split and replace(case.split, prefill=away(case.split.prefill))
    near = run(replace(case, policy=policy))
    far = run(replace(case, policy=policy, replicas=away(case.replicas), split=split))
    if not case.requests.concurrency:
        assert np.array_equal(near.arrival_ns, far.arrival_ns)
        for name in ("scheduled_ns", "first_token_ns", "finish_ns"):
            before, after = getattr(near, name), getattr(far, name)
            assert np.array_equal(np.where(before < 0, before, before + ms * 10**6), after)
        # Nobody waits for a place there.
        assert np.allclose(latencies(near)["queue"], latencies(far)["queue"], atol=1e-9)
    else:
        alone = replace(case.requests, concurrency=1)
        lone = simulate(alone, away((constant(0.01),)))
        done = lone.status == FINISHED
        took = ms * 10**6 + 10**7 * (-(-alone.input_tokens // 4096) + alone.output_tokens - 1)
        assert np.array_equal((lone.finish_ns - lone.arrival_ns)[done], took[done])
        assert np.array_equal(lone.arrival_ns[1:], lone.finish_ns[:-1])


@some
@given(cases, st.integers(1, 200))
def test_14_servers_accept_one_by_one(case: Case, ms: int) -> None:
    def slow(replicas: tuple[Replica, ...]) -> tuple[Replica, ...]:
        return tuple(replace(r, accept=ms * 1e-3 * len(replicas)) for r in replicas)

    policy = replace(case.policy, timeout_s=None)
    split = case.split and replace(case.split, prefill=slow(case.split.prefill))
    found = run(replace(case, policy=policy, replicas=slow(case.replicas), split=split))
    if not case.requests.concurrency:
        spaced = np.arange(len(case.requests)) * ms * 10**6
        sent = case.requests.arrival_ns - case.requests.arrival_ns[0]
        spaced += np.maximum.accumulate(sent - spaced)
        sent_then = replace(case.requests, arrival_ns=spaced)
        later = run(replace(case, policy=policy, requests=sent_then))
        assert np.array_equal(found.arrival_ns, sent)
        for name in ("scheduled_ns", "first_token_ns", "finish_ns"):
            assert np.array_equal(getattr(found, name), getattr(later, name))
    else:
        quick = replace(constant(1e-9), accept=ms * 1e-3)
        many = simulate(replace(case.requests, concurrency=len(case.requests)), (quick,))
        times = np.sort(many.scheduled_ns[many.scheduled_ns >= 0])
        assert np.all(np.diff(times) >= ms * 10**6)


def test_traces_pickle_and_have_plain_columns() -> None:
    trace = run(case_of(1))
    for field in fields(trace):
        value = getattr(trace, field.name)
        if isinstance(value, np.ndarray):
            assert value.dtype in (np.int64, np.float64), field.name


def test_attention_of_a_whole_prompt_is_a_triangle() -> None:
    at = np.zeros((1, 3))
    step = StepModel(1e-3, 0, np.zeros(65), np.zeros(3), (Attention(0, 1e-6, 0, at, at),))
    trace = simulate(
        Requests(np.array([0]), np.array([100]), np.array([5])), [Replica(step, 0, 16, 2, 64, 0)]
    )
    assert trace.prefill_pairs == (100 * 101 / 2,)
    assert trace.decode_context == (101 + 102 + 103 + 104,)
