"""`calibrate`: fit every machine and engine that a folder has measured runs of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.errors import Fault, InputError
from maquette.plans.engine import numbered
from maquette.price.calibration import Basis, Calibration
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
from maquette.validate.fit import Observed, Prior, prior
from maquette.validate.fitting import Block, Known, Task, made, versions
from maquette.validate.lanes import LANES, quantity_of, said, spaced
from maquette.validate.rows import Floats, Reading, Skipped, read
from maquette.validate.score import Errors
from maquette.validate.served import served
from maquette.validate.shelf import Shelf
from maquette.validate.static import Prepared, Seconds, prepare, seconds
from maquette.validate.unexplained import unexplained

Bools = NDArray[np.bool_]
LEAST_ROWS = 4  # of one machine and engine
SIMULATED = 5  # fitted serving rows of one model, precision, machine and engine


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


def calibrate(
    folder: str | Path | Reading,
    shelf: Shelf,
    date: str = "",
    basis: Basis = "fitted",
    everything: bool = False,
    update: bool = False,
    held: Callable[[Cases], Bools] | None = None,
    measured: Path | None = None,
    known: Known | None = None,
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
        static = table.kind.name == "static"
        taken = np.arange(len(table)) if static else _spaced(cases)
        for subject, rows in cases.groups():
            rows = rows[np.isin(rows, taken)]
            if static or (len(rows) and (cases.calibration[rows].any() or everything)):
                blocks += (_blocks if static else _served_blocks)(cases, subject, rows, shelf)
        why, notes = why + Counter(str(w) for w in cases.why if w), notes + said(cases)
    stacks: dict[tuple[str, str], list[Block]] = {}
    for block in blocks:
        stacks.setdefault((block.subject.machine, block.subject.engine), []).append(block)
    tasks = []
    for (machine, engine), own in sorted(stacks.items()):
        if everything:
            own = [replace(b, calibration=np.ones(len(b.measured), dtype=bool)) for b in own]
        if sum(int(b.calibration.sum()) for b in own) >= LEAST_ROWS:
            version = versions(own)
            kernels = _kernels(reading, measured, shelf, machine, engine, version)
            tasks.append(Task(machine, engine, version, own, kernels))
    if not tasks:
        raise InputError(_nothing(reading, why))
    all_made = [made(t, _start(shelf, t, update), known) for t in tasks]
    both = [(one, one.calibration(basis, everything)) for one in all_made]
    beside = unexplained(both)
    fits = tuple(
        Fit(
            replace(cal, date=date, unexplained=_before(cal, shelf, update) | beside),
            one.errors(True) or Errors(0, 0.0, 0.0, 0.0),
            one.errors(False),
        )
        for one, cal in both
    )
    return Fits(reading.folder, fits, dict(why.most_common()), reading.skipped, tuple(notes))


def _before(cal: Calibration, shelf: Shelf, update: bool) -> dict[str, float]:
    """What is known of clients before these rows, where a fit starts from what is known."""
    if not update:
        return {}
    return dict(shelf.calibration(shelf.machines[cal.machine], cal.engine).unexplained)


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


def _start(shelf: Shelf, task: Task, update: bool) -> Prior:
    machine = shelf.machines[task.machine]
    return Prior.of(shelf.calibration(machine, task.engine)) if update else prior(machine)


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
                    cases.version[rows][keep],
                    cases.table.file,
                    cases.calibration[rows][keep],
                    partial(_quantity, price, quantity, keep),
                )
            )
    return found


def _served_blocks(cases: Cases, subject: Subject, rows: Any, shelf: Shelf) -> list[Block]:
    held = served(cases, subject, rows, shelf)
    if held is None:
        return []
    return [
        Block(
            subject,
            f"{subject.model} {cases.table.kind.title}",
            held.measured,
            held.sigma,
            cases.version[held.rows],
            cases.table.file,
            cases.calibration[held.rows],
            held.predict,
            held,
        )
    ]


def _spaced(cases: Cases) -> Any:
    """Some serving rows of each model, evenly spaced by version, load and length.

    A simulation takes its time, and more of one model tell little more.
    """
    columns = ("input_tokens", "output_tokens", "concurrency", "rate")
    ages = [numbered(str(v)) for v in cases.version]
    order = {age: i for i, age in enumerate(sorted(set(ages)))}
    rank = np.array([order[age] for age in ages])
    of: dict[tuple[object, ...], list[Any]] = {}
    for subject, rows in cases.groups():
        of.setdefault(subject[:4], []).append(rows)
    kept = [np.zeros(0, dtype=np.int64)]
    for group in of.values():
        rows = np.concatenate(group)
        rows = rows[np.lexsort([*(cases.table.values(c, 0.0)[rows] for c in columns), rank[rows]])]
        own = cases.calibration[rows]
        kept += [spaced(rows[own], SIMULATED), spaced(rows[~own], SIMULATED // 2)]
    return np.concatenate(kept)


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
