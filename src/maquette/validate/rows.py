"""Read a directory of measured rows, tidy CSV or parquet, into columns.

What cannot be read is said, file by file and with the reason, never dropped in silence.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError
from maquette.validate import schema

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]
SUFFIXES = (".csv", ".csv.gz", ".parquet")
CALIBRATION_SHARE = 0.4  # of rows without a split column that a calibration may be fitted to


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one kind from one file, as columns; a number that is not there is NaN."""

    kind: schema.Kind
    file: str
    text: Mapping[str, Texts]
    number: Mapping[str, Floats]
    measured: Mapping[tuple[str, str], Floats]  # (quantity, statistic) in SI units
    flags: Texts  # why a row should not count, "" if it should

    def __len__(self) -> int:
        return len(self.flags)

    def words(self, name: str, default: str = "") -> Texts:
        """A text column, or `default` throughout."""
        found = self.text.get(name)
        return found if found is not None else np.full(len(self), default, dtype=object)

    def values(self, name: str, default: float = np.nan) -> Floats:
        """A number column with `default` where nothing is given."""
        found = self.number.get(name)
        if found is None:
            return np.full(len(self), default)
        return np.where(np.isnan(found), default, found)

    def seconds(self, quantity: str, statistic: str = "mean") -> Floats:
        """A measured column, NaN where there is none."""
        return self.measured.get((quantity, statistic), np.full(len(self), np.nan))


@dataclass(frozen=True)
class Skipped:
    """A file that was not read, and why."""

    file: str
    why: str


@dataclass(frozen=True)
class Reading:
    """What a directory held."""

    folder: str
    tables: tuple[Table, ...]
    skipped: tuple[Skipped, ...]

    def of(self, *kinds: str) -> tuple[Table, ...]:
        return tuple(t for t in self.tables if t.kind.name in kinds)


def read(folder: str | Path) -> Reading:
    """Every file of measured rows in `folder` (and below).

    Raises:
        InputError: the folder cannot be read or holds no file of a known kind.
    """
    folder = Path(folder)
    tables: list[Table] = []
    skipped: list[Skipped] = []
    for path in _files(folder):
        name = path.relative_to(folder).as_posix() if path != folder else path.name
        held = _read_file(path, name)
        (tables if isinstance(held, Table) else skipped).append(held)  # type: ignore[arg-type]
    if not tables:
        raise InputError(*_nothing(folder, skipped))
    return Reading(str(folder), tuple(tables), tuple(skipped))


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InputError(Fault(str(folder), "is not a folder", "a folder of CSV or parquet rows"))
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES))


def _nothing(folder: Path, skipped: Sequence[Skipped]) -> list[Fault]:
    kinds = "; ".join(
        f"{k.title}: {', '.join(k.required)} and {' or '.join(k.measured)}" for k in schema.KINDS
    )
    faults = [Fault(f"{folder}/{s.file}", s.why) for s in skipped]
    what = "holds no rows that can be read" if skipped else "holds no CSV or parquet file"
    return [Fault(str(folder), what, f"columns of one of these kinds ({kinds})"), *faults]


def _read_file(path: Path, name: str) -> Table | Skipped:
    reason = schema.unread(path.name)
    if reason:
        return Skipped(name, reason)
    try:
        headings, body = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        return Skipped(name, f"cannot be read: {error}")
    have = schema.columns(headings)
    kind = schema.recognise(path.name, have)
    if kind is None:
        return Skipped(name, _unrecognised(headings, have, path.name))
    if not body:
        return Skipped(name, "has no rows")
    return _table(kind, name, have, headings, body)


def _unrecognised(headings: Sequence[str], have: schema.Columns, file: str) -> str:
    named = [k for k in schema.KINDS if any(fnmatch(file.lower(), p) for p in k.files)]
    nearest = named[0] if named else min(schema.KINDS, key=lambda k: _lacking(k, have))
    lacking = ", ".join(schema.missing(nearest, have))
    unit = f"; {', '.join(have.unitless)} carries no unit (_s, _ms, _us)" if have.unitless else ""
    return (
        f"is of no known kind: columns {', '.join(headings)}; to be rows of {nearest.title} it "
        f"lacks {lacking}{unit}"
    )


def _lacking(kind: schema.Kind, have: schema.Columns) -> float:
    return len(schema.missing(kind, have)) / (len(kind.required) + 1)


def _csv(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    with io.StringIO(text, newline="") as stream:
        reader = csv.reader(stream)
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


def _parquet(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise ValueError("parquet needs pyarrow: install maquette[parquet]") from None
    table = pq.read_table(path)
    names = list(table.column_names)
    data = [table.column(n).to_pylist() for n in names]
    return names, list(zip(*data, strict=True))


def _table(
    kind: schema.Kind,
    name: str,
    have: schema.Columns,
    headings: Sequence[str],
    body: Sequence[Sequence[Any]],
) -> Table:
    at = {h: i for i, h in enumerate(headings)}
    number: dict[str, Floats] = {}
    bad: Counter[int] = Counter()
    faults: dict[int, str] = {}
    for column, original in have.number.items():
        number[column], wrong = _numbers(row[at[original]] for row in body)
        if column in kind.required:
            faults |= {i: f"{original} is not a number: {v!r}" for i, v in wrong.items()}
            bad.update(wrong)
    measured = {}
    for key, (original, factor) in have.measured.items():
        values, _ = _numbers(row[at[original]] for row in body)
        measured[key] = values * factor
    text = {c: _words(row[at[o]] for row in body) for c, o in have.text.items()}
    flags = _words(_flagged(row, have.flags, at) for row in body)
    for i, why in faults.items():
        flags[i] = why
    return Table(kind, name, text, number, measured, flags)


def _numbers(cells: Iterable[Any]) -> tuple[Floats, dict[int, Any]]:
    values, wrong = [], {}
    for i, cell in enumerate(cells):
        try:
            values.append(float(cell))
        except (TypeError, ValueError):
            values.append(np.nan)
            if cell not in ("", None):
                wrong[i] = cell
    return np.array(values), wrong


def _words(cells: Iterable[Any]) -> Texts:
    held = ["" if c is None else str(c).strip() for c in cells]
    out = np.empty(len(held), dtype=object)
    out[:] = held
    return out


def _flagged(row: Sequence[Any], flags: Sequence[str], at: Mapping[str, int]) -> str:
    """Reasons a row gives not to be counted."""
    found = []
    for name in flags:
        cell = str("" if row[at[name]] is None else row[at[name]]).strip()
        if cell.lower() in ("", "0", "0.0", "false", "no", "none", "nan", "ok", "[]"):
            continue
        found.append(name if cell.lower() in ("1", "1.0", "true", "yes") else cell)
    return "; ".join(found)


def is_calibration(split: str, key: str) -> bool:
    """Whether a row may be fitted to: by its split column, else by a hash of what was run.

    Repeated measurements of one configuration fall on one side.  Without a `key`, only a split
    column makes a row one.

    >>> is_calibration("heldout", "anything")
    False
    """
    word = split.lower()
    if word:
        return word.startswith(("calib", "train", "fit"))
    if not key:
        return False
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32 < CALIBRATION_SHARE
