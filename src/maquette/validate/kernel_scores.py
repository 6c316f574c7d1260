"""Kernels priced beside measured ones that were not fitted, with a null model beside both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from maquette.price.calibration import Calibration, first_principles
from maquette.validate.evidence import Measured, observed
from maquette.validate.fit import calibration, maximise, prior
from maquette.validate.rows import Floats, is_calibration
from maquette.validate.score import Errors, errors
from maquette.validate.shelf import Shelf
from maquette.validate.sort import Bools

SHAPE = ("m", "n", "k", "groups", "batch", "input_tokens", "context_tokens", "elements", "heads",
         "hidden", "inter")  # fmt: skip
Pick = Callable[[Measured], Bools]


@dataclass(frozen=True)
class KernelScore:
    """Errors on kernels of one sort that a calibration was not fitted to."""

    machine: str
    engine: str
    what: str
    errors: Errors
    null: Errors  # 75 % of the peak, 80 % of the bandwidth, 3 µs
    fitted: int  # rows fitted to, of all sorts


def fitted(held: Sequence[Measured], shelf: Shelf, machine: str, pick: Pick) -> Calibration:
    """The calibration of a machine from the picked rows of its kernels."""
    rows = [observed(m, keep) for m in held if np.any(keep := m.rows & pick(m))]
    if not rows:
        return first_principles(machine, "", shelf.machines[machine].style)
    found = maximise(rows, prior(shelf.machines[machine]))
    return calibration(found, machine, "", "", f"{found.rows} kernels")


def score(
    held: Iterable[Measured], cal: Calibration, machine: str, engine: str, pick: Pick, rows: int = 0
) -> list[KernelScore]:
    """Errors of a calibration on the picked rows, by sort."""
    taken: dict[str, list[tuple[Floats, Floats, Floats]]] = {}
    for m in held:
        keep = m.rows & pick(m)
        if np.any(keep):
            columns = (m.seconds[keep], m.sort.predict(cal)[keep], m.sort.null[keep])
            taken.setdefault(m.sort.what, []).append(columns)
    return [_scored(machine, engine, what, found, rows) for what, found in taken.items()]


def crossed(
    held: Sequence[Measured], shelf: Shelf, machine: str, engine: str, folds: int = 5
) -> list[KernelScore]:
    """Errors on rows left out of the fit, a fold of shapes at a time."""
    taken: dict[str, list[tuple[Floats, Floats, Floats]]] = {}
    for fold in range(folds):
        cal = fitted(held, shelf, machine, lambda m, f=fold: _fold(m, folds) != f)  # type: ignore[misc]
        for m in held:
            keep = m.rows & (_fold(m, folds) == fold)
            if np.any(keep):
                columns = (m.seconds[keep], m.sort.predict(cal)[keep], m.sort.null[keep])
                taken.setdefault(m.sort.what, []).append(columns)
    count = sum(int(m.rows.sum()) for m in held) * (folds - 1) // folds
    return [_scored(machine, engine, what, found, count) for what, found in taken.items()]


def calibrating(m: Measured) -> Bools:
    """Rows of the calibration split, of a column that says so or by their shapes."""
    words = m.table.words("split")
    pairs = zip(words, _shapes(m), strict=True)
    return np.array([is_calibration(str(w), shape) for w, shape in pairs], dtype=bool)


def scoring(m: Measured) -> Bools:
    """All others."""
    return ~calibrating(m)


def _shapes(m: Measured) -> list[str]:
    also = ("devices",) if m.table.kind.name == "exchange" else ()
    columns = np.stack([m.table.values(c) for c in (*SHAPE, *also)], axis=1)
    return [m.sort.what + ",".join(f"{x:g}" for x in row) for row in columns]


def _fold(m: Measured, folds: int) -> Floats:
    digests = (hashlib.sha256(s.encode()).digest() for s in _shapes(m))
    return np.array([int.from_bytes(d[:4], "big") % folds for d in digests])


def _scored(
    machine: str, engine: str, what: str, found: Sequence[tuple[Floats, ...]], rows: int
) -> KernelScore:
    measured, predicted, null = (np.concatenate(c) for c in zip(*found, strict=True))
    ours, nulls = errors(measured, predicted), errors(measured, null)
    assert ours is not None and nulls is not None
    return KernelScore(machine, engine, what, ours, nulls, rows)
