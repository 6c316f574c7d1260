"""Prices in integers: envelopes, and what a prefill chunk reads, against brute force."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from maquette.price.step import Attention, StepModel
from maquette.serve.clock import nanoseconds, quanta
from maquette.serve.costs import ENDLESS, Costs, chunk_context, chunk_pairs, upper_envelope
from maquette.serve.decoders import Decoders
from maquette.serve.sequence import Seq

lines = st.lists(st.tuples(st.integers(-50, 200), st.integers(0, 20)), min_size=1, max_size=5)


@given(lines)
def test_envelope_is_the_maximum_everywhere(found: list[tuple[int, int]]) -> None:
    pieces = upper_envelope(found)
    assert [p[0] for p in pieces] == sorted({p[0] for p in pieces})
    assert pieces[-1][0] == ENDLESS
    for x in range(300):
        at, slope = next((a, s) for upto, a, s in pieces if x <= upto)
        assert at + slope * x == max(a + s * x for a, s in found)


@given(st.integers(0, 20), st.integers(0, 60), st.integers(1, 40))
def test_chunk_counts_keys_one_by_one(window: int, cached: int, tokens: int) -> None:
    seen = [
        set(range(max(0, q - window + 1) if window else 0, q + 1))
        for q in range(cached, cached + tokens)
    ]
    assert chunk_pairs(window, cached, tokens) == sum(map(len, seen))
    assert chunk_context(window, cached, tokens) == len(set().union(*seen))


@given(st.floats(1e-9, 1e3), st.integers(0, 10**15))
def test_quanta_round_to_nanoseconds(seconds: float, ns: int) -> None:
    assert abs(nanoseconds(quanta(seconds)) - seconds * 1e9) <= 0.5 + seconds * 1e-6
    assert nanoseconds(ns << 30) == ns


def decoders(seed: int) -> Decoders:
    rng = np.random.default_rng(seed)
    at, slope = rng.random((2, 3, 9)) * [[[1e-4]], [[1e-6]]]
    attention = (Attention(0, 0, 0, at, slope), Attention(40, 0, 0, at[:1], slope[1:2]))
    model = StepModel(1e-3, 0, rng.random(9) * 1e-3, rng.random(9) * 1e-3, attention)
    found = Decoders(Costs(model, 8, 8), 16)
    for rid in range(int(rng.integers(1, 9))):
        seq = Seq(rid, int(rng.integers(1, 100)), int(rng.integers(2, 60)), 0, ())
        seq.generated = 1
        found.join(seq, seq.prompt)
    return found


@given(st.integers(0, 10**6))
def test_a_run_is_the_sum_of_its_steps(seed: int) -> None:
    whole, single = decoders(seed), decoders(seed)
    steps = whole.plan(whole.n)
    times = []
    for _ in range(steps):
        single.plan(single.n)
        times.append(single.first)
        single.tick += 1
    ends = np.cumsum(np.array(times, dtype=object))
    assert [whole.time(k + 1) for k in range(steps)] == ends.tolist()
    for wait in (0, 1, ends[-1] // 3, ends[0], ends[-1] - 1, ends[-1]):
        least = next(k + 1 for k, end in enumerate(ends) if end >= wait)
        assert whole.steps_until(int(wait)) == least


@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(1, 90))
def test_room_is_where_growth_exceeds_it(seed: int, available: int, steps: int) -> None:
    found = decoders(seed)
    found.tick += seed % 5
    fit = found.room(available, steps)
    assert 1 <= fit <= steps
    assert fit == 1 or found.growth(1, fit - 1) <= available
    assert fit == steps or found.growth(1, fit) > available
    bases = [s.base for s in found.active.values()]
    one_by_one = sum((b + found.tick + k) % 16 == 0 for b in bases for k in range(1, steps))
    assert found.growth(1, steps - 1) == one_by_one
