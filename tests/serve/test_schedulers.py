"""Schedules small enough to work out by hand: steps of one second per batch, whatever is in it."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.plans.types import Policy
from maquette.price.step import Replica, StepModel
from maquette.serve.simulate import Mode, simulate
from maquette.serve.types import FINISHED, REJECTED, TIMED_OUT, Disaggregation, Trace
from maquette.traffic.types import Requests

MODES: tuple[Mode, ...] = ("coalesced", "stepwise")
STEP = StepModel(1.0, 0.0, np.zeros(101), np.zeros(9), ())
TOKENS = StepModel(0.0, 0.0, np.arange(101.0), np.zeros(9), ())  # one second a token
both = pytest.mark.parametrize("mode", MODES)


def requests(*rows: tuple[float, int, int], **more: object) -> Requests:
    arrival, prompt, output = zip(*rows, strict=True)
    ns = np.array(arrival) * 1e9
    return Requests(ns.astype(np.int64), np.array(prompt), np.array(output), **more)  # type: ignore[arg-type]


def replica(step: StepModel = STEP, blocks: int = 0, seqs: int = 8, budget: int = 100) -> Replica:
    return Replica(step, blocks, 4, seqs, budget, kv_bytes_per_token=1.0)


def seconds(trace: Trace) -> tuple[list[float], list[float]]:
    return (trace.first_token_ns / 1e9).tolist(), (trace.finish_ns / 1e9).tolist()


@both
def test_an_arrival_joins_at_the_next_boundary(mode: Mode) -> None:
    trace = simulate(requests((0, 10, 4), (1.5, 10, 1), (2, 5, 1)), [replica()], mode=mode)
    assert seconds(trace) == ([1, 3, 3], [4, 3, 3])  # an arrival at a boundary is in time for it


@both
def test_prompts_are_cut_at_the_budget(mode: Mode) -> None:
    """12 tokens: 8 at once, then 4 beside the second request's 4, whose other 2 come last."""
    trace = simulate(requests((0, 12, 3), (0, 6, 1)), [replica(budget=8)], mode=mode)
    assert seconds(trace) == ([2, 3], [4, 3])
    assert trace.steps_by_tokens[[8, 3, 1]].tolist() == [2, 1, 1]


@both
def test_without_chunks_prompts_go_first_and_stall_decoding(mode: Mode) -> None:
    policy = Policy("prefill-first", chunked_prefill=False)
    trace = simulate(requests((0, 12, 3), (1, 12, 1)), [replica(TOKENS)], policy, mode=mode)
    assert seconds(trace) == ([12, 24], [26, 24])
    gaps = np.repeat(trace.gap_edges_ns[:-1], trace.gap_counts)
    assert gaps == pytest.approx([1e9, 13e9], rel=0.01)  # the second prompt is in the gap


@both
def test_the_newest_is_preempted_and_computed_anew(mode: Mode) -> None:
    """Two prompts of one block each in three blocks: at 4 + 1 tokens the first takes the third."""
    forgetful = Policy(prefix_caching=False)
    trace = simulate(requests((0, 4, 4), (0, 4, 4)), [replica(blocks=3)], forgetful, mode=mode)
    assert trace.preemptions.tolist() == [0, 1]
    assert seconds(trace) == ([1, 1], [4, 7])
    # Once the first has ended: prompt and first token in one step, then two decode steps.
    assert trace.steps_by_tokens[[8, 1, 5]].tolist() == [1, 5, 1]
    gaps = np.repeat(trace.gap_edges_ns[:-1], trace.gap_counts)
    assert gaps == pytest.approx([1e9] * 5 + [4e9], rel=0.01)


@both
def test_priority_is_served_first_and_preempted_last(mode: Mode) -> None:
    urgent = requests((0, 4, 4), (0, 4, 4), priority=np.array([1, 0]))
    trace = simulate(urgent, [replica(blocks=3)], mode=mode)
    assert trace.preemptions.tolist() == [1, 0]
    trace = simulate(urgent, [replica(seqs=1)], mode=mode)
    assert trace.scheduled_ns.tolist() == [4 * 10**9, 0]


@both
def test_a_static_batch_ends_together(mode: Mode) -> None:
    policy = Policy(scheduler="static")
    rows = requests((0, 4, 5), (0, 4, 2), (0, 4, 1))
    trace = simulate(rows, [replica(seqs=2)], policy, mode=mode)
    assert seconds(trace) == ([1, 1, 6], [5, 2, 6])
    assert trace.steps_by_tokens[2] == 4  # both rows are computed to the end


