"""Simulated sections as Chrome trace events, which Perfetto and chrome://tracing open.

A section is a process, its stages are threads, and a slice is one tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from maquette.report.document import plain, program_version
from maquette.space.laid import Laid, LaidSection

Event = dict[str, Any]


def pipeline(found: Laid) -> dict[str, Any]:
    """The document to write: sections one after the other, microseconds of the fabric's clock."""
    assert found.machine.fabric is not None
    tick = 1e6 / found.machine.fabric.clock.value
    events: list[Event] = []
    begin = 0.0
    for number, laid in enumerate(found.sections, start=1):
        events += _section(laid, number, begin, tick)
        begin += laid.cycles * tick
    kept = sum(len(s.simulated.result.records) for s in found.sections)
    other = {"producer": f"maquette {program_version()}", "slices": kept}
    made = {"traceEvents": events, "displayTimeUnit": "ns", "otherData": other}
    document: dict[str, Any] = plain(made)
    return document


def _section(laid: LaidSection, number: int, begin: float, tick: float) -> Iterator[Event]:
    name = f"section {laid.section.name}"
    yield {"ph": "M", "pid": number, "name": "process_name", "args": {"name": name}}
    yield {"ph": "M", "pid": number, "name": "process_sort_index", "args": {"sort_index": number}}
    nodes = list(dict.fromkeys(r.node for r in laid.simulated.result.records))
    for thread, node in enumerate(nodes, start=1):
        yield {"ph": "M", "pid": number, "tid": thread, "name": "thread_name",
               "args": {"name": node}}  # fmt: skip
    tiles: dict[str, int] = dict.fromkeys(nodes, 0)
    for record in laid.simulated.result.records:
        yield {
            "ph": "X", "pid": number, "tid": nodes.index(record.node) + 1,
            "name": f"tile {tiles[record.node]}", "ts": begin + record.start * tick,
            "dur": (record.end - record.start) * tick,
        }  # fmt: skip
        tiles[record.node] += 1
