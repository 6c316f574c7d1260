"""A lane is one kind of row: how each is priced, and the columns that scoring takes from that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.price.calibration import Calibration
from maquette.price.seconds import IDEAL
from maquette.validate import score
from maquette.validate.cases import LENGTHS, Cases, Subject, batches, measured_static, sensible
from maquette.validate.offline import offline
from maquette.validate.regret import Choice, choices
from maquette.validate.rows import Floats, Skipped
from maquette.validate.serving import serving
from maquette.validate.shelf import Shelf
from maquette.validate.static import Seconds, prepare, seconds
from maquette.validate.uncertainty import band, spread

LANES = ("static", "stages", "closed", "offline")
QUANTITIES = ("ttft", "ttft_p99", "tpot", "e2e", "rate")
Pricer = Callable[[Cases, Subject, Any, Shelf, Calibration], Iterator[tuple[str, score.Priced]]]
Held = list[tuple[Subject, Calibration, score.Priced]]


def said(cases: Cases) -> list[Skipped]:
    """What was taken for granted in reading a table."""
    return [Skipped(cases.table.file, note) for note in cases.table.notes]


def thin(cases: Cases, limit: int | None, of: Any = True) -> None:
    """Keep at most `limit` rows `of` some that can be priced, evenly spaced."""
    able = np.flatnonzero((cases.why == "") & of)
    if limit is None or len(able) <= limit:
        return
    cases.why[np.setdiff1d(able, spaced(able, limit))] = (
        f"not simulated: {limit} rows of a file are"
    )


def spaced(rows: Any, most: int) -> Any:
    """At most so many of some rows, evenly spaced.

    >>> spaced(np.arange(9), 3).tolist(), spaced(np.arange(2), 3).tolist()
    ([0, 4, 8], [0, 1])
    """
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


@dataclass(frozen=True, eq=False)
class Compared:
    """Rows of one table beside their prices."""

    scored: list[score.Scored]
    choices: list[Choice]
    why: Counter[str]  # why rows were not priced → how many


def compared(
    lane: str, cases: Cases, shelf: Shelf, used: dict[tuple[str, str], Calibration]
) -> Compared:
    """Price the rows of a table; `used` takes the calibrations."""
    why = cases.why.copy()
    held: dict[str, Held] = {q: [] for q in QUANTITIES}
    for subject, rows in cases.groups():
        machine = shelf.machines[subject.machine]
        used[subject.machine, subject.engine] = shelf.calibration(machine, subject.engine)
        done = np.zeros(len(why), dtype=bool)
        for cal, quantity, found in priced(lane, cases, subject, rows, shelf):
            held[quantity].append((subject, cal, found))
            done[found.rows] = True
        reasons = cases.why[rows]  # pricers add their own
        missed = rows[~done[rows]]
        why[missed] = np.where(
            reasons[~done[rows]] == "", "no measured value", reasons[~done[rows]]
        )
    scored = [_columns(lane, q, found, cases, shelf) for q, found in held.items() if found]
    known = [] if _all_fitted(cases, used) else list(choices(lane, cases, held))
    return Compared(scored, known, Counter(str(w) for w in why if w))


def priced(
    lane: str, cases: Cases, subject: Subject, rows: Any, shelf: Shelf
) -> Iterator[tuple[Calibration, str, score.Priced]]:
    """Rows of one subject by quantity, each under the calibration of its model and version."""
    general = shelf.calibration(shelf.machines[subject.machine], subject.engine)
    for version, own in cases.by_version(rows):
        cal = general.of(subject.model, version)
        for quantity, found in PRICERS[lane](cases, subject, own, shelf, cal):
            yield cal, quantity, found


def _all_fitted(cases: Cases, used: Mapping[tuple[str, str], Calibration]) -> bool:
    return any(score.fitted_all(c, cases.table.file) for c in used.values())


def _columns(lane: str, quantity: str, found: Held, cases: Cases, shelf: Shelf) -> score.Scored:
    def column(value: Callable[[Subject, Calibration], Any]) -> Any:
        cells = [value(s, c) for s, c, p in found for _ in p.rows]
        return np.array(cells, dtype=object)

    def joined(name: str) -> Any:
        return np.concatenate([getattr(p, name) for _, _, p in found])

    fitted = column(lambda _, c: score.fitted_all(c, cases.table.file)).astype(bool)
    return score.Scored(
        lane=lane,
        constant=np.full(sum(len(p.rows) for _, _, p in found), np.nan),
        quantity=quantity,
        machine=column(lambda s, _: s.machine),
        family=column(lambda s, _: shelf.models[s.model]),
        engine=column(lambda s, _: s.engine),
        basis=column(lambda _, c: c.basis),
        experts=column(lambda s, _: shelf.checkpoint(s.model)[1]).astype(bool),
        calibration=cases.calibration[joined("rows")] | fitted,
        **{c: joined(c) for c in ("measured", "predicted", "low", "high", "ideal")},
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

        point_of = np.asarray(quantity_of(point, quantity)[keep])
        yield (
            quantity,
            score.Priced(
                rows[keep],
                values[rows[keep]],
                point_of,
                *band(point_of, spread(price, cal)),
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
