"""The processor as it was measured, kept beside the kernels so that every process may use it."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

from maquette.compiler.processor import Processor
from maquette.run import host
from maquette.run.build import cache_folder
from maquette.run.ceilings import Ceilings, measured

RATES = ("fma", "vector", "l1_bandwidth", "l2_bandwidth", "l3_bandwidth", "memory_bandwidth",
         "launch")  # fmt: skip


def processor() -> Processor:
    """This machine with measured rates where ``maquette calibrate --machine this`` kept them.

    Where it did not, rates go by rule; the threads are those this process may use.

    >>> processor().lanes == host.processor().lanes
    True
    """
    return _at(str(cache_folder()), host.processor())


def keep(ceilings: Ceilings) -> Path:
    """Write the rates so that `processor` finds them; the file."""
    path = _place(cache_folder(), ceilings.processor)
    rates = {k: v for k, v in asdict(measured(ceilings)).items() if k in RATES}
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".rates-")
    with open(handle, "w") as file:
        json.dump({"measured": ceilings.date, **rates}, file)
    os.replace(name, path)
    _at.cache_clear()
    return path


def kept() -> str:
    """The day on which the rates of `processor` were measured; empty where they go by rule."""
    return str(_read(_place(cache_folder(), host.processor())).get("measured", ""))


@cache
def _at(folder: str, own: Processor) -> Processor:
    rates = _read(_place(Path(folder), own))
    return replace(own, **{k: rates[k] for k in RATES}) if rates else own


def _read(path: Path) -> dict[str, Any]:
    """The rates of a file, {} where there is none or where it is not one of ours."""
    try:
        held = json.loads(path.read_text())
        good = all(isinstance(held[k], float) and held[k] > 0 for k in RATES)
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return dict(held) if good else {}


def _place(folder: Path, own: Processor) -> Path:
    about = repr((own.name, own.lanes, own.threads, own.l1, own.l2, own.l3))
    return folder / f"processor-{hashlib.sha256(about.encode()).hexdigest()[:16]}.json"