@both
def test_requests_are_dropped_at_the_first_boundary_after_their_time(mode: Mode) -> None:
    trace = simulate(
        requests((0, 4, 5), (0.2, 4, 9), (0.2, 4, 2)),
        [replica(seqs=1)],
        Policy(timeout_s=3.9),
        mode=mode,
    )
    assert trace.status.tolist() == [TIMED_OUT, TIMED_OUT, TIMED_OUT]
    trace = simulate(
        requests((0, 4, 5), (0.2, 4, 9), (0.2, 4, 2)),
        [replica(seqs=1)],
        Policy(timeout_s=5),
        mode=mode,
    )
    assert trace.status.tolist() == [FINISHED, TIMED_OUT, TIMED_OUT]
    assert "2 requests (66.7%) dropped" in trace.warnings[0]
    assert trace.finish_ns.tolist() == [5 * 10**9, -1, -1]


@both
def test_what_never_fits_is_rejected_with_a_reason(mode: Mode) -> None:
    trace = simulate(requests((0, 4, 2), (0, 40, 2)), [replica(blocks=10)], mode=mode)
    assert trace.status.tolist() == [FINISHED, REJECTED]
    assert "KV cache (the longest needs 41, there are 40; first is row 1)" in trace.warnings[0]
    whole = Policy("prefill-first", chunked_prefill=False)
    trace = simulate(requests((0, 4, 2), (0, 40, 2)), [replica(budget=9)], whole, mode=mode)
    assert "max_batched_tokens without chunked prefill" in trace.warnings[0]


@both
def test_clients_of_a_closed_loop_send_one_after_the_other(mode: Mode) -> None:
    rows = requests((0, 4, 3), (0, 4, 1), (0, 4, 2), (0, 4, 1), concurrency=2)
    trace = simulate(rows, [replica()], mode=mode)
    assert (trace.arrival_ns / 1e9).tolist() == [0, 0, 1, 3]
    assert (trace.finish_ns / 1e9).tolist() == [3, 1, 3, 4]


@both
def test_lanes_have_their_own_batches(mode: Mode) -> None:
    two = Replica(STEP, 20, 4, 4, 100, 0.0, lanes=2)
    trace = simulate(requests((0, 4, 3), (0.5, 4, 3), (0.6, 4, 1)), [two], mode=mode)
    assert seconds(trace) == ([1, 1.5, 2], [3, 3.5, 2])
    assert trace.busy_ns == (3 + 3) * 10**9 // 2


PREFIXED = requests(
    *((float(t), 8, 1) for t in (0, 10, 20, 30, 40)),
    block_hash=np.array([1, 2, 1, 2, 1, 3, 7, 8, 1, 2]),
    block_start=np.arange(0, 11, 2),
    block_tokens=4,
)


@both
def test_prefixes_are_found_and_the_oldest_forgotten(mode: Mode) -> None:
    trace = simulate(PREFIXED, [replica(blocks=100)], mode=mode)
    assert trace.cached_tokens.tolist() == [0, 4, 4, 0, 4]  # one token at least is computed
    trace = simulate(PREFIXED, [replica(blocks=2)], mode=mode)
    assert trace.cached_tokens.tolist() == [0, 4, 4, 0, 0]
    trace = simulate(PREFIXED, [replica(blocks=100)], Policy(prefix_caching=False), mode=mode)
    assert not trace.cached_tokens.any()


@both
def test_routing(mode: Mode) -> None:
    def dealt(routing: str) -> list[int]:
        fleet = [replica(blocks=100), replica(blocks=100)]
        trace = simulate(PREFIXED, fleet, Policy(routing=routing), mode=mode)  # type: ignore[arg-type]
        return trace.replica.tolist()

    assert dealt("round-robin") == [0, 1, 0, 1, 0]
    assert dealt("least-outstanding") == [0, 0, 0, 0, 0]
    assert dealt("prefix-aware") == [0, 0, 0, 0, 0]
    busy = requests((0, 4, 9), (0, 4, 2), (0.5, 4, 2), (3.5, 4, 2))
    fleet = [replica(), replica()]
    trace = simulate(busy, fleet, Policy(routing="least-outstanding"), mode=mode)
    assert trace.replica.tolist() == [0, 1, 0, 1]


@both
def test_caches_move_one_after_the_other_over_a_link(mode: Mode) -> None:
    """Prompts of 10 at 1 B a token and 10 B/s: a second each, and half a second of latency."""
    split = Disaggregation((replica(),), bandwidth=10.0, latency=0.5)  # type: ignore[arg-type]
    rows = requests((0, 10, 3), (0, 10, 2), (0, 10, 1))
    trace = simulate(rows, [replica()], disaggregation=split, mode=mode)
    # First tokens at 1; transfers end at 2.5 and 4; the second waits for no step under way.
    assert seconds(trace) == ([1, 1, 1], [4.5, 5.5, 1])
    assert trace.replica.tolist() == [0, 0, 1]
    gaps = np.repeat(trace.gap_edges_ns[:-1], trace.gap_counts)
    assert gaps == pytest.approx([1e9, 2.5e9, 4.5e9], rel=0.01)
