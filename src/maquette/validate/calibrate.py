"""`calibrate`: fit every machine and engine that a folder has measured runs of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError
from maquette.price.calibration import NAMES, Basis, Calibration, first_principles
from maquette.validate import packaged
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
from maquette.validate.evidence import observe as observe_kernels
from maquette.validate.fit import Fitted, Observed, Prior, calibration, maximise, prior
from maquette.validate.lanes import LANES, quantity_of, said, spaced
from maquette.validate.rows import Floats, Reading, Skipped, read
from maquette.validate.score import EVERY_ROW, Errors, errors
from maquette.validate.served import Served, served
from maquette.validate.shelf import Shelf
from maquette.validate.static import Prepared, Seconds, prepare, seconds

Bools = NDArray[np.bool_]
LEAST_ROWS = 4  # of one machine and engine
ROUNDS = 2  # of fits and simulations of serving rows
SIMULATED = 5  # fitted serving rows of one model, precision, machine and engine
SETTLED = 0.01  # the median change of a prediction at which no further round is taken


@dataclass(frozen=True)
class Fit:
    """One calibration, with its errors on the rows it was fitted to and on rows held out."""

    calibration: Calibration
    fitted: Errors
    held_out: Errors | None


@dataclass(frozen=True)
class Fits:
    """What `calibrate` found."""

    folder: str
    fits: tuple[Fit, ...]
    unpriced: dict[str, int]  # why → rows
    skipped: tuple[Skipped, ...]
    notes: tuple[Skipped, ...] = ()  # what was taken for granted, by file

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        return tuple(f.calibration for f in self.fits)


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one subject, ready to be priced again and again."""

    subject: Subject
    what: str
    measured: Floats
    sigma: Floats
    version: str
    file: str
    calibration: Any
    predict: Callable[[Calibration], Floats]
    served: Served | None = None  # rows that are simulated

    @property
    def key(self) -> tuple[object, ...]:
        """What it is of, and which of it is fitted."""
        rows = self.measured.tobytes(), self.calibration.tobytes()
        return (self.file, self.what, self.subject, *rows)

    def settled(self, cal: Calibration) -> tuple[Block, float]:
        """Its rows simulated where a fit came to, and how far predictions moved."""
        if self.served is None:
            return self, 0.0
        now, moved = self.served.settled(cal)
        return replace(self, served=now, predict=now.predict), moved

    def observed(self, keep: Any) -> Observed:
        return Observed(
            self.measured[keep],
            lambda c: self.predict(c)[keep],
            self.sigma[keep],
            self.what,
            self.subject.model,
            lambda many: self.predict(many)[:, keep],
        )


def calibrate(
    folder: str | Path | Reading,
    shelf: Shelf,
    date: str = "",
    basis: Basis = "fitted",
    everything: bool = False,
    update: bool = False,
    held: Callable[[Cases], Bools] | None = None,
    measured: Path | None = None,
    known: dict[object, Fit] | None = None,
) -> Fits:
    """Fit a calibration to the rows of each (machine, engine) in a folder.

    Static batches are priced; serving rows are simulated (`served`).
    Only rows of the calibration split are fitted (`everything` fits all of them); the errors on
    the others are reported beside.  Kernel rows of the same machine inform its fractions.  With
    `update` a fit starts from what the shelf's calibration says instead of from the priors: a few
    rows then correct it.  Rows that are `held` are not fitted, and all others are, except those of
    a file with a split that says otherwise.  Fits that are `known` are not made again: folds that
    hold out none of a machine's rows share its fit.

    Raises:
        InputError: the folder has too few rows that can be priced.
    """
    reading = folder if isinstance(folder, Reading) else read(folder)
    known = {} if known is None else known
    blocks: list[Block] = []
    why: Counter[str] = Counter()
    notes: list[Skipped] = []
    requests = sent(reading.of("requests"))
    for table in reading.of(*LANES):
        cases = with_units(resolve(table, shelf, requests), shelf)
        if held is not None:
            free = cases.calibration if "split" in table.text else True
            cases = replace(cases, calibration=~held(cases) & free)
        of = _blocks if table.kind.name == "static" else _served_blocks
        for subject, rows in cases.groups():
            if cases.calibration[rows].any() or table.kind.name == "static" or everything:
                blocks += of(cases, subject, rows, shelf)
        why, notes = why + Counter(str(w) for w in cases.why if w), notes + said(cases)
    stacks: dict[tuple[str, str], list[Block]] = {}
    for block in blocks:
        stacks.setdefault((block.subject.machine, block.subject.engine), []).append(block)
    found = []
    for (machine, engine), own in sorted(stacks.items()):
        if everything:
            own = [replace(b, calibration=np.ones(len(b.measured), dtype=bool)) for b in own]
        if sum(int(b.calibration.sum()) for b in own) >= LEAST_ROWS:
            start = _start(shelf, machine, engine, update)
            kernels = _kernels(reading, measured, shelf, machine, engine, _version(own))
            key = (machine, engine, *(b.key for b in own))
            if key not in known:
                known[key] = _fit(machine, engine, own, kernels, date, basis, start, everything)
            found.append(known[key])
    if not found:
        raise InputError(_nothing(reading, why))
    return Fits(
        reading.folder, tuple(found), dict(why.most_common()), reading.skipped, tuple(notes)
    )


