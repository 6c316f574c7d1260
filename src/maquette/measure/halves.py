"""Predictions of the trials that were not learned from, beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from maquette.price.calibration import Calibration
from maquette.traffic.types import Floats
from maquette.validate.runs.forward import Deploy, Point, points
from maquette.validate.runs.learn import Learned, Rows, Told, foretell, learn
from maquette.validate.runs.types import Key, Run
from maquette.validate.shelf import Shelf

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Half:
    """One way to deal the trials in two: what was learned from one part says of the other."""

    name: str
    learned: Learned
    rows: Rows  # of the other part
    told: Told
    told_before: Told  # by what was known before any trial
    between: Floats  # null model: a line between the fitted trials of the same kind; logarithms


@dataclass(frozen=True, eq=False)
class Judged:
    """All that a campaign says."""

    points: tuple[Point, ...]
    halves: tuple[Half, ...]
    floors: Mapping[Key, float]  # |log ratio| of trials that were run twice, the median
    calibrations: tuple[Calibration, ...]  # learned from all runs


def judge(
    runs: Sequence[Run],
    deploy: Deploy,
    shelf: Shelf,
    date: str = "",
    progress: Progress = lambda *_: None,
) -> Judged:
    """Learn from one half of the runs and predict the other, dealt in two ways.

    `alternate` leaves every other load out, so that what is predicted lies between what was
    fitted; `heavier` learns from the lighter half of the loads and predicts the heavier one.
    """
    held = points(runs, deploy, shelf)
    halves = [
        half(name, held, fitted, progress)
        for name, fitted in (("alternate", _alternate(held)), ("heavier", _lighter(held)))
    ]
    every = replace(learn(held, progress, hold_out=False).after, date=date)
    return Judged(tuple(held), tuple(halves), floors(held), (every,))


def half(
    name: str, held: Sequence[Point], fitted: set[int], progress: Progress = lambda *_: None
) -> Half:
    """What the points numbered in `fitted` say of the others."""
    mine = [p for i, p in enumerate(held) if i in fitted]
    rest = [p for i, p in enumerate(held) if i not in fitted]
    learned = learn(mine, progress, hold_out=False)
    rows, told = foretell(rest, learned.after, progress)
    _, before = foretell(rest, learned.before, progress)
    return Half(name, learned, rows, told, before, _between(mine, rows))


def _kinds(held: Sequence[Point]) -> dict[str, list[int]]:
    """Indices of points of one kind, lightest load first; repeats stay together."""
    found: dict[str, list[int]] = {}
    for i in sorted(range(len(held)), key=lambda i: weight(held[i])):
        found.setdefault(kind(held[i]), []).append(i)
    return found


def kind(point: Point) -> str:
    """Trials that differ in how heavy the load is and in nothing else."""
    load = point.run.load
    tokens = round(load.inputs.mean / max(load.outputs.mean, 1.0))
    return f"{'clients' if load.concurrency else 'rate'} {'long' if tokens > 8 else 'short'}"


def weight(point: Point) -> float:
    """How heavy the load is: requests per second, or clients."""
    load = point.run.load
    return float(load.rate or load.concurrency or 0.0)


def _alternate(held: Sequence[Point]) -> set[int]:
    chosen: set[int] = set()
    for nth, own in enumerate(_kinds(held).values()):
        loads = sorted({weight(held[i]) for i in own})
        keep = {w for i, w in enumerate(loads) if (i + nth) % 2 == 0}
        chosen |= {i for i in own if weight(held[i]) in keep}
    return chosen


def _lighter(held: Sequence[Point]) -> set[int]:
    chosen: set[int] = set()
    for own in _kinds(held).values():
        loads = sorted({weight(held[i]) for i in own})
        keep = loads[: -(-len(loads) // 2)]
        chosen |= {i for i in own if weight(held[i]) in keep}
    return chosen


def _between(mine: Sequence[Point], rows: Rows) -> Floats:
    """Every row by linear interpolation over the load between fitted trials of its kind.

    Beyond the last fitted load it is what was measured there.
    """
    found = []
    for key, at in zip(rows.key, rows.point, strict=True):
        target = rows.points[at]
        same: dict[float, list[float]] = {}
        for p in mine:
            if kind(p) == kind(target) and key in p.measured:
                same.setdefault(weight(p), []).append(p.measured[key])
        if not same:
            found.append(float("nan"))
            continue
        loads = sorted(same)
        values = [float(np.mean(same[load])) for load in loads]
        found.append(float(np.log(np.interp(weight(target), loads, values))))
    return np.array(found)


def floors(held: Sequence[Point]) -> dict[Key, float]:
    """How far two measurements of one load are apart, the median over loads."""
    apart: dict[Key, list[float]] = {}
    for i, a in enumerate(held):
        for b in held[:i]:
            if a.condition == b.condition:
                for key in a.measured.keys() & b.measured.keys():
                    gap = abs(float(np.log(a.measured[key] / b.measured[key])))
                    apart.setdefault(key, []).append(gap)
    return {key: float(np.median(gaps)) for key, gaps in apart.items()}
