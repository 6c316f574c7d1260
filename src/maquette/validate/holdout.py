"""Holding out whole groups: fit to the rows of all others, then score the group.

Rows of one batch size, one model or one machine resemble each other, so rows held out at random
flatter whatever was fitted to their neighbours.  Here a fold holds out whole batch sizes (unseen
shapes), whole models (on seen machines) or whole machines, everything else is fitted anew, and
nothing that ships is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maquette.catalogue import calibrations
from maquette.errors import Fault, InputError
from maquette.price.calibration import Calibration
from maquette.validate import score
from maquette.validate.calibrate import calibrate
from maquette.validate.cases import Cases, resolve, sent
from maquette.validate.durations import with_units
from maquette.validate.fitting import Known
from maquette.validate.lanes import LANES, compared, thin
from maquette.validate.regret import Choice
from maquette.validate.rows import Reading, Table, read
from maquette.validate.shelf import Shelf

Bools = NDArray[np.bool_]
WAYS = ("batch", "model", "machine")
LOADS = {"static": ("batch",), "closed": ("concurrency",), "stages": ("rate",)}
FOLDS = 4
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Fold:
    """Groups that are held out together."""

    way: str
    names: tuple[str, ...]

    def holds(self, cases: Cases) -> Bools:
        """Which rows of a table it holds out."""
        return np.isin(_labels(cases, self.way), self.names)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Rows by how they were held out; those that were fitted are marked, and never scored."""

    scored: dict[str, list[score.Scored]]
    choices: list[Choice]
    skipped: tuple[str, ...]  # ways and folds that could not be, and why


def held_out(
    folder: str | Path | Reading,
    shelf: Shelf,
    ways: Sequence[str] = WAYS,
    lanes: Sequence[str] = LANES,
    limit: int | None = 50,
    progress: Progress = lambda *_: None,
    dealt: int = FOLDS,
) -> HeldOut:
    """Score every group by fits to the others.

    Batch sizes are also numbers of clients, rates, and lengths of what was run all at once.  At
    most `limit` rows of a serving file are simulated in a fold, and a quarter as many of those
    fitted, for the null model; groups are `dealt` into so many folds.

    Raises:
        InputError: a way that is none, or a folder that holds no rows.
    """
    if wrong := [w for w in ways if w not in WAYS]:
        raise InputError(
            *(Fault("hold-out", f"no way {w!r}", f"of {', '.join(WAYS)}") for w in wrong)
        )
    reading = folder if isinstance(folder, Reading) else read(folder)
    found = HeldOut({w: [] for w in ways}, [], ())
    skipped: list[str] = []
    fitted: Known = {}
    todo = [f for w in ways for f in folds(reading, shelf, w, dealt)]
    for w in ways:
        if not any(f.way == w for f in todo):
            skipped.append(f"{w}: there are not two to hold one out")
    for i, fold in enumerate(todo):
        progress(f"without {fold.way} {', '.join(fold.names)}", i, len(todo))
        try:
            fits = calibrate(reading, shelf, held=fold.holds, known=fitted).calibrations
        except InputError as error:
            skipped.append(f"{fold.way} {', '.join(fold.names)}: {error}")
            continue
        known = replace(shelf, calibration=partial(_find, fits))
        for lane in lanes:
            scored, chosen = _lane(reading, lane, known, fold, limit)
            found.scored[fold.way] += scored
            if fold.way == "model":
                found.choices.extend(chosen)
    return replace(found, skipped=tuple(skipped))


def folds(reading: Reading, shelf: Shelf, way: str, dealt: int = FOLDS) -> Iterator[Fold]:
    """At most so many folds, dealt so that neighbours are not held out together."""
    names: set[str] = set()
    groups: dict[str, set[str]] = {}
    for table in reading.of(*LANES):
        cases = resolve(table, shelf)
        names |= {str(x) for x in _labels(cases, way)[cases.why == ""]}
    for name in names - {""}:
        groups.setdefault(_twin(name, shelf) if way == "model" else name, set()).add(name)
    ordered = sorted(groups, key=lambda x: (len(x), x))
    if len(ordered) < 2:
        return
    for i in range(min(dealt, len(ordered))):
        yield Fold(way, tuple(sorted(n for g in ordered[i::dealt] for n in groups[g])))


def _labels(cases: Cases, way: str) -> NDArray[np.object_]:
    """The group of each row."""
    if way == "batch":
        return _loads(cases.table)
    subjects = cases.subject
    return np.array([getattr(s, way) if s is not None else "" for s in subjects], dtype=object)


def _twin(model: str, shelf: Shelf) -> str:
    """What models share that differ in their vocabulary at most: a fold holds all of them."""
    widths = shelf.widths(model)
    return model if np.isnan(widths).any() else " ".join(f"{w:g}" for w in widths)


def _loads(table: Table) -> NDArray[np.object_]:
    """Batch sizes, clients or rates; of rows that were run all at once their lengths."""
    columns = LOADS.get(table.kind.name, ("input_tokens", "output_tokens"))
    values = [table.values(c, 1.0) for c in columns]
    return np.array(["/".join(f"{x:g}" for x in row) for row in zip(*values, strict=True)], object)


def _find(fits: Sequence[Calibration], machine: object, engine: str) -> Calibration:
    return calibrations.find(machine, engine, fits, shipped=False)  # type: ignore[arg-type]


def _lane(
    reading: Reading, lane: str, known: Shelf, fold: Fold, limit: int | None
) -> tuple[list[score.Scored], list[Choice]]:
    """The rows of a lane, those outside the fold as fitted ones; of serving only the fold's."""
    scored: list[score.Scored] = []
    chosen: list[Choice] = []
    requests = sent(reading.of("requests"))
    for table in reading.of(lane):
        cases = with_units(resolve(table, known, requests), known)
        held = fold.holds(cases)
        cases = replace(cases, calibration=~held)
        if lane != "static":
            thin(cases, limit, held)
            thin(cases, limit and limit // 4, ~held)  # what the null model is fitted to
        own = compared(lane, cases, known, {})
        scored += own.scored
        chosen += own.choices
    return [score.with_constant(s) for s in score.joined(scored)], chosen
