"""The fit of one machine and engine: rows in blocks, fitted and simulated in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maquette.plans.engine import numbered
from maquette.price.calibration import (
    CLIENT,
    NAMES,
    OUTSIDE,
    Basis,
    Calibration,
    first_principles,
    minor,
)
from maquette.validate.cases import Subject
from maquette.validate.fit import Fitted, Observed, Prior, calibration, maximise
from maquette.validate.rows import Floats, Texts
from maquette.validate.score import EVERY_ROW, Errors, errors
from maquette.validate.served import Served

ROUNDS = 2  # of fits and simulations of serving rows
SETTLED = 0.01  # the median change of a prediction at which no further round is taken


@dataclass(frozen=True, eq=False)
class Block:
    """Rows of one subject, ready to be priced again and again."""

    subject: Subject
    what: str
    measured: Floats
    sigma: Floats
    version: Texts  # of the engine, of each
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
        return replace(self, served=now, sigma=now.sigma, predict=now.predict), moved

    def priced(self, cal: Calibration) -> Floats:
        """Predictions with the offsets of the model and of each version."""
        found = np.zeros(len(self.measured))
        for version in set(self.version):
            own = self.version == version
            found[own] = self.predict(cal.of(self.subject.model, version))[own]
        return found

    def observed(self, keep: Any) -> Observed:
        return Observed(
            self.measured[keep],
            lambda c: self.predict(c)[keep],
            self.sigma[keep],
            self.what,
            self.subject.model,
            np.array([minor(v) for v in self.version[keep]], dtype=object),
            lambda many: self.predict(many)[:, keep],
        )


@dataclass(frozen=True, eq=False)
class Task:
    """One calibration to fit."""

    machine: str
    engine: str
    version: str
    own: Sequence[Block]
    kernels: Sequence[Observed]

    @property
    def key(self) -> tuple[object, ...]:
        return (self.machine, self.engine, *(b.key for b in self.own))

    def observed(self) -> list[Observed]:
        """What is fitted: rows of runs, then kernels."""
        runs = [b.observed(b.calibration) for b in self.own if np.any(b.calibration)]
        return [*runs, *self.kernels]


@dataclass(frozen=True, eq=False)
class Made:
    """A fit, and its rows simulated where it came to."""

    task: Task
    held: Fitted
    start: Prior

    def at(self) -> Calibration:
        """The constants alone."""
        return calibration(self.held, self.task.machine, self.task.engine, "", "")

    def calibration(self, basis: Basis, everything: bool) -> Calibration:
        """What is kept of it."""
        own, kernels = self.task.own, self.task.kernels
        count = sum(int(b.calibration.sum()) for b in own)
        files = ", ".join(sorted({b.file for b in own if np.any(b.calibration)}))
        source = f"{count} values of {files}"
        if kernels:
            source += f" and {sum(len(o.measured) for o in kernels)} kernel timings"
        task = self.task
        found = calibration(self.held, task.machine, task.engine, task.version, source, basis)
        notes = (*_notes(self.held.covariance, self.start), *(_every(own) if everything else ()))
        return replace(found, rows=count, notes=notes)

    def errors(self, fitted: bool) -> Errors | None:
        """On rows that were fitted, or on the others; None without any."""
        cal = self.at()
        picked = [(b, b.calibration if fitted else ~b.calibration) for b in self.task.own]
        picked = [(b, keep) for b, keep in picked if np.any(keep)]
        if not picked:
            return None
        measured = np.concatenate([b.measured[keep] for b, keep in picked])
        return errors(measured, np.concatenate([b.priced(cal)[keep] for b, keep in picked]))


Known = dict[object, Made]


def versions(own: Sequence[Block]) -> str:
    """The versions that rows name, as they name them."""
    named = {str(v) for b in own for v in b.version if v}
    return ", ".join(sorted(named, key=numbered))


def made(task: Task, start: Prior, known: Known) -> Made:
    """A fit, unless it is known."""
    if task.key not in known:
        known[task.key] = _settled(task, start)
    return known[task.key]


def _settled(task: Task, start: Prior) -> Made:
    """Fits and simulations in turn, until predictions stay."""
    held: Fitted | None = None
    cal = first_principles(task.machine, task.engine).at(start.mean)
    for _ in range(ROUNDS):
        task, moved = _moved(task, cal)
        if held is not None and moved < SETTLED:
            return Made(task, _of_any_client(held, start), start)
        held = maximise(task.observed(), start, held)
        cal = cal.at(held.logs)
    assert held is not None
    # Errors are of simulations.
    return Made(_moved(task, cal)[0], _of_any_client(held, start), start)


def _of_any_client(held: Fitted, start: Prior) -> Fitted:
    """What others' clients and servers take is not known better than they differ."""
    covariance = held.covariance.copy()
    for at in (NAMES.index(name) for name in OUTSIDE):
        covariance[at, at] = max(covariance[at, at], min(start.covariance[at, at], CLIENT**2))
    return replace(held, covariance=covariance)


def _moved(task: Task, cal: Calibration) -> tuple[Task, float]:
    settled = [b.settled(cal) for b in task.own]
    return replace(task, own=[b for b, _ in settled]), max(m for _, m in settled)


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
