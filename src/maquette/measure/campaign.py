"""All trials of an engine, one after another, each kept as soon as it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maquette.measure.client import Answers, Server, drive
from maquette.measure.record import document
from maquette.measure.trials import Trial, capacity, probe, trials, warm_up

Keep = Callable[[str, str], None]  # the name of a file and what it holds
Progress = Callable[[str, int, int], None]
PROBED = "capacity.txt"  # tokens per second that the probe saw


def campaign(
    server: Server,
    clients: int,
    seconds: float,
    folder: Path,
    keep: Keep,
    date: str,
    progress: Progress = lambda *_: None,
) -> None:
    """Run what has no result in `folder` yet.

    `clients` is how many requests the engine takes at once.  A campaign that was interrupted goes
    on with the capacity that was found then, so that its loads are the same.
    """
    known = folder / PROBED
    _seen(server, warm_up(clients), progress)
    if not known.exists():
        found = capacity(_seen(server, probe(clients), progress))
        keep(PROBED, f"{found:.6g}\n")
    todo = trials(float(known.read_text()), seconds)
    for i, trial in enumerate(todo):
        if not (folder / _name(trial)).exists():
            progress(f"measuring {trial.name}", i, len(todo))
            keep(_name(trial), json.dumps(document(trial, _seen(server, trial), date)))
    progress("measured", len(todo), len(todo))


def pending(folder: Path, seconds: float) -> bool:
    """Whether a trial has no result yet."""
    known = folder / PROBED
    if not known.exists():
        return True
    todo = trials(float(known.read_text()), seconds)
    return not all((folder / _name(trial)).exists() for trial in todo)


def _name(trial: Trial) -> str:
    return f"{trial.name.replace(' ', '-')}.json"


def _seen(server: Server, trial: Trial, progress: Progress = lambda *_: None) -> Answers:
    return drive(server, trial.stream(), trial.seed,
                 lambda done, of: progress(f"measuring {trial.name}", done, of))  # fmt: skip


def deployment(said: Mapping[str, Any]) -> str:
    """The ``deployment.toml`` that says what was deployed, as `maquette calibrate --from` reads."""
    lines = [f"{k} = {_toml(v)}" for k, v in said.items() if v is not None]
    return "\n".join(["# What served these runs; written by maquette measure.", *lines]) + "\n"


def _toml(value: Any) -> str:
    return json.dumps(value)  # of texts, whole numbers and booleans both are the same
