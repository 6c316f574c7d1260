"""Published speeds of machines of any style beside what the price says of them.

A point is one deployment with one batch of equal requests, and one number somebody published: from
a measurement, or a vendor's claim.  `use` says whether a calibration that ships was fitted to it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maquette.catalogue import calibrations, engines, machines, models
from maquette.compiler.lower import lower
from maquette.errors import Fault, InputError
from maquette.machines.types import System
from maquette.models.decoder import program
from maquette.plans.engine import Engine
from maquette.plans.legality import PRECISIONS
from maquette.price.calibration import Calibration
from maquette.validate.static import Batches, Prepared, prepare, seconds

SHIPPED = Path(calibrations.__file__).with_name("points") / "styles.csv"
QUANTITIES = ("tokens_per_s_user", "output_tokens_per_s", "ttft_s")


@dataclass(frozen=True)
class Point:
    """One published number and the deployment it is of."""

    system: str
    model: str
    precision: str
    tp: int
    pp: int
    regions: int  # of a wafer; 0: one for each layer
    overrides: tuple[str, ...]  # what-ifs of the machine that the publication implies
    batch: int
    input_tokens: int
    output_tokens: int
    quantity: str
    value: float
    use: str  # "fitted", "predicted", "not modelled"
    band: float  # what the prediction is held to, as a fraction; NaN: nothing
    evidence: str
    source: str

    @property
    def where(self) -> System:
        return machines.system(self.system, self.overrides)

    @property
    def engine(self) -> Engine:
        machine = self.where.machine
        found = engines.engine(engines.default(machine))
        return replace(found, policy=engines.policy(found, machine))


def points(path: str | Path = SHIPPED) -> tuple[Point, ...]:
    """The points of a file, by default of the one that ships.

    >>> [p.system for p in points() if p.value == 445]
    ['cs-3x4']

    Raises:
        InputError: a row names a quantity that is not one of `QUANTITIES`.
    """
    with Path(path).open(newline="") as stream:
        found = tuple(_point(row) for row in csv.DictReader(stream))
    wrong = {p.quantity for p in found} - set(QUANTITIES)
    if wrong:
        raise InputError(
            *(Fault(str(path), f"{w!r} is no quantity", str(QUANTITIES)) for w in wrong)
        )
    return found


def _point(row: dict[str, str]) -> Point:
    return Point(
        system=row["system"],
        model=row["model"],
        precision=row["precision"],
        tp=int(row["tp"]),
        pp=int(row["pp"]),
        regions=int(row["regions"] or 0),
        overrides=tuple(filter(None, row["set"].split(";"))),
        batch=int(row["batch"]),
        input_tokens=int(row["input_tokens"]),
        output_tokens=int(row["output_tokens"]),
        quantity=row["quantity"],
        value=float(row["value"]),
        use=row["use"],
        band=float(row["band"] or "nan"),
        evidence=row["evidence"],
        source=row["source"],
    )


def prepared(point: Point) -> Prepared:
    """The steps of a point's batch, ready to be priced under any calibration."""
    system, engine = point.where, point.engine
    one = np.ones(1)
    mesh = {"tp": point.tp, "pp": point.pp, "dp": 1, "ep": 1, "regions": point.regions}
    schedule = lower(program(models.model(point.model)), engine)
    return prepare(
        Batches(
            system.machine, engine, schedule, PRECISIONS[point.precision], point.batch * one,
            point.input_tokens * one, point.output_tokens * one,
            {k: v * one for k, v in mesh.items()},
        )
    )  # fmt: skip


def said(point: Point, steps: Prepared, cal: Calibration) -> float:
    """What the price says of a point's quantity; 0 or infinite where it cannot be."""
    took = seconds(steps, cal)
    if point.quantity == "ttft_s":
        return float(took.ttft[0])
    if point.quantity == "tokens_per_s_user":
        return 1 / float(took.tpot[0])
    return point.batch * point.output_tokens / float(took.e2e[0])


def predicted(point: Point) -> float:
    """What the price says of a point under the calibration that ships."""
    cal = calibrations.find(point.where.machine, point.engine.name).of(point.model)
    return said(point, prepared(point), cal)
