"""All trials of an engine, one after another, each kept as soon as it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maquette.measure.client import Server, drive
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
) -> list[str]:
    """Run what has no result in `folder` yet; the names of the results of all trials.

    `clients` is how many requests the engine takes at once.  A campaign that was interrupted goes
    on with the capacity that was found then, so that its loads are the same.
    """
    known = folder / PROBED
    _seen(server, warm_up(clients), progress)
    if not known.exists():
        found = capacity(probe(clients), _seen(server, probe(clients), progress))
        keep(PROBED, f"{found:.6g}\n")
    todo = trials(float(known.read_text()), seconds)
    names = []
    for i, trial in enumerate(todo):
        name = f"{trial.name.replace(' ', '-')}.json"
        names.append(name)
        if not (folder / name).exists():
            progress(f"measuring {trial.name}", i, len(todo))
            keep(name, json.dumps(document(trial, _seen(server, trial, progress), date)))
    progress("measured", len(todo), len(todo))
    return names


def _seen(server: Server, trial: Trial, progress: Progress) -> Any:
    return drive(server, trial.stream(), trial.seed,
                 lambda done, of: progress(f"measuring {trial.name}", done, of))  # fmt: skip


def deployment(said: Mapping[str, Any]) -> str:
    """The ``deployment.toml`` that says what was deployed, as `maquette calibrate --from` reads."""
    lines = [f"{k} = {_toml(v)}" for k, v in said.items() if v is not None]
    return "\n".join(["# What served these runs; written by maquette measure.", *lines]) + "\n"


def _toml(value: Any) -> str:
    return json.dumps(value)  # of texts, whole numbers and booleans both are the same
