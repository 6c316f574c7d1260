"""The timeline: gaps counted without listing them, and a timeline that can be cut down."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.serve.clock import QUANTA
from maquette.serve.timeline import GAP_EDGES_NS, Timeline

run = st.tuples(
    st.integers(1, 10**8), st.integers(0, 10**5), st.integers(1, 400), st.integers(1, 9)
)


def timeline_of(
    runs: list[tuple[int, int, int, int]], cap: int, fold_every: int = 10**9
) -> Timeline:
    timeline, start = Timeline([0], 16, 16, cap), 0
    for nth, (first, rise, steps, live) in enumerate(runs):
        took = steps * first + rise * steps * (steps - 1) // 2
        row = (0, start, took, steps, live, live, 0, first, nth % 3, nth)
        timeline.rows.extend(x * QUANTA if i in (1, 2, 7) else x for i, x in enumerate(row))
        start += took
        if nth % fold_every == fold_every - 1:
            timeline.fold()
    timeline.fold()
    return timeline


def test_bins_are_one_percent_wide() -> None:
    assert (GAP_EDGES_NS[2:] / GAP_EDGES_NS[1:-1] <= 1.01 + 1e-12).all()
    assert GAP_EDGES_NS[0] == 0
    assert GAP_EDGES_NS[-1] >= 1e13


@settings(deadline=None)
@given(st.lists(run, min_size=1, max_size=6))
def test_gaps_as_if_listed(runs: list[tuple[int, int, int, int]]) -> None:
    timeline = timeline_of(runs, 10)
    listed = [
        first + rise * j
        for first, rise, steps, live in runs
        for j in range(steps)
        for _ in range(live)
    ]
    expected, _ = np.histogram(listed, GAP_EDGES_NS)
    assert timeline.gap_counts.sum() == len(listed)
    # A gap within rounding of an edge may fall on either side of it.
    assert np.abs(np.cumsum(timeline.gap_counts) - np.cumsum(expected)).max() <= 9
    assert timeline.steps == sum(r[2] for r in runs)


def test_a_capped_timeline_keeps_the_totals() -> None:
    rng = np.random.default_rng(0)
    runs = [tuple(int(x) for x in rng.integers(1, [10**6, 10, 50, 9])) for _ in range(1000)]
    whole = timeline_of(runs, 10**6).segments()  # type: ignore[arg-type]
    for fold_every in (10**9, 100, 7):
        cut = timeline_of(runs, 40, fold_every).segments()  # type: ignore[arg-type]
        assert 20 <= len(cut.steps) <= 40
        assert cut.steps.sum() == whole.steps.sum()
        assert cut.start_ns[0] == whole.start_ns[0]
        assert cut.end_ns[-1] == whole.end_ns[-1]
        assert (cut.start_ns[1:] == cut.end_ns[:-1]).all()
        area = [float((s.running * (s.end_ns - s.start_ns)).sum()) for s in (whole, cut)]
        assert abs(area[1] / area[0] - 1) < 0.1  # sequences are whole numbers again
        spans = cut.end_ns - cut.start_ns
        assert spans.max() < 20 * np.median(spans)  # the past is not coarser than the present


def test_an_empty_book() -> None:
    timeline = Timeline([0], 4, 4, 5)
    timeline.fold()
    assert len(timeline.segments().steps) == 0
    assert timeline.end_ns == 0
