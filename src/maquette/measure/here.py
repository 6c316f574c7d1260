"""An engine on the processor at hand: its machine file, its model folder, its runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from maquette.catalogue import models
from maquette.errors import Fault, InputError, UnknownName
from maquette.measure.campaign import Keep, Progress, campaign, deployment, pending, same
from maquette.measure.client import available
from maquette.measure.engine import Launch, Started, cores, engine, ready


def launch(**given: Any) -> Launch:
    """How the engine is started; by default half of the cores compute.

    >>> launch(threads=1, max_seqs=8).max_seqs
    8
    """
    return Launch(**{"threads": max(1, len(cores()) // 2), **given})


def config(model: str | None) -> Mapping[str, Any]:
    """The `config.json` of a model by name or path; by default that of a small Llama.

    >>> config(None)["num_hidden_layers"]
    8
    """
    if model is None:
        text = files("maquette.measure").joinpath("tiny.json").read_text(encoding="utf-8")
        return dict(json.loads(text))
    try:
        return models.row(model).config
    except UnknownName:
        models.model(model)  # says all that is wrong with the file
    path = Path(model)
    text = (path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8")
    return dict(json.loads(text))


def disturbance(seconds: float = 1.0) -> float | None:
    """Cores' worth of work that this machine does while we wait; None where nobody says.

    >>> disturbance(0.01) is None or disturbance(0.01) >= 0
    True
    """
    before = _busy()
    time.sleep(seconds)
    after = _busy()
    return None if before is None or after is None else (after - before) / seconds


def _busy() -> float | None:
    """Seconds that all cores together were busy since the machine started."""
    try:
        with open("/proc/stat", encoding="ascii") as lines:
            fields = [int(x) for x in next(lines).split()[1:]]
    except (OSError, ValueError, StopIteration):
        return None
    idle, waiting = fields[3:5]
    return (sum(fields[:8]) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def run(
    place: Path, runs: Path, launch: Launch, config: Mapping[str, Any], seconds: float,
    progress: Progress, keep: Keep,
) -> None:  # fmt: skip
    """Measure what has no result in `runs` yet; `keep` writes a file there whole or not at all.

    Raises:
        InputError: the folder holds runs of another model or launch.
        NotYet: there is no vLLM, or no client.
    """
    available()
    version = ready(launch)
    folder = place / "model"
    folder.mkdir(exist_ok=True)
    started = {"version": version, "seconds": seconds, **asdict(replace(launch, python=""))}
    same(place / "launch.json", started, partial(keep, "../launch.json"))
    same(folder / "config.json", dict(config), partial(keep, "../model/config.json"))
    vocabulary = models.model(str(folder / "config.json")).vocab
    _machine(place / "this.toml", launch.threads, progress)
    if not pending(runs, seconds):
        return

    def said(stage: str) -> None:
        progress(stage, 0, 1)

    with engine(launch, version, folder, vocabulary, place / "engine.log", said) as up:
        keep("deployment.toml", deployment(_said(launch, up)))
        today = date.today().isoformat()
        campaign(up.server, launch.max_seqs, seconds, runs, keep, today, progress)


def _said(launch: Launch, up: Started) -> dict[str, Any]:
    return {
        "model": "../model/config.json", "on": "../this.toml", "engine": "vllm",
        "version": up.version, "tp": 1, "max_seqs": launch.max_seqs,
        "max_batched_tokens": launch.max_batched_tokens, "kv_blocks": up.kv_blocks,
        "prefix_caching": False, "chunked_prefill": True, "graphs": "none", "overlap": False,
    }  # fmt: skip


def _machine(path: Path, threads: int, progress: Progress) -> None:
    """The ceilings of so many cores of this processor, in a process that may use no more."""
    if path.exists():
        return
    progress("measuring the processor", 0, 1)
    asked = [sys.executable, "-m", "maquette", "calibrate", "--machine", "this", "--out", str(path)]
    env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(asked, env=env, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.splitlines() or ["it said nothing"]
        wrong = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        raise InputError(*(Fault("the processor's ceilings", w) for w in wrong or said[-1:]))
