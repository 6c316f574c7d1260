"""The clock of a composition against closed forms, an independent cache, and what must hold."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.serve.composition import published
from maquette.serve.composition.closed import fit, lru_hit_rate, table5, without_hits, zipf
from maquette.serve.composition.figures import figures
from maquette.serve.composition.popularity import drawn
from maquette.serve.composition.simulate import simulate
from maquette.serve.composition.timing import Stated
from maquette.serve.composition.types import (
    AHEAD,
    COPIED,
    RESIDENT,
    Composition,
    Node,
    Swapping,
)
from serve.composition.composing import GB, MS, asked, composition, sizes, stated, stream

AHEAD_OF_TIME = Swapping(prefetch="router", overlap=True)


@pytest.mark.parametrize(("batch", "output"), [(1, 20), (8, 20), (8, 200)])
def test_without_hits_the_closed_form(batch, output):
    # Asked for in turn, none of 150 experts is found among 37: LRU has just dropped it.
    of = composition([13_480_000_000] * 150, 37 * 13_480_000_000, router_tokens=20)
    n = batch * 40
    done = simulate(of, stream([i % 150 for i in range(n)], batch, output))
    # A stated prefill ends with the first token: it is a step longer than the closed form's.
    each = without_hits(30 + 19 * 2, 13.48, 30 - 2, 2, batch, output)
    assert done.end_ns == pytest.approx(40 * each * MS, abs=n)
    assert (done.found == COPIED).all()


def test_table_five_is_the_limit_of_the_simulation():
    found = fit()
    step = 13_476_831_232 / published.NODE_COPY / found.copy

    def took(row: published.Speedup, rate: float, run: float, router: float) -> int:
        def timing(factor: float) -> Stated:
            prefill = (found.prefill + 1) * step * factor
            return Stated(prefill, step * factor, "fitted")

        hosted = dict.fromkeys(range(150), timing(run))
        node = Node("n", hosted, frozenset(), 37 * 13_476_831_232, rate, timing(router))
        names = tuple(map(str, range(150)))
        of = Composition(names, (13_476_831_232,) * 150, (node,), Swapping(), 20)
        turns = stream([i % 150 for i in range(160)], row.batch, row.output_tokens)
        return simulate(of, turns).end_ns

    for row, closed in zip(published.OVERALL, table5(), strict=True):
        ours = took(row, published.NODE_COPY, 1.0, 1.0)
        slower = published.EXPERT[row.baseline, row.output_tokens]
        router = published.EXPERT[row.baseline, published.ROUTER_TOKENS]
        theirs = took(row, published.HOST_LINK[row.baseline], slower, router)
        # The router's last 20 steps here are 19 and its prefill one longer: the same.
        assert theirs / ours == pytest.approx(closed.computed, rel=1e-6)


@given(asked, sizes, st.integers(9, 30))
@settings(max_examples=80, deadline=None)
def test_lru_is_that_of_an_independent_cache(experts, nbytes, room):
    done = simulate(composition(nbytes, room * GB), stream(experts))
    kept: OrderedDict[int, int] = OrderedDict()
    moved = evicted = 0
    for rid, expert in enumerate(experts):
        if expert in kept:
            kept.move_to_end(expert)
            assert done.found[rid] == RESIDENT
            continue
        assert done.found[rid] == COPIED
        while sum(kept.values()) + nbytes[expert] > room * GB:
            kept.popitem(last=False)
            evicted += 1
        kept[expert] = nbytes[expert]
        moved += nbytes[expert]
    use = done.uses[0]
    assert (use.bytes_moved, use.evictions) == (moved, evicted)
    assert use.copy_ns == use.stall_ns == moved / 1e12 * 1e9


policies = st.builds(
    lambda ahead, overlap, depth, batching, most: Swapping(
        prefetch="router" if ahead else "none",
        overlap=overlap or ahead,
        depth=depth,
        batch_by_expert=batching,
        max_batch=most,
    ),
    st.booleans(), st.booleans(), st.integers(1, 4), st.booleans(), st.integers(1, 5),
)  # fmt: skip


@given(asked, sizes, st.integers(9, 30), policies, st.integers(0, 5), st.data())
@settings(max_examples=150, deadline=None)
def test_what_always_holds(experts, nbytes, room, policy, batch, data):
    gaps = data.draw(
        st.lists(st.integers(0, 80 * MS), min_size=len(experts), max_size=len(experts))
    )
    outputs = data.draw(st.lists(st.integers(1, 9), min_size=len(experts), max_size=len(experts)))
    of = composition(nbytes, room * GB, policy, layers=4)
    asked_for = stream(experts, batch, arrivals=np.cumsum(gaps) - gaps[0], outputs=outputs)
    done = simulate(of, asked_for)
    assert (done.arrival_ns >= 0).all() and (done.arrival_ns <= done.routed_ns).all()
    assert (done.routed_ns <= done.start_ns).all() and (done.start_ns < done.first_token_ns).all()
    # Every answer takes as long as its tokens; what is shared is only the batch's end.
    steps = (np.array(outputs) - 1) * 2 * MS
    assert (done.finish_ns - done.first_token_ns == steps).all()
    use = done.uses[0]
    assert use.router_ns + use.compute_ns + use.stall_ns <= done.end_ns
    assert use.copies - use.evictions <= len(set(experts))
    assert use.prefetches <= use.copies <= use.runs
    assert (done.found == AHEAD).any() <= (use.prefetches > 0)
    assert use.runs <= len(experts) and use.stall_ns <= use.copy_ns
    again = simulate(of, asked_for)
    assert all((getattr(done, c) == getattr(again, c)).all() for c in vars(done) if c != "uses")
    assert done.uses == again.uses


@given(asked, st.integers(2, 8), st.integers(1, 3), st.integers(0, 8))
@settings(max_examples=100, deadline=None)
def test_copies_ahead_are_never_slower(experts, slots, depth, batch):
    # Experts of one size, in order: what is copied and evicted is the same, only sooner.
    def end(policy: Swapping) -> int:
        of = composition([9 * GB] * 8, slots * 9 * GB, policy, layers=4)
        return simulate(of, stream(experts, batch)).end_ns

    plain = end(Swapping())
    beside = end(Swapping(overlap=True))
    ahead = end(Swapping(overlap=True, prefetch="router", depth=depth))
    assert ahead <= beside <= plain


def test_overlap_is_a_pipeline_of_two_stages_over_layers():
    # Copy 40 ms and prefill 20 ms in 4 layers: 40 + 20 / 4, then decoding; the slower copy binds.
    of = composition([40 * GB], 40 * GB, Swapping(overlap=True), prefill_ms=20, layers=4)
    done = simulate(of, stream([0]))
    assert done.first_token_ns[0] - done.start_ns[0] == 45 * MS
    # Copy 8 ms and prefill 20 ms: 8 / 4 + 20.
    of = composition([8 * GB], 40 * GB, Swapping(overlap=True), prefill_ms=20, layers=4)
    done = simulate(of, stream([0]))
    assert done.first_token_ns[0] - done.start_ns[0] == 22 * MS


def test_copies_ahead_hide_behind_what_runs():
    # 9 ms copies behind 38 ms runs: only the first one is waited for.
    done = simulate(composition([9 * GB] * 4, 18 * GB, AHEAD_OF_TIME), stream([0, 1, 2, 3]))
    assert done.uses[0].stall_ns == 9 * MS
    assert done.found.tolist() == [COPIED, AHEAD, AHEAD, AHEAD]


def test_nothing_ahead_without_a_second_place():
    done = simulate(composition([9 * GB] * 4, 9 * GB, AHEAD_OF_TIME), stream([0, 1, 2, 3]))
    assert done.uses[0].prefetches == 0 and done.uses[0].stall_ns == 36 * MS


def test_requests_of_one_expert_share_its_run():
    experts = [0, 1, 0, 1, 0, 1]
    apart = simulate(composition([9 * GB] * 2, 9 * GB), stream(experts))
    policy = Swapping(batch_by_expert=True, max_batch=8)
    joined = simulate(composition([9 * GB] * 2, 9 * GB, policy), stream(experts))
    assert apart.uses[0].copies == apart.uses[0].runs == 6
    assert joined.uses[0].copies == joined.uses[0].runs == 2
    assert joined.end_ns < apart.end_ns


def test_hit_share_under_zipf_is_as_expected():
    experts = drawn(zipf(60, 0.9).tolist(), 6000, seed=2)
    done = simulate(composition([GB] * 60, 20 * GB), stream(experts, batch=8))
    expected = lru_hit_rate(zipf(60, 0.9), 20)
    assert figures(done).resident_share == pytest.approx(expected, abs=0.02)


def test_pinned_experts_never_move():
    of = composition([9 * GB] * 4, 9 * GB, pinned=frozenset({0, 1}))
    done = simulate(of, stream([0, 1, 2, 3, 0, 1, 2, 3]))
    assert done.found.tolist() == [0, 0, COPIED, COPIED, 0, 0, COPIED, COPIED]


def test_warm_experts_are_there_from_the_start_and_leave_in_order():
    timing = stated(10, 1)
    hosted = dict.fromkeys(range(4), timing)
    node = Node("n", hosted, frozenset(), 2 * GB, 1e12, router=timing, warm=(1, 0))
    of = Composition(("a", "b", "c", "d"), (GB,) * 4, (node,), Swapping(), 1)
    done = simulate(of, stream([0, 2, 0, 1]))
    # The third expert takes the place of 1, which was asked for least.
    assert done.found.tolist() == [RESIDENT, COPIED, RESIDENT, COPIED]


def test_a_mixture_serves_where_experts_are_hosted():
    fast, slow = stated(10, 1), stated(100, 10)
    left = Node("left", {0: fast, 2: fast}, frozenset(), 9 * GB, 1e12, router=fast)
    right = Node("right", {1: slow, 2: slow}, frozenset(), 9 * GB, 1e11)
    of = Composition(("a", "b", "c"), (GB, GB, GB), (left, right), Swapping(), 1)
    done = simulate(of, stream([0, 1, 2, 2, 2, 0, 1]))
    assert set(done.node[done.expert == 0].tolist()) == {0}
    assert set(done.node[done.expert == 1].tolist()) == {1}
    assert set(done.node[done.expert == 2].tolist()) == {0, 1}  # either, whichever has less to do


def test_clients_send_when_they_are_answered():
    done = simulate(composition([GB] * 2, 2 * GB), stream([0, 1, 0, 1], concurrency=2))
    assert (done.arrival_ns[:2] == 0).all()
    assert done.arrival_ns[2] == done.finish_ns[0]


def test_one_batch_after_another():
    done = simulate(composition([GB] * 2, 2 * GB), stream([0, 1, 0, 1, 0], batch=2))
    assert done.arrival_ns.tolist()[2:4] == [done.finish_ns[1]] * 2
    assert done.arrival_ns[4] == done.finish_ns[3]


def test_of_equal_nodes_the_one_that_has_the_expert():
    timing = stated(10, 1)
    hosted = dict.fromkeys(range(3), timing)
    nodes = [
        Node(name, hosted, frozenset(), 2 * GB, 1e12, router=timing if name == "a" else None)
        for name in ("a", "b")
    ]
    of = Composition(("x", "y", "z"), (GB,) * 3, tuple(nodes), Swapping(), 1)
    done = simulate(of, stream([0, 1, 0, 1, 1, 0], batch=2))
    assert done.node.tolist() == [0, 1, 0, 1, 1, 0]
    assert done.found.tolist() == [COPIED, COPIED, RESIDENT, RESIDENT, RESIDENT, RESIDENT]
