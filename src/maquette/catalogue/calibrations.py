"""Calibrations: the ones that ship, those of a file, and which one prices a machine and engine.

A file holds any number of ``[[calibration]]`` tables, the fields of `price.calibration`.  One that
was written before a parameter existed gives it its prior.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from maquette.catalogue import engines, machines
from maquette.catalogue.loader import read_toml, structure
from maquette.errors import Fault, InputError, UnknownName
from maquette.machines.types import Machine
from maquette.price.calibration import (
    NAMES,
    PARAMETERS,
    Calibration,
    first_principles,
    priors,
    transferred,
)

FOLDER = Path(__file__).with_name("calibrations")
OTHER_VERSION = 0.05  # added standard deviations of log parameters when borrowing …
OTHER_ENGINE = 0.12  # … from another engine on the same machine
# Versions bring other kernels: attention moves by 2-28 % (median) from one to the next on an H100,
# fused experts by 6-17 %, and FlashAttention-3 is twice as fast as the one before.
KERNELS, KERNELS_WIDEN = ("attention", "kv", "keys", "vector", "grouped"), 0.25
SAME_CHIP, OTHER_CHIP = 0.08, 0.20  # … from another machine
# Whose calibration stands in for an engine that has none on a machine, nearest first.
KIN = (
    "vllm", "sglang", "tensorrt-llm", "tensorrt-llm-0", "vllm-0.6", "vllm-0.2", "lmdeploy",
    "lmdeploy-0.2", "deepspeed",
)  # fmt: skip
# What another engine or version changes most.
HOST = ("launch", "step", "seq", "collective", "dispatch", "token", "request", "accept", "stream")
HOST_WIDEN = 1.0
# Collectives over PCIe and the host reach far less of their link than over links of their own.
# NCCL's measured all-reduces take 4.5 times as long on an L40S as bytes over the stated bandwidth
# plus 5 us, at the median size (1.9 times on an H100, whose link is fifteen times faster, so that
# latency counts): tables of ai-dynamo/aiconfigurator, 2026-08.
PCIE_LINK, PCIE_SD = 0.25, 0.40


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
    read = structure(CalibrationFile, read_toml(path), name).calibration
    found = tuple(_completed(c) for c in read)
    faults = [f for i, c in enumerate(found) for f in _faults(c, f"{name}: calibration[{i}]")]
    if not found:
        faults.append(Fault(name, "holds no calibration", "[[calibration]] tables"))
    if faults:
        raise InputError(*faults)
    return found


def _completed(cal: Calibration) -> Calibration:
    """A calibration of earlier parameters with the later ones at their priors."""
    held = list(cal.values)
    if len(held) == len(NAMES) or held != [n for n in NAMES if n in cal.values]:
        return cal
    if [len(row) for row in cal.covariance] != [len(held)] * len(held):
        return cal
    style = machines.machine(cal.machine).style if cal.machine in machines.names() else "kernel"
    known = priors(style)
    covariance = np.diag([known[n][1] ** 2 for n in NAMES])
    at = [NAMES.index(n) for n in held]
    covariance[np.ix_(at, at)] = np.array(cal.covariance)
    return replace(
        cal,
        values={n: cal.values.get(n, known[n][0]) for n in NAMES},
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
    )


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
    for kind, known in cal.offsets.items():
        if kind not in cal.spreads and known:
            yield Fault(f"{where}.offsets.{kind}", "has no spread", f"spreads.{kind}")
        for name, (_, sd) in known.items():
            if sd < 0:
                yield Fault(f"{where}.offsets.{kind}.{name}", f"deviates by {sd:g}", "0 or more")
    for kind, spread in cal.spreads.items():
        if spread < 0:
            yield Fault(f"{where}.spreads.{kind}", f"is {spread:g}", "0 or more")
    for kind, sd in cal.unexplained.items():
        if sd < 0:
            yield Fault(f"{where}.unexplained.{kind}", f"is {sd:g}", "0 or more")
    if cal.residual < 0:
        yield Fault(f"{where}.residual", f"is {cal.residual:g}", "0 or more")


@cache
def embedded() -> tuple[Calibration, ...]:
    """The calibrations that ship with the package."""
    return tuple(c for path in sorted(FOLDER.glob("*.toml")) for c in load(path))


def find(
    machine: Machine, engine: str, own: Sequence[Calibration] = (), shipped: bool = True
) -> Calibration:
    """The calibration to price `machine` running `engine`; `own` ones go before shipped ones.

    In order: the same machine and engine; the same machine with another version of the engine or
    another engine, widened; the machine it names in `transfer_from`, likewise; first principles.
    ``source`` says which of these it was.  Of an engine NAME@VERSION it is what rows of that
    version say, where any were fitted.

    >>> from maquette.catalogue.machines import machine
    >>> find(machine("h200"), "vllm").basis
    'transferred'
    """
    pool = (*own, *(embedded() if shipped else ()))
    name, _, version = engine.partition("@")
    return _nearest(machine, name, pool).of(version=version)


def _nearest(machine: Machine, engine: str, pool: Sequence[Calibration]) -> Calibration:
    found = _of(machine.name, engine, pool)
    if found is not None:
        return found
    for donor in _donors(machine):
        found = _of(donor.name, engine, pool)
        if found is not None:
            same_chip = donor.compute.matrix.get("bf16") == machine.compute.matrix.get("bf16")
            moved = transferred(found, machine.name, SAME_CHIP if same_chip else OTHER_CHIP)
            moved = _to_cores(_to_ceiling(moved, donor, machine), donor, machine)
            return _to_host_link(moved, donor, machine)
    prior = first_principles(machine.name, engine, machine.style)
    # Clients are no machine's: what is known of any is as good here.
    return replace(prior, unexplained=next((c.unexplained for c in pool if c.unexplained), {}))


def _to_ceiling(cal: Calibration, donor: Machine, machine: Machine) -> Calibration:
    """`matrix` moved by what plain products are measured to reach on either machine."""
    shares = [_ceiling(donor), _ceiling(machine)]
    if None in shares or shares[0] == shares[1]:
        return cal
    own = min(1.0, cal.values["matrix"] * shares[1] / shares[0])  # type: ignore[operator]
    said = "; the matrix share moved by the ratio of measured product ceilings"
    return replace(cal, values={**cal.values, "matrix": own}, source=cal.source + said)


def _to_cores(cal: Calibration, donor: Machine, machine: Machine) -> Calibration:
    """`rows` of a wafer whose cores have wider arithmetic.

    On one row a core makes as many multiply-adds as the donor's: a wider one wastes more.
    """
    before, after = _per_core(donor), _per_core(machine)
    if machine.style != "wafer" or before is None or after is None:
        return cal
    rows = (cal.values["rows"] + 1) * after / before - 1
    said = "; one row keeps a core as busy as there"
    values = {**cal.values, "rows": max(rows, 1e-3)}
    return replace(cal, values=values, source=cal.source + said)


def _per_core(machine: Machine) -> float | None:
    """Flops per second of one core; None where nobody says."""
    units, peak = machine.compute.units, machine.compute.matrix.get("bf16")
    return None if units is None or peak is None else float(peak.value) / float(units.value)


def _to_host_link(cal: Calibration, donor: Machine, machine: Machine) -> Calibration:
    """`link` of a machine whose devices talk through the host, where its donor's do not."""
    own, other = (m.links.get("scale_up") for m in (machine, donor))
    if own is None or own.topology != "host" or (other is not None and other.topology == "host"):
        return cal
    at = np.array([n == "link" for n in NAMES])
    covariance = np.where(at[:, None] | at, 0.0, np.array(cal.covariance))
    covariance += np.diag(np.where(at, PCIE_SD**2, 0.0))
    return replace(
        cal,
        values={**cal.values, "link": PCIE_LINK},
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
        source=cal.source + "; the link share is that of collectives over PCIe",
    )


