"""`compare`: rows one by one, measured or published beside predicted.  For short tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maquette.validate.cases import Cases, Subject, resolve
from maquette.validate.durations import with_units
from maquette.validate.lanes import LANES, priced
from maquette.validate.rows import read
from maquette.validate.score import Priced
from maquette.validate.shelf import Shelf


@dataclass(frozen=True)
class Line:
    """One figure beside its prediction and 80 % interval; SI units, or tokens per second."""

    file: str
    row: int  # of the file, from 1
    machine: str
    engine: str
    model: str
    mesh: str
    quantity: str
    published: float
    predicted: float
    low: float
    high: float
    ideal: float  # of the roofline of the stated peaks, the null model
    basis: str
    evidence: str

    @property
    def error(self) -> float:
        return self.predicted / self.published - 1


def compare(
    folder: str | Path, shelf: Shelf, lanes: Sequence[str] = LANES
) -> tuple[list[Line], dict[str, int]]:
    """Every row of a folder that can be priced, and why others cannot (reason → rows).

    Raises:
        InputError: the folder holds no rows that can be read.
    """
    lines: list[Line] = []
    why: Counter[str] = Counter()
    for table in (t for lane in lanes for t in read(folder).of(lane)):
        cases = with_units(resolve(table, shelf), shelf)
        for subject, rows in cases.groups():
            for cal, quantity, found in priced(table.kind.name, cases, subject, rows, shelf):
                lines += _lines(cases, subject, cal.basis, quantity, found)
        why += Counter(str(w) for w in cases.why if w)
    return sorted(lines, key=lambda x: (x.file, x.row)), dict(why)


def _lines(
    cases: Cases, subject: Subject, basis: str, quantity: str, found: Priced
) -> Iterator[Line]:
    evidence = cases.table.words("evidence")
    for i, row in enumerate(found.rows):
        yield Line(
            cases.table.file,
            int(row) + 1,
            subject.machine,
            subject.engine,
            subject.model,
            f"tp{cases.mesh['tp'][row]:g}",
            quantity,
            float(found.measured[i]),
            float(found.predicted[i]),
            float(found.low[i]),
            float(found.high[i]),
            float(found.ideal[i]),
            basis,
            str(evidence[row]),
        )
