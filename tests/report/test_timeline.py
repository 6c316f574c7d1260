"""A trace as Chrome trace events: it parses, it nests, it says what it leaves out."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import maquette as mq
from maquette.report.timeline import threads, timeline


@pytest.fixture(scope="module")
def simulation():
    stream = mq.requests(input_tokens=800, output_tokens=40, rate=12, requests=150)
    return mq.simulate("llama-3.1-8b", on="h100x4", pp=2, traffic=stream, draws=0)


@pytest.fixture(scope="module")
def document(simulation):
    return json.loads(json.dumps(timeline(simulation.trace), allow_nan=False))


def of(document, phase: str) -> list[dict]:
    return [e for e in document["traceEvents"] if e["ph"] == phase]


def test_every_event_is_whole(document):
    for event in document["traceEvents"]:
        assert event["ph"] in "MXCbe" and isinstance(event["pid"], int) and event["name"]
        if event["ph"] != "M":
            assert event["ts"] >= 0
    assert {e["args"]["name"] for e in of(document, "M") if e["name"] == "process_name"} == {
        "replica 0",
        "replica 1",
    }


NUMBER = (int, float)
REQUIRED = {  # phase → fields of the trace-event format beside name, ph and pid, and their types
    "X": {"ts": NUMBER, "dur": NUMBER, "tid": int, "cat": str, "args": dict},
    "C": {"ts": NUMBER, "args": dict},
    "b": {"ts": NUMBER, "cat": str, "id": str},
    "e": {"ts": NUMBER, "cat": str, "id": str},
    "M": {"args": dict},
}
METADATA = {"process_name": {"name": str}, "process_sort_index": {"sort_index": int}}


def faults(document: dict) -> list[str]:
    """What of a document the trace-event format (JSON object form) does not allow."""
    found = [] if document.get("displayTimeUnit") in ("ms", "ns") else ["displayTimeUnit"]
    series: dict[tuple, set] = {}
    for i, event in enumerate(document["traceEvents"]):
        wanted = {"name": str, "ph": str, "pid": int} | REQUIRED.get(event.get("ph"), {"ph": ()})
        if event.get("ph") == "M":
            about = METADATA.get(event.get("name"), {"": ()})
            found += [f"{i}: {k}" for k, t in about.items() if type(event["args"].get(k)) is not t]
        for key, kind in wanted.items():
            if not isinstance(event.get(key), kind) or isinstance(event.get(key), bool):
                found.append(f"{i}: {key}")
        if event.get("ph") == "C":
            values = event["args"]
            if not values or any(type(v) not in NUMBER or v < 0 for v in values.values()):
                found.append(f"{i}: counter")
            if series.setdefault((event["pid"], event["name"]), set(values)) != set(values):
                found.append(f"{i}: other series than before")
        if event.get("ts", 0) < 0 or event.get("dur", 0) < 0:
            found.append(f"{i}: negative time")
    return found


def test_the_format_is_kept(document):
    assert not faults(document)


@pytest.mark.parametrize(
    "event",
    [
        {"ph": "X", "name": "a", "pid": 1, "tid": 1, "ts": 0.0, "cat": "", "args": {}},
        {"ph": "X", "name": "a", "pid": 1, "tid": "1", "ts": 0, "dur": 1, "cat": "", "args": {}},
        {"ph": "C", "name": "a", "pid": 1, "ts": 0, "args": {"n": "7"}},
        {"ph": "b", "name": "a", "pid": 1, "ts": 0, "cat": "c"},
        {"ph": "M", "name": "process_name", "pid": 1, "args": {}},
        {"ph": "?", "name": "a", "pid": 1},
    ],
)
def test_the_check_of_the_format_can_fail(event):
    assert faults({"displayTimeUnit": "ms", "traceEvents": [event]})


def test_counters_are_those_of_the_trace(document, simulation):
    s = simulation.trace.segments
    blocks = [e["args"]["blocks"] for e in of(document, "C") if e["name"] == "KV blocks in use"]
    assert blocks == s.kv_blocks.tolist() and max(blocks) > 0
    running = [e["args"]["running"] for e in of(document, "C") if e["name"] == "sequences"]
    assert running == s.running.tolist()


def test_steps_of_a_thread_never_overlap(document):
    by_thread = defaultdict(list)
    for e in of(document, "X"):
        by_thread[e["pid"], e["tid"]].append((e["ts"], e["ts"] + e["dur"]))
    assert len(by_thread) > 2  # a pipeline of two stages has two batches in flight
    for spans in by_thread.values():
        spans.sort()
        for (_, end), (start, _) in pairwise(spans):
            assert start >= end - 1e-6


def test_steps_add_up_to_the_trace(document, simulation):
    assert sum(e["args"]["steps"] for e in of(document, "X")) == simulation.trace.steps


def test_requests_nest(document):
    """Slices of one request open and close like brackets, and lie inside it."""
    events = defaultdict(list)
    for e in document["traceEvents"]:
        if e["ph"] in "be":
            events[e["pid"], e["id"]].append(e)
    assert len(events) == 150
    for own in events.values():
        stack, whole = [], None
        for e in own:
            if e["ph"] == "b":
                whole = whole or e
                assert e["ts"] >= (stack[-1]["ts"] if stack else 0)
                stack.append(e)
            else:
                opened = stack.pop()
                assert opened["name"] == e["name"] and opened["ts"] <= e["ts"]
        assert not stack and whole["name"].startswith("request")
        assert [e["name"] for e in own if e["ph"] == "b"][1:] == ["waiting", "prefill", "decode"]
        assert own[-1]["name"] == whole["name"] and own[-1]["ts"] == max(e["ts"] for e in own)


def test_what_is_left_out_is_said(simulation):
    cut = timeline(simulation.trace, slices=10, requests=7)
    assert len(of(cut, "X")) == 10
    assert len([e for e in of(cut, "b") if e["name"].startswith("request")]) == 7
    other = cut["otherData"]
    assert other["requests_left_out"] == 143 and other["stretches_left_out"] > 0
    assert "143 requests" in other["note"]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50), st.integers(1, 9)), max_size=40))
def test_threads_are_few_and_disjoint(rows):
    """As many threads as stretches overlap at most, per replica, and no two on one overlap."""
    rows.sort(key=lambda r: r[1])
    replica, start, length = (np.array(c, int) for c in zip(*rows, strict=True)) if rows else (
        np.zeros(0, int),) * 3  # fmt: skip
    end = start + length
    found = threads(replica, start, end)
    for r in range(3):
        own = [i for i in range(len(rows)) if replica[i] == r]
        deepest = max((sum(start[j] <= start[i] < end[j] for j in own) for i in own), default=0)
        assert len({found[i] for i in own}) == deepest
        for i in own:
            for j in own:
                if i < j and found[i] == found[j]:
                    assert end[i] <= start[j]
