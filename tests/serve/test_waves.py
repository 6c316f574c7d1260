"""What comes out of the clock by itself: waves of KV capacity, and prompts that interrupt decoding.

Neither is a term of any price: both follow from blocks, budgets and the order of steps.
"""

from __future__ import annotations

import numpy as np
import pytest

from maquette.plans.types import Policy
from maquette.price.step import Attention, Floor, Replica, StepModel
from maquette.serve.simulate import simulate
from maquette.traffic.types import Requests

OVERHEAD, PREFILL, TOKEN, SEQ, READ = 2e-3, 5e-4, 1e-5, 1e-4, 1e-8
PROMPT, OUTPUT, BLOCK, BUDGET = 64, 33, 16, 4096


def replica(kv_blocks=0, budget=BUDGET, seqs=64, floor=None):
    n = np.arange(seqs + 1.0)
    reads = np.where(n > 0, READ, 0.0)[None, :]
    step = StepModel(
        OVERHEAD, PREFILL, TOKEN * np.arange(budget + 1.0), SEQ * n,
        (Attention(0, 0.0, READ, np.zeros_like(reads), reads),), floor,
    )  # fmt: skip
    return Replica(step, kv_blocks, BLOCK, seqs, budget, 0.0)


def at_once(n):
    return Requests(np.zeros(n, dtype=np.int64), np.full(n, PROMPT), np.full(n, OUTPUT))


def wave(n):
    """A batch of `n` from its first prompt to its last token."""
    prefill = OVERHEAD + PREFILL + TOKEN * n * PROMPT + SEQ * n + READ * n * PROMPT
    each = OVERHEAD + TOKEN * n + SEQ * n
    context = sum(PROMPT + k for k in range(1, OUTPUT))
    return prefill + (OUTPUT - 1) * each + READ * n * context


@pytest.mark.parametrize(
    "policy",
    [Policy(scheduler="static", prefix_caching=False, chunked_prefill=False),
     Policy(admission="output", prefix_caching=False)],
    ids=["static", "continuous"],
)  # fmt: skip
@pytest.mark.parametrize(("held", "n"), [(10, 10), (10, 11), (10, 25), (7, 28), (64, 20)])
def test_what_the_cache_does_not_hold_waits_for_a_wave(policy, held, n):
    """``ceil(n / held)`` waves, one after another, where a sequence keeps blocks to its end."""
    blocks = -(-(PROMPT + OUTPUT - 1) // BLOCK)  # the last token is not kept
    trace = simulate(at_once(n), [replica(kv_blocks=held * blocks)], policy)
    sizes = [held] * (n // held) + [n % held] * (n % held > 0)
    ends = np.cumsum([wave(k) for k in sizes])
    assert len(sizes) == -(-n // held)
    assert sorted(set(trace.finish_ns)) == pytest.approx((ends * 1e9).tolist(), rel=1e-6)
    assert trace.end_ns == pytest.approx(ends[-1] * 1e9, rel=1e-6)


def interrupted(policy, budget, prompt, floor=None):
    """A sequence that decodes while another's prompt arrives: when each has what it waits for."""
    arrival = np.array([0, 100_000_000])
    requests = Requests(arrival, np.array([PROMPT, prompt]), np.array([200, 1]))
    trace = simulate(requests, [replica(budget=budget, floor=floor)], policy)
    return trace.finish_ns[0] * 1e-9, (trace.first_token_ns[1] - trace.scheduled_ns[1]) * 1e-9


def alone():
    first = OVERHEAD + PREFILL + TOKEN * PROMPT + SEQ + READ * PROMPT
    context = sum(PROMPT + k for k in range(1, 200))
    return first + 199 * (OVERHEAD + TOKEN + SEQ) + READ * context


@pytest.mark.parametrize(("budget", "prompt"), [(257, 1024), (257, 1000), (101, 150), (4096, 3000)])
def test_a_chunked_prompt_slows_the_steps_it_rides_on(budget, prompt):
    """Each of ``ceil(prompt / (budget - 1))`` steps takes its chunk and what a chunk costs."""
    finish, first = interrupted(Policy(prefix_caching=False), budget, prompt)
    steps = -(-prompt // (budget - 1))
    # Chunks read what came before them; the decoding sequence pays for all of it in its gaps.
    read = sum(min((k + 1) * (budget - 1), prompt) for k in range(steps)) * READ
    added = steps * (PREFILL + SEQ) + prompt * TOKEN + read
    assert finish == pytest.approx(alone() + added, rel=1e-6)
    own = steps * (OVERHEAD + TOKEN + SEQ) + added
    assert first == pytest.approx(own, rel=5e-3)  # and the decoding sequence's own context


def test_a_whole_prompt_first_stops_decoding_for_one_step():
    policy = Policy(scheduler="prefill-first", chunked_prefill=False, prefix_caching=False)
    finish, first = interrupted(policy, BUDGET, 3000)
    pause = OVERHEAD + PREFILL + TOKEN * 3000 + SEQ + READ * 3000
    assert first == pytest.approx(pause, rel=1e-9)
    assert finish == pytest.approx(alone() + pause, rel=1e-6)


def test_small_chunks_cost_decoding_more_in_all_and_less_at_once():
    whole = interrupted(Policy(prefix_caching=False), 4096, 3000)
    small = interrupted(Policy(prefix_caching=False), 129, 3000)
    assert small[0] > whole[0] and small[1] > whole[1]
    longest = OVERHEAD + PREFILL + TOKEN * 129 + 2 * SEQ
    assert longest < (OVERHEAD + PREFILL + TOKEN * 3001 + 2 * SEQ) / 5


def test_launching_a_chunk_falls_on_the_steps_that_have_one():
    """Of three steps with prompts two are launched for longer than they compute, each once."""
    tokens = np.arange(258.0)
    device = OVERHEAD + PREFILL + TOKEN * tokens + 2 * SEQ
    floor = Floor(np.zeros(65), np.where(tokens < 200, device + 1e-3, 0.0), np.zeros(65))
    policy = Policy(prefix_caching=False)
    plain, slow = (interrupted(policy, 257, 356, f)[0] for f in (None, floor))
    # The first prompt comes alone; 100 of 356 tokens and one of who decodes beside, all in it.
    first, other = SEQ - READ * PROMPT, -READ * (356 + 64 + 37)
    assert slow - plain == pytest.approx(2e-3 + first + other, abs=1e-6)


def test_a_step_with_both_is_launched_once():
    """Twenty decode beside a prompt: floors of both are 20 ms, and so is every step."""
    floor = Floor(np.full(65, 0.02), np.full(257 + 1, 0.02), np.zeros(65))
    arrival = np.concatenate([np.zeros(20, int), [1_000_000_000]])
    asked = Requests(arrival, np.full(21, 12), np.full(21, 100))
    trace = simulate(asked, [replica(budget=257, floor=floor)], Policy(prefix_caching=False))
    gaps = trace.gap_edges_ns[:-1][trace.gap_counts > 0]
    assert gaps == pytest.approx([0.02e9], rel=0.01)
    assert trace.finish_ns[:20].tolist() == [2 * 10**9] * 20
