"""A Trace as Chrome trace events, which Perfetto (ui.perfetto.dev) and chrome://tracing open.

Every replica is a process: one thread per batch in flight shows its steps, counters show how many
sequences run and wait and how much of the KV cache is in use, and the requests it served are
asynchronous slices: the whole, and inside it the wait, the prefill and the decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Any

import numpy as np

from maquette.report.document import plain, program_version
from maquette.serve.types import FINISHED, REJECTED, TIMED_OUT, UNFINISHED, Trace

Event = dict[str, Any]
SLICES, REQUESTS = 50_000, 5_000  # events in a file: what Perfetto opens without effort
STATUS = {FINISHED: "finished", TIMED_OUT: "timed out", REJECTED: "rejected",
          UNFINISHED: "unfinished"}  # fmt: skip


def timeline(trace: Trace, slices: int = SLICES, requests: int = REQUESTS) -> dict[str, Any]:
    """The document to write.  At most so many steps and requests, earliest first; what is left
    out is said in ``otherData``."""
    shown = min(slices, len(trace.segments.start_ns))
    served = _served(trace)[:requests]
    left = len(trace.segments.start_ns) - shown, len(trace.status) - len(served)
    events = [*_processes(trace, shown), *_steps(trace, shown), *_counters(trace, shown)]
    for i in served.tolist():
        events += _request(trace, i)
    note = f"left out: {left[0]} stretches of steps and {left[1]} requests" if any(left) else ""
    other = {"producer": f"maquette {program_version()}", "note": note,
             "stretches_left_out": left[0], "requests_left_out": left[1]}  # fmt: skip
    document = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}
    found: dict[str, Any] = plain(document)
    return found


def _served(trace: Trace) -> Any:
    """Requests that ran, by the time they first did."""
    ran = np.flatnonzero((trace.scheduled_ns >= 0) & (_ends(trace) >= 0))
    return ran[np.argsort(trace.scheduled_ns[ran], kind="stable")]


def _ends(trace: Trace) -> Any:
    """When a request left, or the end of the simulation where it did not."""
    return np.where(trace.finish_ns >= 0, trace.finish_ns, trace.end_ns)


def _us(nanoseconds: Any) -> float:
    return float(nanoseconds) / 1e3


def _processes(trace: Trace, shown: int) -> Iterator[Event]:
    for r in np.unique(trace.segments.replica[:shown]).tolist():
        yield {"ph": "M", "pid": r + 1, "name": "process_name", "args": {"name": f"replica {r}"}}
        yield {"ph": "M", "pid": r + 1, "name": "process_sort_index", "args": {"sort_index": r}}


def _steps(trace: Trace, shown: int) -> Iterator[Event]:
    s = trace.segments
    rows = threads(s.replica[:shown], s.start_ns[:shown], s.end_ns[:shown])
    for i, thread in enumerate(rows):
        steps, prefill = int(s.steps[i]), int(s.prefill_tokens[i])
        what = f"prefill {prefill} tokens" if prefill else "decode"
        yield {
            "ph": "X", "cat": "step", "pid": int(s.replica[i]) + 1, "tid": thread + 1,
            "ts": _us(s.start_ns[i]), "dur": _us(s.end_ns[i] - s.start_ns[i]),
            "name": f"{what} × {steps}" if steps > 1 else what,
            "args": {"steps": steps, "sequences": int(s.running[i]), "prefill_tokens": prefill},
        }  # fmt: skip


def threads(replica: Any, start: Any, end: Any) -> list[int]:
    """A thread for every stretch, so that those of one thread never overlap.

    A replica whose pipeline holds several batches has several stretches at once.  They come in
    order of their starts.
    """
    busy: dict[int, list[tuple[int, int]]] = {}  # (free from, thread)
    count: dict[int, int] = {}
    found = []
    for r, begins, ends in zip(replica.tolist(), start.tolist(), end.tolist(), strict=True):
        held = busy.setdefault(r, [])
        if held and held[0][0] <= begins:
            _, thread = heappop(held)
        else:
            thread = count.get(r, 0)
            count[r] = thread + 1
        heappush(held, (ends, thread))
        found.append(thread)
    return found


def _counters(trace: Trace, shown: int) -> Iterator[Event]:
    s = trace.segments
    for i in range(shown):
        at = {"ph": "C", "pid": int(s.replica[i]) + 1, "ts": _us(s.start_ns[i])}
        sequences = {"running": int(s.running[i]), "waiting": int(s.waiting[i])}
        yield {**at, "name": "sequences", "args": sequences}
        yield {**at, "ts": _us(s.end_ns[i]), "name": "KV blocks in use",
               "args": {"blocks": int(s.kv_blocks[i])}}  # fmt: skip


def _request(trace: Trace, i: int) -> Iterator[Event]:
    """The slices of one request, each inside the first."""
    arrival, scheduled = int(trace.arrival_ns[i]), int(trace.scheduled_ns[i])
    first, end = int(trace.first_token_ns[i]), int(_ends(trace)[i])
    spans = [(f"request {i}", arrival, end), ("waiting", arrival, scheduled)]
    spans += [("prefill", scheduled, first if first >= 0 else end)]
    spans += [("decode", first, end)] if first >= 0 else []
    about = {
        "input_tokens": int(trace.input_tokens[i]), "output_tokens": int(trace.output_tokens[i]),
        "cached_tokens": int(trace.cached_tokens[i]), "preemptions": int(trace.preemptions[i]),
        "status": STATUS[int(trace.status[i])],
    }  # fmt: skip
    whole = {"cat": "request", "id": f"{i:#x}", "pid": int(trace.replica[i]) + 1}
    opened, *inside = spans
    yield {**whole, "ph": "b", "ts": _us(opened[1]), "name": opened[0], "args": about}
    for name, start, stop in inside:
        yield {**whole, "ph": "b", "ts": _us(start), "name": name}
        yield {**whole, "ph": "e", "ts": _us(stop), "name": name}
    yield {**whole, "ph": "e", "ts": _us(opened[2]), "name": opened[0]}
