"""What the nodes of a fleet ran and copied, as Chrome trace events (see `timeline`).

Every node of every deployment is a process: one thread shows what it ran, with the wait for an
expert before the run, the other what was copied in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from maquette.plans.types import Infeasible
from maquette.report.document import plain, program_version
from maquette.search.composition import Composed
from maquette.serve.composition.types import History

Event = dict[str, Any]
SLICES = 50_000  # events in a file: what Perfetto opens without effort


def swaps(found: Composed, slices: int = SLICES) -> dict[str, Any]:
    """The document to write.  At most so many runs and copies, earliest first, of all together."""
    events: list[Event] = []
    slots: list[Event] = []
    process = 0
    for served in found.served:
        if isinstance(served.outcome, Infeasible):
            continue
        for i, use in enumerate(served.outcome.uses):
            process += 1
            name = f"{served.site.name}: {use.name}"
            events.append({"ph": "M", "pid": process, "name": "process_name",
                           "args": {"name": name}})  # fmt: skip
            slots += _node(served.outcome, i, process, found.fleet.names)
    slots.sort(key=lambda e: e["ts"])
    left = max(0, len(slots) - slices)
    note = f"left out: {left} runs and copies" if left else ""
    other = {"producer": f"maquette {program_version()}", "note": note, "events_left_out": left}
    events += slots[:slices]
    made: dict[str, Any] = plain(
        {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}
    )
    return made


def _node(history: History, i: int, process: int, names: Sequence[str]) -> Iterator[Event]:
    for _, expert, taken, begun, done in history.runs[history.runs[:, 0] == i].tolist():
        if begun > taken:
            yield _slice(process, 1, f"wait for {names[expert]}", taken, begun)
        yield _slice(process, 1, names[expert] if expert >= 0 else "router", begun, done)
    for _, expert, begun, done, ahead in history.copies[history.copies[:, 0] == i].tolist():
        name = f"{names[expert]}, ahead" if ahead else names[expert]
        yield _slice(process, 2, f"copy {name}", begun, done)


def _slice(process: int, thread: int, name: str, start: int, end: int) -> Event:
    return {"ph": "X", "pid": process, "tid": thread, "ts": start / 1e3,
            "dur": (end - start) / 1e3, "name": name}  # fmt: skip
