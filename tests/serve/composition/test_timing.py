"""Batches as priced: those of the serving simulation, to the nanosecond."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.plans.types import Policy
from maquette.price.step import Attention, Replica, StepModel
from maquette.serve.composition.timing import Priced, packed
from maquette.serve.simulate import simulate
from maquette.traffic.types import Requests

SEQS, BUDGET = 6, 64


def replica(window: int = 0) -> Replica:
    """Prices with every feature: overheads, tokens, sequences, attention with two pieces."""
    n = np.arange(SEQS + 1, dtype=float)
    some = (n > 0) * 1.0
    attention = Attention(
        window,
        pair=2e-9,
        read=3e-8,
        at=np.stack([0 * n, 4e-6 * some]),
        slope=np.stack([1e-7 * some, 2e-8 * some]),
    )
    tokens = 1e-6 * np.arange(BUDGET + 1)
    step = StepModel(3e-4, 1e-5, tokens, 2e-6 * n, (attention,))
    return Replica(step, 10_000, 4, SEQS, BUDGET, kv_bytes_per_token=0)


# Together within the budget: what could exceed it when preempted is refused by the scheduler.
lengths = st.lists(st.tuples(st.integers(1, 34), st.integers(1, 30)), min_size=1, max_size=SEQS)


@given(lengths, st.sampled_from([0, 16]))
@settings(max_examples=80, deadline=None)
def test_a_batch_takes_what_serving_it_alone_takes(batch, window):
    prompts, outputs = zip(*batch, strict=True)
    run = Priced(replica(window), layers=4).run(prompts, outputs)
    n = len(batch)
    alone = Requests(np.zeros(n, np.int64), np.array(prompts), np.array(outputs))
    policy = Policy("prefill-first", chunked_prefill=False, prefix_caching=False)
    trace = simulate(alone, [replica(window)], policy)
    assert run.first_ns == tuple(trace.first_token_ns.tolist())
    assert run.finish_ns == tuple(trace.finish_ns.tolist())
    assert run.step_ns == min(run.first_ns)


def test_prompts_beyond_the_budget_are_cut():
    run = Priced(replica(), layers=1).run((200,), (1,))
    assert run.total_ns == run.first_ns[0] > 3 * run.step_ns


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.integers(1, 30))
def test_packing_keeps_every_token_and_the_budget(prompts, budget):
    steps = packed(tuple(prompts), budget)
    assert all(0 < sum(c[2] for c in step) <= budget for step in steps)
    for rid, prompt in enumerate(prompts):
        mine = [c for step in steps for c in step if c[0] == rid]
        assert [c[1] for c in mine] == np.cumsum([0] + [c[2] for c in mine])[:-1].tolist()
        assert sum(c[2] for c in mine) == prompt


@pytest.mark.parametrize("outputs", [(1,), (1, 1, 1)])
def test_single_tokens_need_no_decoding(outputs):
    run = Priced(replica(), layers=1).run((10,) * len(outputs), outputs)
    assert run.first_ns == run.finish_ns
