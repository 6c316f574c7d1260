"""Read a directory of measured rows, tidy CSV, JSON lines or parquet, into columns.

What cannot be read is said, file by file and with the reason, never dropped in silence.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError
from maquette.validate import schema, vocabulary
from maquette.validate.files import SUFFIXES, content

Floats = NDArray[np.float64]
Texts = NDArray[np.object_]
NEVER = ("0", "0.0", "false", "no")
NO = ("", *NEVER, "none", "nan", "null", "ok", "[]", "{}")  # cells of a flag that is not raised
YES = ("1", "1.0", "true", "yes")
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
    unitless: Mapping[tuple[str, str], Floats] = field(default_factory=dict)  # durations, as read
    notes: tuple[str, ...] = ()  # what was taken for granted

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
        raise InputError(Fault(str(folder), "is not a folder", "a folder of tidy rows"))
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES))


def _nothing(folder: Path, skipped: Sequence[Skipped]) -> list[Fault]:
    kinds = "; ".join(
        f"{k.title}: {', '.join(k.required)} and {' or '.join(k.measured)}" for k in schema.KINDS
    )
    at = folder.parent if folder.is_file() else folder
    faults = [Fault(f"{at / s.file}", s.why) for s in skipped]
    what = "holds no rows that can be read" if skipped else "holds no CSV, JSONL or parquet file"
    return [Fault(str(folder), what, f"columns of one of these kinds ({kinds})"), *faults]


def _read_file(path: Path, name: str) -> Table | Skipped:
    reason = schema.unread(path.name)
    if reason:
        return Skipped(name, reason)
    try:
        headings, body = content(path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, ValueError) as error:
        return Skipped(name, f"cannot be read: {error}")
    have = schema.columns(headings)
    kind = schema.recognise(path.name, have)
    if kind is None:
        return Skipped(name, _unrecognised(headings, have, path.name))
    if not body:
        return Skipped(name, "has no rows")
    return tabled(kind, name, have, headings, body)


def _unrecognised(headings: Sequence[str], have: schema.Columns, file: str) -> str:
    known = schema.named(file)
    nearest = known[0] if known else min(schema.KINDS, key=lambda k: _lacking(k, have))
    lacking = ", ".join(schema.missing(nearest, have))
    return (
        f"is of no known kind: columns {', '.join(headings)}; to be rows of {nearest.title} it "
        f"lacks {lacking}"
    )


def _lacking(kind: schema.Kind, have: schema.Columns) -> float:
    return len(schema.missing(kind, have)) / (len(kind.required) + 1)


def tabled(
    kind: schema.Kind,
    name: str,
    have: schema.Columns,
    headings: Sequence[str],
    body: Sequence[Sequence[Any]],
) -> Table:
    """Rows of a known kind as columns in SI units."""
    at = {h: i for i, h in enumerate(headings)}
    number: dict[str, Floats] = {}
    faults: dict[int, str] = {}
    for column, original in have.number.items():
        number[column], wrong = _numbers(row[at[original]] for row in body)
        if column in kind.required:
            faults |= {i: f"{original} is not a number: {v!r}" for i, v in wrong.items()}
    measured: dict[tuple[str, str], Floats] = {}
    unitless: dict[tuple[str, str], Floats] = {}
    habit = schema.defaults(name.rsplit("/", 1)[-1]).get("rate", "output_rate")
    for (quantity, statistic), (original, factor) in have.measured.items():
        values, _ = _numbers(row[at[original]] for row in body)
        if factor is None:
            unitless[quantity, statistic] = values
        elif quantity != "rate":
            measured[quantity, statistic] = values * factor
        elif (habit, statistic) not in have.measured:
            measured[habit, statistic] = values
    text = {c: _words(row[at[o]] for row in body) for c, o in have.text.items()}
    flags, notes = _flags(body, have, at)
    for i, why in faults.items():
        flags[i] = why
    return Table(kind, name, text, number, measured, flags, unitless, notes)


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


def _flags(
    body: Sequence[Sequence[Any]], have: schema.Columns, at: Mapping[str, int]
) -> tuple[Texts, tuple[str, ...]]:
    """Reasons rows give not to be counted, and which of them were taken for harmless."""
    harmless: set[str] = set()
    flags = []
    for row in body:
        found = []
        for name in have.flags:
            cell = _cell(row[at[name]])
            if cell.lower() in NO:
                continue
            reasons = [name] if cell.lower() in YES else re.split(r"[;,|]\s*", cell.strip("[]"))
            bad = [r for r in reasons if not re.search(vocabulary.HARMLESS, r.lower())]
            harmless.update(set(reasons) - set(bad))
            found += bad
        for name in have.trust:
            if _cell(row[at[name]]).lower() in vocabulary.DISTRUSTED:
                found.append(f"{name}: {_cell(row[at[name]])}")
        found += [f"not {name}" for name in have.keep if _cell(row[at[name]]).lower() in NEVER]
        flags.append("; ".join(found))
    said = (f"flags that do not spoil a latency: {', '.join(sorted(harmless))}",)
    return _words(flags), said if harmless else ()


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


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
