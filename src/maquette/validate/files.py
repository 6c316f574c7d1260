"""Headings and rows of a file of measured rows: CSV, JSON lines or parquet."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

SUFFIXES = (
    ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".jsonl", ".jsonl.gz", ".parquet",
)  # fmt: skip

Content: TypeAlias = tuple[list[str], list[Sequence[Any]]]


def content(path: Path) -> Content:
    """Headings and rows of a file, by its ending.

    Raises:
        OSError, EOFError, ValueError, csv.Error: it cannot be read, or is not what it is called.
    """
    if path.suffix == ".parquet":
        return _parquet(path)
    return _json_lines(path) if ".jsonl" in path.suffixes else _csv(path)


def _text(path: Path) -> str:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")


def _csv(path: Path) -> Content:
    with io.StringIO(_text(path), newline="") as stream:
        # Lines of "#" ahead of the heading say where a file comes from.
        start = stream.tell()
        while stream.readline().startswith("#"):
            start = stream.tell()
        stream.seek(start)
        reader = csv.reader(stream, delimiter="\t" if ".tsv" in path.suffixes else ",")
        headings = next(reader, [])
        width = len(headings)
        body: list[Sequence[Any]] = []
        for row in reader:
            if row and len(row) != width:
                raise ValueError(
                    f"row {reader.line_num} has {len(row)} fields, the heading {width}"
                )
            if row:
                body.append(row)
    return headings, body


def _json_lines(path: Path) -> Content:
    lines = [(i, x) for i, x in enumerate(_text(path).splitlines(), 1) if x.strip()]
    rows: list[dict[str, Any]] = []
    for i, line in lines:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError(f"line {i} is not an object")
        rows.append(row)
    headings = list(dict.fromkeys(h for row in rows for h in row))
    return headings, [[row.get(h) for h in headings] for row in rows]


def _parquet(path: Path) -> Content:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError("parquet needs pyarrow: install maquette[parquet]") from None
    table = pq.read_table(path)
    names = list(table.column_names)
    data = [table.column(n).to_pylist() for n in names]
    return names, list(zip(*data, strict=True))
