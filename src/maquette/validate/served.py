"""Serving rows as rows to fit to: a simulated level, and the slopes of a static batch.

What a client sees of a loop or a queue is a simulation, too slow to differentiate for every row and
constant.  How it moves with the constants is nearly how a static batch of as many sequences does:
its whole time for a time per token, the prefill of one prompt for a first token.  So a fit moves
along those slopes, and every row is simulated anew where it came to, until that changes little.
Only the way there is approximate: what is compared with a measurement is simulated.  A rate is
fitted as the time it leaves for a token, so that what is slower is larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maquette.price.calibration import CLIENT, Calibration
from maquette.validate.cases import Cases, Subject
from maquette.validate.rows import Floats
from maquette.validate.serving import Key, Run, chosen, measured, run_of, seen
from maquette.validate.shelf import Shelf
from maquette.validate.static import AXES, Batches, Prepared, prepare, seconds

# Deviations of the logarithm beside the scatter that a fit finds.  What waits for a first token
# depends on how a client begins and warms up, which rows do not state; the more of it is waiting,
# the more a small error is amplified.  One alone never waits.
WAITING = 0.10
# The longer of device and server, with a slope before it binds: a fit would not find it otherwise.
SOFT = 4.0
FITTED = ("ttft", "tpot", "rate")  # e2e follows from these; a p99 says little


@dataclass(frozen=True, eq=False)
class Served:
    """Values that rows of one subject measured, and where they were simulated last."""

    runs: Sequence[Run]
    of: Sequence[int]  # the run of each value
    keys: Sequence[tuple[str, Key]]  # quantity and what of it a client tells
    rows: Any  # of the table
    measured: Floats
    sigma: Floats
    shelf: Shelf
    loaded: Prepared  # static batches as large as the load
    single: Prepared  # … and of one prompt
    sent: Floats  # tokens of a batch that a server sends, of each run
    waits: Any  # of each value, whether it is a first token that may wait for others
    base: Floats  # logarithms of what was simulated less those of the slopes there

    def predict(self, cal: Calibration) -> Floats:
        """What is seen, to first order about where the rows were simulated last."""
        return np.asarray(np.exp(self.base) * self._slopes(cal))

    def settled(self, cal: Calibration) -> tuple[Served, float]:
        """Simulated anew, and the median change of a prediction."""
        told = [seen(r, self.shelf, cal) for r in self.runs]
        pairs = zip(self.of, self.keys, strict=True)
        levels = np.array([as_time(q, told[i][k]) for i, (q, k) in pairs])
        # What cannot be run here after all says nothing.
        levels = np.where(np.isfinite(levels) & (levels > 0), levels, self.measured)
        alone = self._slopes(cal)
        base = np.log(levels / alone)
        moved = float(np.median(np.abs(base - self.base)))
        return replace(self, base=base, sigma=self._sigma(levels, alone, cal["request"])), moved

    def _sigma(self, levels: Floats, alone: Floats, outside: float) -> Floats:
        """Deviations that rows have of their own, where first tokens take `levels`."""
        first = np.array([q == "ttft" for q, _ in self.keys])
        waiting = np.maximum(np.maximum(levels, self.measured) / alone, 1.0)
        return np.hypot(
            np.where(self.waits, WAITING * waiting, 0.0),
            np.where(first, CLIENT * outside / np.maximum(levels, outside), 0.0),
        )

    def _slopes(self, cal: Calibration) -> Floats:
        loaded, single = seconds(self.loaded, cal), seconds(self.single, cal)
        outside = np.reshape(cal["request"], single.ttft.shape[:-1])
        sending = self.sent * np.reshape(cal["stream"], (*outside.shape, 1))
        whole = (loaded.e2e**SOFT + sending**SOFT) ** (1 / SOFT)
        told = [
            single.ttft[..., i] + outside if q == "ttft" else whole[..., i]
            for (q, _), i in zip(self.keys, self.of, strict=True)
        ]
        return np.stack(told, axis=-1)


def as_time(quantity: str, value: float) -> float:
    """What is told, as a time."""
    return 1 / value if quantity == "rate" else value


def served(cases: Cases, subject: Subject, rows: Any, shelf: Shelf) -> Served | None:
    """The rows of one subject that can be run and have something measured."""
    runs: list[Run] = []
    values: list[tuple[int, str, Key, int, float, bool]] = []
    for row in map(int, rows):
        one = run_of(cases, subject, row, shelf)
        if isinstance(one, str):
            cases.why[row] = one
            continue
        told = measured(cases.table, row, one)
        own = [(q, k) for q, k in chosen(told).items() if q in FITTED]
        if not own:
            cases.why[row] = "no measured value"
            continue
        for q, k in own:
            values.append((len(runs), q, k, row, as_time(q, told[k]), q == "ttft" and one.load > 1))
        runs.append(one)
    return _served(cases, runs, values, shelf) if values else None


def _served(
    cases: Cases,
    runs: Sequence[Run],
    values: Sequence[tuple[int, str, Key, int, float, bool]],
    shelf: Shelf,
) -> Served | None:
    loads = np.array([max(r.load / r.replicas, 1.0) for r in runs])
    loaded, single = (prepare(_batches(runs, shelf, size)) for size in (loads, np.ones(len(runs))))
    runs_of, quantity, key, row, amount, waits = zip(*values, strict=True)
    why = [loaded.why[i] or single.why[i] for i in runs_of]
    fits = np.array([w == "" for w in why])
    cases.why[list(row)] = why
    if not fits.any():
        return None
    none = np.zeros(int(fits.sum()))
    return Served(
        runs, np.array(runs_of)[fits].tolist(),
        [(q, k) for q, k, f in zip(quantity, key, fits, strict=True) if f],
        np.array(row)[fits], np.array(amount)[fits], none, shelf,
        loaded, single, _tokens(runs, loads), np.array(waits)[fits], none,
    )  # fmt: skip


def _tokens(runs: Sequence[Run], loads: Floats) -> Floats:
    each = [float(r.requests.even[0].output_tokens.mean()) * r.streamed for r in runs]
    return np.asarray(loads * np.array(each))


def _batches(runs: Sequence[Run], shelf: Shelf, size: Floats) -> Batches:
    first = runs[0]
    machine, engine = (
        shelf.machines[first.subject.machine],
        shelf.engine(first.subject.engine, first.subject.since),
    )
    even = [r.requests.even[0] for r in runs]
    return Batches(
        machine=machine,
        engine=replace(engine, policy=shelf.policy(engine, machine)),
        schedule=first.schedule,
        precision=first.subject.precision,
        batch=size,
        inputs=np.array([float(e.input_tokens.mean()) for e in even]),
        outputs=np.array([float(e.output_tokens.mean()) for e in even]),
        mesh={a: np.array([float(getattr(r.plan.mesh, a)) for r in runs]) for a in AXES},
    )
