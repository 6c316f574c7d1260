"""`validate`: every row that can be priced, beside its price, by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from maquette.errors import Fault, InputError
from maquette.price.calibration import Calibration
from maquette.price.seconds import IDEAL
from maquette.validate import score
from maquette.validate.cases import (
    LENGTHS,
    Cases,
    Subject,
    batches,
    measured_static,
    resolve,
    sensible,
    sent,
)
from maquette.validate.durations import with_units
from maquette.validate.offline import offline
from maquette.validate.rows import Floats, Reading, Skipped, read
from maquette.validate.serving import serving
from maquette.validate.shelf import Shelf
from maquette.validate.static import Seconds, prepare, seconds
from maquette.validate.uncertainty import spread

LANES = ("static", "stages", "closed", "offline")
QUANTITIES = ("ttft", "tpot", "e2e", "rate")


@dataclass(frozen=True)
class Validation:
    """What was compared and how it came out."""

    folder: str
    groups: tuple[score.Group, ...]
    pooled: dict[tuple[str, str], score.Errors]  # (lane, quantity) → held-out errors of all rows
    fitted: dict[tuple[str, str], score.Errors]  # the same of rows that may be fitted, apart
    rows: dict[str, int]  # lane → rows read
    priced: dict[str, int]  # lane → rows priced
    unpriced: dict[str, dict[str, int]]  # lane → why → rows
    skipped: tuple[Skipped, ...]
    calibrations: tuple[str, ...]  # those used: machine, engine, basis and source
    notes: tuple[Skipped, ...] = ()  # what was taken for granted, by file

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; errors are fractions."""
        return {
            "folder": self.folder,
            "groups": [
                {**g.key._asdict(), **{k: v for k, v in asdict(g).items() if k != "key"}}
                for g in self.groups
            ],
            "pooled": [
                {"lane": lane, "quantity": quantity, **asdict(e)}
                for (lane, quantity), e in self.pooled.items()
            ],
            "fitted": [
                {"lane": lane, "quantity": quantity, **asdict(e)}
                for (lane, quantity), e in self.fitted.items()
            ],
            "rows": self.rows,
            "priced": self.priced,
            "unpriced": self.unpriced,
            "skipped": [asdict(s) for s in self.skipped],
            "calibrations": list(self.calibrations),
            "notes": [asdict(n) for n in self.notes],
        }


Pricer = Callable[[Cases, Subject, Any, Shelf, Calibration], Iterator[tuple[str, score.Priced]]]


def validate(
    folder: str | Path, shelf: Shelf, lanes: Sequence[str] = LANES, limit: int | None = 200
) -> Validation:
    """Compare predictions with the measured rows of a folder.

    Rows of the calibration split are priced but never scored: they are reported apart.  `limit`
    bounds the rows of a file of a serving lane, which are simulated one by one.

    Raises:
        InputError: no row of the lanes asked for can be read.
    """
    wrong = [lane for lane in lanes if lane not in PRICERS]
    if wrong:
        raise InputError(
            *(Fault("lanes", f"no lane {w!r}", f"of {', '.join(LANES)}") for w in wrong)
        )
    reading = read(folder)
    requests = sent(reading.of("requests"))
    scored: list[score.Scored] = []
    counts: dict[str, tuple[int, int, Counter[str]]] = {}
    used: dict[tuple[str, str], Calibration] = {}
    notes: list[Skipped] = []
    for lane in lanes:
        tables = reading.of(lane)
        if not tables:
            continue
        total, priced, why = 0, 0, Counter[str]()
        for table in tables:
            cases = with_units(resolve(table, shelf, requests), shelf)
            if lane != "static":
                _thin(cases, limit)
            found, refused = _lane(lane, cases, shelf, used)
            scored, notes = scored + found, notes + said(cases)
            total, why = total + len(table), why + refused
        priced = total - sum(why.values())
        counts[lane] = (total, priced, why)
    if not counts:
        raise InputError(_no_lane(reading, lanes))
    return replace(_result(reading, scored, counts, used), notes=tuple(notes))


def said(cases: Cases) -> list[Skipped]:
    """What was taken for granted in reading a table."""
    return [Skipped(cases.table.file, note) for note in cases.table.notes]


def _thin(cases: Cases, limit: int | None) -> None:
    """Keep at most `limit` rows that can be priced, evenly spaced."""
    able = np.flatnonzero(cases.why == "")
    if limit is None or len(able) <= limit:
        return
    kept = able[np.linspace(0, len(able) - 1, limit).round().astype(int)]
    cases.why[np.setdiff1d(able, kept)] = f"not simulated: {limit} rows of a file are"


