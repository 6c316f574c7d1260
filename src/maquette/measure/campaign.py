"""All trials of an engine, one after another, each kept as soon as it is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from maquette.errors import Fault, InputError
from maquette.measure.client import Answers, Server, drive
from maquette.measure.record import document
from maquette.measure.trials import Trial, capacity, probe, trials, warm_up

Keep = Callable[[str, str], None]  # the name of a file and what it holds
Progress = Callable[[str, int, int], None]
ANSWERED = 0.95  # of the requests of a trial, as readers of results ask for
PROBED = "capacity.txt"  # tokens per second that the probe saw


def campaign(
    server: Server,
    clients: int,
    seconds: float,
    folder: Path,
    keep: Keep,
    date: str,
    progress: Progress = lambda *_: None,
    answered: Callable[[], object] = lambda: None,
) -> None:
    """Run what has no result in `folder` yet.

    `clients` is how many requests the engine takes at once; `answered` is called when it has
    answered some, before anything is kept.  A campaign that was interrupted goes on with the
    capacity that was found then, so that its loads are the same.
    """
    known = folder / PROBED
    _seen(server, warm_up(clients), progress)
    answered()
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
    """The answers of a trial; InputError where so many failed that the rest says little."""
    seen = drive(
        server, trial.stream(), lambda done, of: progress(f"measuring {trial.name}", done, of)
    )
    if seen.done.mean() < ANSWERED:
        what = f"{len(seen.failures)} of {trial.requests} requests failed: {seen.failures[0]}"
        hint = "what was measured before is kept: the same command goes on"
        raise InputError(Fault(trial.name, what, "19 of 20 answered", hint))
    return seen


def same(path: Path, data: Mapping[str, Any], write: Callable[[str], object]) -> None:
    """Write a file that is not there; InputError beside one that says something else."""
    text = json.dumps(data, indent=2) + "\n"
    if not path.exists():
        write(text)
    elif path.read_text(encoding="utf-8") != text:
        hint = "name another folder with --out, or remove this one"
        raise InputError(Fault(str(path), "is of another engine, model or choice", hint=hint))


def deployment(said: Mapping[str, Any]) -> str:
    """The ``deployment.toml`` that says what was deployed, as `maquette calibrate --from` reads."""
    # Of texts, whole numbers and booleans TOML and JSON are the same.
    lines = [f"{k} = {json.dumps(v)}" for k, v in said.items() if v is not None]
    return "\n".join(["# What served these runs; written by maquette measure.", *lines]) + "\n"
