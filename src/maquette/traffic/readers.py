"""Traces: Azure 2023 CSV, Mooncake JSONL and parquet, and a plain CSV of our own.

How a file is packed (CSV, JSONL, parquet) and what its columns are called are told apart, so any
of the column sets may come in any of the packings.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

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
    table = _table(Path(path))
    form = _format(table)
    tokens_in = token_counts(table, form.input, drop_empty)
    tokens_out = token_counts(table, form.output, drop_empty)
    arrivals = form.clock(table, form.time)
    priority = whole_numbers(table, "priority") if "priority" in table.columns else None
    hashes, start, notes = None, None, []
    if "hash_ids" in table.columns:
        if block_tokens < 1:
            raise InputError(Fault("block_tokens", f"{block_tokens} is out of range", "1 or more"))
        hashes, start = hash_lists(table, "hash_ids", tokens_in, block_tokens)
    if not sort and not table.faults:
        _check_order(table, form.time, arrivals)
    table.check()
    keep = np.argsort(arrivals, kind="stable") if sort else np.arange(len(arrivals))
    if drop_empty:
        keep = keep[(tokens_in[keep] > 0) & (tokens_out[keep] > 0)]
        if len(keep) == 0:
            raise InputError(Fault(table.path, "holds no request with both input and output"))
        if dropped := len(arrivals) - len(keep):
            notes.append(f"{dropped:,} requests without input or output left out")
    if first := int(arrivals[keep[0]]):
        notes.append(f"arrivals counted from the first, {first / 1e9:.3f} s in the trace")
    if hashes is not None and start is not None:
        hashes, start = _taken(hashes, start, keep)
    return Requests(
        arrival_ns=arrivals[keep] - arrivals[keep[0]],
        input_tokens=tokens_in[keep],
        output_tokens=tokens_out[keep],
        priority=None if priority is None else priority[keep],
        block_hash=hashes,
        block_start=start,
        block_tokens=0 if hashes is None else block_tokens,
        source=f"{table.path} ({form.name} {table.kind}, {len(keep)} requests)",
        notes=tuple(notes),
    )


def _taken(hashes: Ints, start: Ints, keep: Ints) -> tuple[Ints, Ints]:
    """The hashes of the requests `keep`, in that order."""
    count = np.diff(start)[keep]
    taken = np.concatenate(([0], np.cumsum(count)))
    shift = np.repeat(start[:-1][keep] - taken[:-1], count)
    return hashes[np.arange(taken[-1]) + shift], taken


def _check_order(table: Table, column: str, arrivals: Ints) -> None:
    back = np.flatnonzero(np.diff(arrivals) < 0)
    if len(back) == 0:
        return
    record = int(back[0]) + 1
    late = (arrivals[record - 1] - arrivals[record]) / 1e9
    more = f" (and {len(back) - 1:,} more such rows)" if len(back) > 1 else ""
    what = f"{late:.9g} s before row {table.rows[record - 1]}{more}"
    hint = f"sort the file by {column}, or read it with sort=True"
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


def _table(path: Path) -> Table:
    try:
        raw = path.read_bytes()
    except OSError as error:
        hint = ""
        if isinstance(error, FileNotFoundError) and path.parent.is_dir():
            near = nearest(path.name, [p.name for p in path.parent.iterdir()])
            hint = near if near.startswith("did") else ""
        what = f"cannot be read: {error.strerror}"
        raise InputError(Fault(str(path), what, hint=hint)) from None
    if not raw.strip():
        raise InputError(Fault(str(path), "is empty", "a trace of one request or more"))
    if raw[:4] == b"PAR1" or path.suffix == ".parquet":
        table = _parquet(path.name, raw)
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            what = f"is not UTF-8 text (byte {error.start})"
            raise InputError(Fault(str(path), what, "CSV, JSONL or parquet")) from None
        table = (_jsonl if text.lstrip().startswith("{") else _csv)(path.name, text)
    if not table.rows:
        table.check()
        raise InputError(Fault(str(path), "holds no requests, only a header"))
    return table


def _csv(name: str, text: str) -> Table:
    reader = csv.reader(io.StringIO(text, newline=""))
    faults: list[tuple[int, Fault]] = []
    header: list[str] = []
    while not header:
        header = [h.strip() for h in next(reader)]
    if len(set(header)) < len(header):
        twice = next(h for h in header if header.count(h) > 1)
        raise InputError(Fault(f"{name}: row 1", f"column {twice!r} appears twice"))
    columns: list[list[str]] = [[] for _ in header]
    rows: list[int] = []
    before = reader.line_num
    try:
        # In small chunks: a million live lists would keep the garbage collector busy.
        while chunk := list(islice(reader, 512)):
            at = _lines(chunk, before, reader.line_num)
            before = reader.line_num
            if set(map(len, chunk)) != {len(header)}:
                for row, record in zip(at, chunk, strict=True):
                    if record and len(record) != len(header):
                        what = f"{len(record)} fields where the header has {len(header)}"
                        faults.append((row, Fault(f"{name}: row {row}", what)))
                kept = [i for i, record in enumerate(chunk) if len(record) == len(header)]
                at, chunk = [at[i] for i in kept], [chunk[i] for i in kept]
            rows += at
            for column, values in zip(columns, zip(*chunk, strict=True), strict=False):
                column += values
    except csv.Error as error:
        where = f"{name}: row {reader.line_num}"
        faults.append((reader.line_num, Fault(where, f"is not CSV: {error}")))
    return Table(name, dict(zip(header, columns, strict=True)), rows, "CSV", faults)


def _lines(records: list[list[str]], before: int, last: int) -> Sequence[int]:
    """The lines on which the records end, that were read from the lines after `before`."""
    if last - before == len(records):
        return range(before + 1, last + 1)
    spans = [1 + sum(field.count("\n") for field in record) for record in records]
    return [before + span for span in accumulate(spans)]


def _jsonl(name: str, text: str) -> Table:
    faults: list[tuple[int, Fault]] = []
    records: list[dict[str, Any]] = []
    rows: list[int] = []
    for row, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            what = "" if isinstance(record, dict) else "is not an object {…}"
        except (ValueError, RecursionError) as error:
            what = f"is not JSON: {str(error).partition(': line')[0]}"
        if what:
            faults.append((row, Fault(f"{name}: row {row}", what, "one JSON object in a line")))
        else:
            records.append(record)
            rows.append(row)
    names = list(records[0]) if records else []
    columns: dict[str, Sequence[Any]] = {c: [r.get(c) for r in records] for c in names}
    return Table(name, columns, rows, "JSONL", faults)


def _parquet(name: str, raw: bytes) -> Table:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        what = "reading parquet needs pyarrow"
        raise InputError(Fault(name, what, hint="pip install 'maquette[parquet]'")) from None
    try:
        table = parquet.read_table(io.BytesIO(raw))
    except arrow.ArrowException as error:
        raise InputError(Fault(name, f"is not parquet: {str(error).splitlines()[0]}")) from None
    columns = {}
    for column in table.column_names:
        values = table[column]
        if arrow.types.is_timestamp(values.type):  # as text: Python's own times end at a µs
            values = values.cast(arrow.timestamp("ns")).cast(arrow.string())
        columns[column] = values.to_pylist()
    return Table(name, columns, range(1, table.num_rows + 1), "parquet")