def _version(own: Sequence[Block]) -> str:
    return ", ".join(sorted({b.version for b in own if b.version}))


def _kernels(
    reading: Reading,
    measured: Path | None,
    shelf: Shelf,
    machine: str,
    engine: str,
    version: str,
) -> list[Observed]:
    """Kernel rows of the folder, and of the tables beside it."""
    if measured is not None:
        beside = packaged.tables(measured, shelf, machine, engine, version)
        reading = replace(reading, tables=(*reading.tables, *beside))
    return observe_kernels(reading, shelf, machine, engine, version)


def _start(shelf: Shelf, machine: str, engine: str, update: bool) -> Prior:
    device = shelf.machines[machine]
    return Prior.of(shelf.calibration(device, engine)) if update else prior(device)


def _nothing(reading: Reading, why: Counter[str]) -> Fault:
    reasons = "; ".join(f"{n} rows: {w}" for w, n in why.most_common(5))
    what = f"has fewer than {LEAST_ROWS} rows to fit for any machine and engine"
    return Fault(reading.folder, what, hint=reasons)


def _blocks(cases: Cases, subject: Subject, rows: Any, shelf: Shelf) -> list[Block]:
    rows = rows[sensible(cases, rows, LENGTHS)]
    if not len(rows):
        return []
    static = batches(cases, subject, rows, shelf)
    why = prepare(static).why
    cases.why[rows] = why
    rows, static = rows[why == ""], static.where(why == "")
    if not len(rows):
        return []
    price = _remembered(prepare(static))
    measured = measured_static(cases.table)
    both = (measured["e2e"][rows] > 0) & (measured["tpot"][rows] > 0)
    versions = cases.table.words("version")
    sigma = cases.table.values("sigma", 0.0)
    found = []
    for quantity, values in measured.items():
        keep = values[rows] > 0
        if quantity == "tpot":
            keep &= ~both  # derived from the other two, it would count them twice
        if np.any(keep):
            found.append(
                Block(
                    subject,
                    f"{subject.model} {quantity}",
                    values[rows][keep],
                    sigma[rows][keep],
                    ", ".join(sorted({str(v) for v in versions[rows][keep] if v})),
                    cases.table.file,
                    cases.calibration[rows][keep],
                    partial(_quantity, price, quantity, keep),
                )
            )
    return found


def _served_blocks(cases: Cases, subject: Subject, rows: Any, shelf: Shelf) -> list[Block]:
    held = served(cases, subject, _spaced(cases, rows), shelf)
    if held is None:
        return []
    versions = {str(v) for v in cases.table.words("version")[held.rows] if v}
    return [
        Block(
            subject,
            f"{subject.model} {cases.table.kind.title}",
            held.measured,
            held.sigma,
            ", ".join(sorted(versions)),
            cases.table.file,
            cases.calibration[held.rows],
            held.predict,
            held,
        )
    ]


