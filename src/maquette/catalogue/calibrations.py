"""Calibrations: the ones that ship, those of a file, and which one prices a machine and engine.

A file holds any number of ``[[calibration]]`` tables, the fields of `price.calibration`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from maquette.catalogue import machines
from maquette.catalogue.loader import read_toml, structure
from maquette.errors import Fault, InputError, UnknownName
from maquette.machines.types import Machine
from maquette.price.calibration import (
    NAMES,
    PARAMETERS,
    Calibration,
    first_principles,
    transferred,
)

FOLDER = Path(__file__).with_name("calibrations")
OTHER_VERSION = 0.15  # added standard deviations of log parameters when borrowing …
OTHER_ENGINE = 0.20  # … from another engine on the same machine
HOST = ("launch", "step", "seq", "collective")  # what another engine or version changes most
HOST_WIDEN = 0.50


@dataclass(frozen=True)
class CalibrationFile:
    """What a calibration file holds."""

    calibration: tuple[Calibration, ...]


def load(path: str | Path) -> tuple[Calibration, ...]:
    """The calibrations of a file that `maquette calibrate` wrote or a person edited.

    Raises:
        InputError: the file is malformed, or a value is out of range; all faults at once.
    """
    name = Path(path).name
    found = structure(CalibrationFile, read_toml(path), name).calibration
    faults = [f for i, c in enumerate(found) for f in _faults(c, f"{name}: calibration[{i}]")]
    if not found:
        faults.append(Fault(name, "holds no calibration", "[[calibration]] tables"))
    if faults:
        raise InputError(*faults)
    return found


def _faults(cal: Calibration, where: str) -> Iterable[Fault]:
    for name in sorted({*cal.values} ^ {*NAMES}):
        what = "is missing" if name in NAMES else "is not a parameter"
        yield Fault(f"{where}.values.{name}", what, f"exactly {', '.join(NAMES)}")
    for name, value in cal.values.items():
        if name in PARAMETERS and not 0 < value <= (1 if PARAMETERS[name][2] else np.inf):
            bound = "more than 0 and at most 1" if PARAMETERS[name][2] else "more than 0"
            yield Fault(f"{where}.values.{name}", f"is {value:g}", bound)
    matrix = [list(row) for row in cal.covariance]
    if len(matrix) != len(NAMES) or any(len(row) != len(NAMES) for row in matrix):
        yield Fault(f"{where}.covariance", "has another shape", f"{len(NAMES)} rows of as many")
    elif not np.allclose(matrix, np.transpose(matrix)) or np.linalg.eigvalsh(matrix).min() < -1e-9:
        yield Fault(f"{where}.covariance", "is not symmetric and positive semidefinite")
    if cal.residual < 0:
        yield Fault(f"{where}.residual", f"is {cal.residual:g}", "0 or more")


@cache
def embedded() -> tuple[Calibration, ...]:
    """The calibrations that ship with the package."""
    return tuple(c for path in sorted(FOLDER.glob("*.toml")) for c in load(path))


def find(machine: Machine, engine: str, own: Sequence[Calibration] = ()) -> Calibration:
    """The calibration to price `machine` running `engine`; `own` ones go before embedded ones.

    In order: the same machine and engine; the same machine with another version of the engine or
    another engine, widened; the machine it names in `transfer_from`, likewise; first principles.
    ``source`` says which of these it was.

    >>> from maquette.catalogue.machines import machine
    >>> find(machine("h200"), "vllm").basis
    'transferred'
    """
    for pool in (tuple(own), embedded()):
        found = _own(machine.name, engine, pool)
        if found is not None:
            return found
    for donor in _donors(machine):
        for pool in (tuple(own), embedded()):
            found = _own(donor, engine, pool)
            if found is not None:
                return transferred(found, machine.name)
    return first_principles(machine.name, engine)


def _own(machine: str, engine: str, pool: Iterable[Calibration]) -> Calibration | None:
    here = [c for c in pool if c.machine == machine]
    for cal in here:
        if cal.engine == engine:
            return cal
    related = [c for c in here if _family(c.engine) == _family(engine)]
    if related:
        return _borrowed(related[-1], engine, OTHER_VERSION, "another version")
    if here:
        best = max(here, key=lambda c: (c.rows, -c.residual))
        return _borrowed(best, engine, OTHER_ENGINE, "another engine")
    return None


def _family(engine: str) -> str:
    """``vllm-0.6`` and ``vllm`` are one engine at two versions."""
    head, _, tail = engine.rpartition("-")
    return head if head and tail[:1].isdigit() else engine


def _borrowed(cal: Calibration, engine: str, widen: float, what: str) -> Calibration:
    extra = [widen + (HOST_WIDEN if name in HOST else 0.0) for name in NAMES]
    covariance = np.array(cal.covariance) + np.diag(np.square(extra))
    return replace(
        cal,
        engine=engine,
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
        basis="transferred",
        source=f"{what} on the same machine: {cal.engine} {cal.version} ({cal.source}); "
        "host overheads differ most and are widened most",
    )


def _donors(machine: Machine) -> Iterable[str]:
    """Machines to borrow from, nearest first."""
    seen = {machine.name}
    name = machine.transfer_from
    while name and name not in seen:
        seen.add(name)
        yield name
        try:
            name = machines.machine(name).transfer_from
        except UnknownName:
            return