def _lane(
    lane: str, cases: Cases, shelf: Shelf, used: dict[tuple[str, str], Calibration]
) -> tuple[list[score.Scored], Counter[str]]:
    why = cases.why.copy()
    held: dict[str, list[tuple[Subject, Calibration, score.Priced]]] = {q: [] for q in QUANTITIES}
    for subject, rows in cases.groups():
        cal = shelf.calibration(shelf.machines[subject.machine], subject.engine)
        used[subject.machine, subject.engine] = cal
        done = np.zeros(len(why), dtype=bool)
        for quantity, priced in PRICERS[lane](cases, subject, rows, shelf, cal):
            held[quantity].append((subject, cal, priced))
            done[priced.rows] = True
        reasons = cases.why[rows]  # pricers add their own
        missed = rows[~done[rows]]
        why[missed] = np.where(
            reasons[~done[rows]] == "", "no measured value", reasons[~done[rows]]
        )
    scored = [_scored(lane, q, found, cases, shelf) for q, found in held.items() if found]
    return scored, Counter(str(w) for w in why if w)


def _scored(
    lane: str,
    quantity: str,
    found: Sequence[tuple[Subject, Calibration, score.Priced]],
    cases: Cases,
    shelf: Shelf,
) -> score.Scored:
    def column(value: Callable[[Subject, Calibration], str]) -> Any:
        cells = [value(s, c) for s, c, p in found for _ in p.rows]
        return np.array(cells, dtype=object)

    def joined(name: str) -> Any:
        return np.concatenate([getattr(p, name) for _, _, p in found])

    return score.Scored(
        lane=lane,
        quantity=quantity,
        machine=column(lambda s, _: s.machine),
        family=column(lambda s, _: shelf.models[s.model]),
        engine=column(lambda s, _: s.engine),
        basis=column(lambda _, c: c.basis),
        calibration=cases.calibration[joined("rows")]
        | np.array([score.fitted_all(c, cases.table.file) for _, c, p in found for _ in p.rows]),
        measured=joined("measured"),
        predicted=joined("predicted"),
        sd=joined("sd"),
        ideal=joined("ideal"),
    )


def static(
    cases: Cases, subject: Subject, rows: Any, shelf: Shelf, cal: Calibration
) -> Iterator[tuple[str, score.Priced]]:
    """Static batches of one subject, all rows in a few walks."""
    rows = rows[sensible(cases, rows, LENGTHS)]
    if not len(rows):
        return
    prepared = prepare(batches(cases, subject, rows, shelf))
    cases.why[rows] = prepared.why
    point, ideal = seconds(prepared, cal), seconds(prepared, IDEAL)
    for quantity, values in measured_static(cases.table).items():
        keep = np.flatnonzero((values[rows] > 0) & (prepared.why == ""))
        if not len(keep):
            continue

        def price(c: Calibration, quantity: str = quantity, keep: Any = keep) -> Floats:
            return np.asarray(quantity_of(seconds(prepared, c), quantity)[keep])

        yield (
            quantity,
            score.Priced(
                rows[keep],
                values[rows[keep]],
                quantity_of(point, quantity)[keep],
                spread(price, cal),
                quantity_of(ideal, quantity)[keep],
            ),
        )


def quantity_of(held: Seconds, quantity: str) -> Floats:
    """One of ``ttft``, ``tpot``, ``e2e``."""
    values: Floats = getattr(held, quantity)
    return values


PRICERS: dict[str, Pricer] = {
    "static": static,
    "stages": serving,
    "closed": serving,
    "offline": offline,
}


def _no_lane(reading: Reading, lanes: Sequence[str]) -> Fault:
    kinds = sorted({t.kind.name for t in reading.tables})
    return Fault(
        reading.folder,
        f"has rows of {', '.join(kinds)} and none of {', '.join(lanes)}",
        "static batches, serving stages or closed-loop points",
    )


def _result(
    reading: Reading,
    scored: list[score.Scored],
    counts: dict[str, tuple[int, int, Counter[str]]],
    used: dict[tuple[str, str], Calibration],
) -> Validation:
    keys = list(dict.fromkeys((s.lane, s.quantity) for s in scored))
    pooled = {k: e for k in keys if (e := score.pooled(scored, *k))}
    fitted = {k: e for k in keys if (e := score.pooled(scored, *k, fitted=True))}
    return Validation(
        folder=reading.folder,
        groups=tuple(score.groups(_merged(scored))),
        pooled=pooled,
        fitted=fitted,
        rows={lane: total for lane, (total, _, _) in counts.items()},
        priced={lane: priced for lane, (_, priced, _) in counts.items()},
        unpriced={lane: dict(why.most_common()) for lane, (_, _, why) in counts.items()},
        skipped=reading.skipped,
        calibrations=tuple(
            f"{machine} {engine}: {cal.basis}; {cal.source}"
            for (machine, engine), cal in sorted(used.items())
        ),
    )


def _merged(scored: Sequence[score.Scored]) -> list[score.Scored]:
    """Scores of one lane and quantity from several files, as one."""
    found: dict[tuple[str, str], list[score.Scored]] = {}
    for s in scored:
        found.setdefault((s.lane, s.quantity), []).append(s)
    columns = ("machine", "family", "engine", "basis", "calibration", "measured", "predicted")
    return [
        score.Scored(
            lane,
            quantity,
            **{
                c: np.concatenate([getattr(s, c) for s in group]) for c in (*columns, "sd", "ideal")
            },
        )
        for (lane, quantity), group in found.items()
    ]
