"""`update`: every calibration that the runs of a folder speak of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from maquette.price.calibration import Calibration
from maquette.validate.runs import folder as reading
from maquette.validate.runs.forward import Deploy, Point, points
from maquette.validate.runs.learn import Learned, Progress, learn
from maquette.validate.runs.types import Said
from maquette.validate.shelf import Shelf


@dataclass(frozen=True, eq=False)
class Updates:
    """What `update` found: a calibration for each machine and engine of the runs."""

    found: reading.Found
    points: tuple[Point, ...]
    learned: tuple[Learned, ...]
    notes: tuple[tuple[str, int], ...]  # what was taken for granted, of how many runs

    @property
    def calibrations(self) -> tuple[Calibration, ...]:
        return tuple(x.after for x in self.learned)


def update(
    folder: str | Path,
    deploy: Deploy,
    shelf: Shelf,
    said: Said = Said(),  # noqa: B008 - frozen
    date: str = "",
    progress: Progress = lambda *_: None,
) -> Updates:
    """Calibrations after the measured runs of a folder.

    `deploy` makes a deployment of a model, a system and options, as `api.deployment` does; the
    calibration it chooses is what was known before.  `said` is what options say of all runs.

    Raises:
        InputError: files or deployments that make no sense, all faults at once.
    """
    found = reading.read(folder, said)
    held = points(found.runs, deploy, shelf)
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in held:
        d = point.deployment
        groups.setdefault((d.system.machine.name, d.engine.name), []).append(point)
    learned = [learn(own, progress) for _, own in sorted(groups.items())]
    return Updates(
        found,
        tuple(held),
        tuple(replace(x, after=replace(x.after, date=date)) for x in learned),
        tuple(Counter(n for p in held for n in p.notes).most_common()),
    )
