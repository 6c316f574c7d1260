"""Traces: Azure 2023 CSV, Mooncake JSONL and parquet, and a plain CSV of our own.

A trace is known by the names of its columns; how the file is packed is another matter
(`maquette.traffic.packings`), so any of the column sets may come in any packing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maquette.errors import Fault, InputError, nearest
from maquette.traffic.columns import (
    Table,
    hash_lists,
    milliseconds,
    seconds,
    timestamps,
    token_counts,
    whole_numbers,
)
from maquette.traffic.describe import take
from maquette.traffic.packings import unpack
from maquette.traffic.types import Ints, Requests


@dataclass(frozen=True)
class Format:
    """The names of a trace's columns and how its clock is read."""

    name: str
    time: str
    input: str
    output: str
    clock: Callable[[Table, str], Ints]

    @property
    def columns(self) -> tuple[str, str, str]:
        return (self.time, self.input, self.output)


FORMATS = (
    Format("plain", "arrival_s", "input_tokens", "output_tokens", seconds),
    Format("Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", timestamps),
    Format("Mooncake", "timestamp", "input_length", "output_length", milliseconds),
)
MOONCAKE_BLOCK = 512  # tokens per hash in the published Mooncake traces


def read(
    path: str | Path,
    *,
    sort: bool = False,
    drop_empty: bool = False,
    block_tokens: int = MOONCAKE_BLOCK,
) -> Requests:
    """The requests of a trace file; its format is told from its header, and named in `source`.

    The first arrival is time 0.  `sort` puts the rows in order of time, which they must be in
    otherwise; `drop_empty` leaves out requests without input or output; `block_tokens` is what
    one of ``hash_ids`` covers.

    Raises InputError with all faults (up to 20, then their number), each with its row and column.
    """
    if block_tokens < 1:
        raise InputError(Fault("block_tokens", f"{block_tokens} is out of range", "1 or more"))
    table = unpack(Path(path))
    form = _format(table)
    tokens_in = token_counts(table, form.input, drop_empty)
    tokens_out = token_counts(table, form.output, drop_empty)
    arrivals = form.clock(table, form.time)
    priority = whole_numbers(table, "priority") if "priority" in table.columns else None
    hashes, start = None, None
    if "hash_ids" in table.columns:
        hashes, start = hash_lists(table, "hash_ids", tokens_in, block_tokens)
    if not sort and not table.faults:
        _check_order(table, form.time, arrivals)
    table.check()
    block = 0 if hashes is None else block_tokens
    found = Requests(arrivals, tokens_in, tokens_out, priority, hashes, start, block)
    return _tidy(found, sort, f"{table.path} ({form.name} {table.kind}")


def _tidy(found: Requests, sort: bool, source: str) -> Requests:
    """Sorted if asked, without empty requests, and from time 0."""
    notes = []
    if sort:
        found = take(found, np.argsort(found.arrival_ns, kind="stable"))
    full = (found.input_tokens > 0) & (found.output_tokens > 0)
    if not full.all():
        notes.append(f"{(~full).sum():,} requests without input or output left out")
        found = take(found, np.flatnonzero(full))
    if len(found) == 0:
        raise InputError(Fault(source + ")", "holds no request with both input and output"))
    if first := int(found.arrival_ns[0]):
        notes.append(f"arrivals counted from the first, {first / 1e9:.3f} s in the trace")
    source = f"{source}, {len(found)} requests)"
    return replace(found, arrival_ns=found.arrival_ns - first, source=source, notes=tuple(notes))


def _check_order(table: Table, column: str, arrivals: Ints) -> None:
    back = np.flatnonzero(np.diff(arrivals) < 0)
    if len(back) == 0:
        return
    record = int(back[0]) + 1
    late = (arrivals[record - 1] - arrivals[record]) / 1e9
    more = f" (and {len(back) - 1:,} more such rows)" if len(back) > 1 else ""
    what = f"{late:.9g} s before row {table.rows[record - 1]}{more}"
    hint = f"sort the file by {column}, or in Python read it with sort=True"
    table.fault(record, column, what, "rows in order of time", hint)


def _format(table: Table) -> Format:
    """The format whose columns are there, after renaming those that differ in case only."""
    for form in FORMATS:
        if set(form.columns) <= set(table.columns):
            return form
    lower = {name.lower(): name for name in table.columns}
    for form in FORMATS:
        if {c.lower() for c in form.columns} <= set(lower):
            for column in form.columns:
                table.columns[column] = table.columns[lower[column.lower()]]
            return form
    near = [_missing(table, form) for form in FORMATS]
    best = min(near, key=len)
    if len(best) < 3:
        raise InputError(*best)
    known = "; ".join(f"{f.name}: {','.join(f.columns)}" for f in FORMATS)
    found = ", ".join(map(repr, list(table.columns)[:6]))
    raise InputError(Fault(f"{table.path}: row 1", f"no trace's header: {found}", known))


def _missing(table: Table, form: Format) -> list[Fault]:
    missing = [c for c in form.columns if c not in table.columns]
    spare = [c for c in table.columns if c not in form.columns]
    where = f"{table.path}: row 1"
    expected = f"the columns {','.join(form.columns)}"
    return [Fault(where, f"no column {c!r}", expected, _hint(c, spare)) for c in missing]


def _hint(column: str, spare: Sequence[str]) -> str:
    return f"to be renamed? {nearest(column, spare)}" if spare else ""