def _spaced(cases: Cases, rows: Any) -> Any:
    """Some of the rows, evenly spaced by load and length: more of one model tell little more."""
    columns = ("input_tokens", "output_tokens", "concurrency", "rate")
    order = np.lexsort([cases.table.values(c, 0.0)[rows] for c in columns])
    rows = rows[order]
    own = cases.calibration[rows]
    fitted, other = rows[own], rows[~own]
    return np.sort(np.concatenate([spaced(fitted, SIMULATED), spaced(other, SIMULATED // 2)]))


def _quantity(
    price: Callable[[Calibration], Seconds], quantity: str, keep: Any, cal: Calibration
) -> Floats:
    return np.asarray(quantity_of(price(cal), quantity)[..., keep])


def _remembered(prepared: Prepared) -> Callable[[Calibration], Seconds]:
    """The price of rows, walked once for all the quantities asked of one calibration."""
    last: list[tuple[Calibration, Seconds]] = []

    def price(cal: Calibration) -> Seconds:
        if not last or last[0][0] is not cal:
            last[:] = [(cal, seconds(prepared, cal))]
        return last[0][1]

    return price


def _fit(
    machine: str,
    engine: str,
    own: Sequence[Block],
    kernels: Sequence[Observed],
    date: str,
    basis: Basis,
    start: Prior,
    everything: bool,
) -> Fit:
    held, own, rows = _settled(machine, engine, own, kernels, start)
    count = sum(len(o.measured) for o in rows)
    files = ", ".join(sorted({b.file for b in own if np.any(b.calibration)}))
    source = f"{count} values of {files}"
    if kernels:
        source += f" and {sum(len(o.measured) for o in kernels)} kernel timings"
    cal = replace(
        calibration(held, machine, engine, _version(own), source, basis),
        rows=count,
        date=date,
        notes=(*_notes(held.covariance, start), *(_every(own) if everything else ())),
    )
    return Fit(cal, _errors(own, cal, True) or Errors(0, 0.0, 0.0, 0.0), _errors(own, cal, False))


def _settled(
    machine: str,
    engine: str,
    own: Sequence[Block],
    kernels: Sequence[Observed],
    start: Prior,
) -> tuple[Fitted, Sequence[Block], list[Observed]]:
    """The fit, the blocks as it left them, and their fitted rows."""
    held: Fitted | None = None
    cal = first_principles(machine, engine).at(start.mean)
    for _ in range(ROUNDS):
        own, moved = _moved(own, cal)
        if held is not None and moved < SETTLED:
            return held, own, _rows(own)
        held = maximise([*_rows(own), *kernels], start, held)
        cal = cal.at(held.logs)
    assert held is not None
    own, _ = _moved(own, cal)  # errors are of simulations
    return held, own, _rows(own)


def _moved(own: Sequence[Block], cal: Calibration) -> tuple[Sequence[Block], float]:
    settled = [b.settled(cal) for b in own]
    return [b for b, _ in settled], max(m for _, m in settled)


def _rows(own: Sequence[Block]) -> list[Observed]:
    return [b.observed(b.calibration) for b in own if np.any(b.calibration)]


def _notes(covariance: Floats, before: Prior) -> tuple[str, ...]:
    """Which parameters the rows said little about."""
    share = np.sqrt(np.diag(covariance)) / before.sd
    weak = [n for n, s in zip(NAMES, share, strict=True) if s > 0.8]
    return (f"mostly prior: {', '.join(weak)}",) if weak else ()


def _every(own: Sequence[Block]) -> tuple[str, ...]:
    """That nothing of these files was held out, so that nobody scores them as if it were."""
    if not all(b.calibration.all() for b in own):
        return ()
    return (EVERY_ROW + ", ".join(sorted({b.file for b in own})),)


def _errors(own: Sequence[Block], cal: Calibration, fitted: bool) -> Errors | None:
    picked = [(b, b.calibration if fitted else ~b.calibration) for b in own]
    picked = [(b, keep) for b, keep in picked if np.any(keep)]
    if not picked:
        return None
    measured = np.concatenate([b.measured[keep] for b, keep in picked])
    predicted = np.concatenate([b.predict(cal)[keep] for b, keep in picked])
    return errors(measured, predicted)
