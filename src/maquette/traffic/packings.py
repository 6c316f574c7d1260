"""Tables in files: CSV, JSON lines and parquet, told apart by their first bytes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from maquette.errors import Fault, InputError, nearest
from maquette.traffic.columns import Table


def unpack(path: Path) -> Table:
    """The table in a file, packed as its first bytes tell.  Raises InputError."""
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