def _ceiling(machine: Machine) -> float | None:
    """Share of the bf16 peak that a large plain product is measured to reach."""
    ceiling, peak = machine.compute.ceiling.get("bf16"), machine.compute.matrix.get("bf16")
    return float(ceiling.value) / float(peak.value) if ceiling and peak else None


def _of(machine: str, engine: str, pool: Sequence[Calibration]) -> Calibration | None:
    """The nearest calibration of one machine: this engine, another version, another engine."""
    here = [c for c in pool if c.machine == machine]
    exact = next((c for c in here if c.engine == engine), None)
    if exact is not None or not here:
        return exact
    related = [c for c in here if family(c.engine) == family(engine)]
    if related:
        nearest = min(related, key=lambda c: abs(_release(c.engine) - _release(engine)))
        return _borrowed(nearest, engine, OTHER_VERSION, "another version", pool)
    best = min(here, key=lambda c: KIN.index(c.engine) if c.engine in KIN else len(KIN))
    return _borrowed(best, engine, OTHER_ENGINE, "another engine", pool)


def family(engine: str) -> str:
    """``vllm-0.6`` and ``vllm`` are one engine at two versions."""
    head, _, tail = engine.rpartition("-")
    return head if head and tail[:1].isdigit() else engine


def _release(name: str) -> int:
    """The version that an engine's file is of, as a number, to tell which are near.

    >>> _release("vllm-0.6"), _release("vllm")
    (6, 10)
    """
    version = engines.engine(name).version if name in engines.names() else name.rpartition("-")[2]
    found = re.match(r"(\d+)\.(\d+)", version)
    return 100 * int(found[1]) + int(found[2]) if found else 0


def _borrowed(
    cal: Calibration, engine: str, widen: float, what: str, pool: Sequence[Calibration]
) -> Calibration:
    """Fractions of the machine from `cal`; host overheads from the engine itself where known.

    Fractions belong to the machine first and overheads to the engine's version first, so where
    the engine is calibrated on another machine its overheads come from there.
    """
    host = next((c for c in pool if c.engine == engine), None)
    moved = np.array([n in HOST for n in NAMES])
    covariance = np.array(cal.covariance)
    values, said = dict(cal.values), f"{cal.engine} {cal.version} ({cal.source})"
    if host is None:
        covariance = covariance + np.diag(np.where(moved, HOST_WIDEN, 0.0) ** 2)
    else:
        values |= {n: host.values[n] for n in HOST}
        covariance = np.where(moved[:, None] | moved, 0.0, covariance)
        covariance += np.where(moved[:, None] & moved, np.array(host.covariance), 0.0)
        said += f"; host overheads of {engine} on {host.machine}"
    own = [KERNELS_WIDEN if n in KERNELS else 0.0 for n in NAMES]
    covariance = covariance + np.diag(widen**2 + np.square(own))
    return replace(
        cal,
        engine=engine,
        offsets={},
        values=values,
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
        residual=max(cal.residual, host.residual if host else 0.0),
        basis="transferred",
        source=f"{what} on the same machine: {said}",
    )


def _donors(machine: Machine) -> Iterable[Machine]:
    """Machines to borrow from, nearest first."""
    seen = {machine.name}
    name = machine.transfer_from
    while name and name not in seen:
        seen.add(name)
        try:
            donor = machines.machine(name)
        except UnknownName:
            return
        yield donor
        name = donor.transfer_from
