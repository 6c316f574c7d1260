"""Columns of a trace as numbers, with every fault named by row and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isfinite
from typing import Any

import numpy as np

from maquette.errors import Fault, InputError
from maquette.traffic.types import Ints

SHOWN = 20  # faults before the rest is only counted
_RANGE = 2**63 - 1


@dataclass
class Table:
    """A file of records as columns of text or values; `row(i)` is where record i stands in it.

    Rows count as an editor counts lines, so that the header of a CSV file is row 1.
    """

    path: str
    columns: dict[str, Sequence[Any]]
    rows: Sequence[int]
    kind: str  # "CSV", "JSONL" or "parquet"
    faults: list[tuple[int, Fault]] = field(default_factory=list)

    def fault(
        self, record: int, column: str, what: str, expected: str = "", hint: str = ""
    ) -> None:
        where = f"{self.path}: row {self.rows[record]}" + (f", {column}" if column else "")
        self.faults.append((self.rows[record], Fault(where, what, expected, hint)))

    def check(self) -> None:
        """Raise the faults found so far, in the order of rows, at most `SHOWN` of them."""
        if not self.faults:
            return
        found = [fault for _, fault in sorted(self.faults, key=lambda item: item[0])]
        if len(found) > SHOWN:
            more = Fault(self.path, f"and {len(found) - SHOWN:,} more faults like these")
            found = [*found[:SHOWN], more]
        raise InputError(*found)


def _converted(
    table: Table, column: str, plain: Callable[[Any], Any], convert: Callable[[Any], Any], noun: str
) -> list[Any]:
    """Every value of a column converted; those that cannot be are faults and become 1."""
    values = table.columns[column]
    if set(map(type, values)) <= {str, int}:
        try:
            out = list(map(plain, values))
            if min(out) >= -_RANGE and max(out) <= _RANGE and isfinite(sum(out)):
                return out
        except ValueError:
            pass
    out = []
    for record, value in enumerate(values):
        try:
            out.append(convert(value))
        except (ValueError, TypeError, OverflowError):
            empty = value is None or value == ""
            table.fault(record, column, "is empty" if empty else f"{value!r} is not {noun}", noun)
            out.append(1)
    return out


def _whole(value: Any) -> int:
    if isinstance(value, str) or type(value) is int or isinstance(value, np.integer):
        number = int(value)
        if -_RANGE <= number <= _RANGE:
            return number
    raise ValueError


def _real(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    number = float(value)
    if not isfinite(number):
        raise ValueError
    return number


def whole_numbers(table: Table, column: str) -> Ints:
    """A column of whole numbers."""
    return np.array(_converted(table, column, int, _whole, "a whole number"), np.int64)


def token_counts(table: Table, column: str, drop_empty: bool) -> Ints:
    """A column of lengths, 1 token or more each, or 0 where empty requests are to be dropped."""
    out = whole_numbers(table, column)
    least = 0 if drop_empty else 1
    for record in np.flatnonzero(out < least).tolist():
        hint = (
            "a failed request? leave it out (in Python: drop_empty=True)" if not out[record] else ""
        )
        table.fault(record, column, f"{out[record]} tokens", f"{least} or more", hint)
    return out


def seconds(table: Table, column: str) -> Ints:
    """A column of times in seconds, as ns."""
    return _times(table, column, 1e9, "s")


def milliseconds(table: Table, column: str) -> Ints:
    """A column of times in milliseconds, as ns."""
    return _times(table, column, 1e6, "ms")


def _times(table: Table, column: str, ns: float, unit: str) -> Ints:
    times = np.array(_converted(table, column, float, _real, "a finite number"), np.float64)
    for record in np.flatnonzero((times < 0) | (times > _RANGE / ns)).tolist():
        low = times[record] < 0
        what = f"{times[record]:g} {unit} is {'negative' if low else 'too late'}"
        table.fault(record, column, what, f"a time from 0 {unit}")
    return np.rint(np.clip(times, 0, 2.0**62 / ns) * ns).astype(np.int64)


def timestamps(table: Table, column: str) -> Ints:
    """A column of dates with times, such as ``2023-11-16 18:17:03.9799600``, as ns of the epoch."""
    values = [str(v) for v in table.columns[column]]
    parts = [_STAMP.fullmatch(v) for v in values]
    try:
        return _epoch_ns([part[1] for part in parts if part], len(values))
    except ValueError:
        pass

    def stamp(value: Any) -> int:
        part = _STAMP.fullmatch(str(value))
        return int(_epoch_ns([part[1]] if part else [], 1)[0])

    noun = "a UTC time such as 2023-11-16 18:17:03.9799600"
    return np.array(_converted(table, column, stamp, stamp, noun), np.int64)


_STAMP = re.compile(
    r"\s*((?:19|20|21)\d\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:Z|\+00:00)?\s*"
)


def _epoch_ns(stamps: list[str], n: int) -> Ints:
    """Checked stamps as ns of the epoch.  ValueError unless there are `n`, all of them times."""
    if len(stamps) != n:
        raise ValueError
    return np.array(stamps, "datetime64[ns]").astype(np.int64)


def hash_lists(table: Table, column: str, input_tokens: Ints, block: int) -> tuple[Ints, Ints]:
    """A column of lists of block hashes, as `block_hash` and `block_start`."""
    lists = list(table.columns[column])
    faulty = {row for row, _ in table.faults}
    for record, hashes in enumerate(lists):
        if not isinstance(hashes, list) or not all(type(h) is int for h in hashes):
            empty = hashes is None or hashes == ""
            table.fault(record, column, "is empty" if empty else "is not a list of whole numbers")
            lists[record] = []
        elif len(hashes) > -(-input_tokens[record] // block) and table.rows[record] not in faulty:
            what = f"{len(hashes)} blocks for {input_tokens[record]} tokens"
            hint = "is block_tokens right?"
            table.fault(record, column, what, f"at most one for every {block} tokens", hint)
    start = np.concatenate(([0], np.cumsum([len(x) for x in lists], dtype=np.int64)))
    try:
        return np.fromiter(chain.from_iterable(lists), np.int64), start
    except OverflowError:
        table.faults.append((0, Fault(f"{table.path}: {column}", "a hash does not fit in 64 bits")))
        return np.zeros(start[-1], np.int64), start
