"""Single kernels as evidence for the constants of a machine.

Only kernels longer than a launch matters to are used, and all rows of one sort together count as
a few independent ones: a table of a hundred thousand products says one thing about a machine, not
a hundred thousand.  Rows of another version of the software count less, by how far a version
moves kernels of their sort.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from maquette.catalogue.engines import engine_at
from maquette.price.seconds import IDEAL
from maquette.validate.cases import resolve_machine
from maquette.validate.durations import unit
from maquette.validate.fit import Observed
from maquette.validate.kernels import SORTS, sorts
from maquette.validate.rows import Floats, Reading, Table, is_calibration
from maquette.validate.shelf import Shelf
from maquette.validate.sort import Bools, Price, Sort

LONG = 20e-6  # seconds; below it launch rules, which steps say more about
INDEPENDENT = 60  # rows of one sort count as at most so many
# Kernels that all engines take from the vendor's libraries; others count for their engine only.
LIBRARY = ("gemm", "linear", "collective")


class Scatter(NamedTuple):
    """Standard deviations of log seconds: about the surface, and from version to version."""

    shape: float
    version: float


# The same kernel with another version of its library, median: products 1.0-2.5 %, attention
# 2-28 % and fused experts 6-17 % on an H100, all-reduce 0.5-1 %; a normal scatter with the median
# of such a range has 1.5 times that deviation.
SCATTER: Mapping[str, Scatter] = {
    "products": Scatter(0.08, 0.025),
    "experts": Scatter(0.15, 0.17),
    "attention": Scatter(0.12, 0.20),
    "collectives": Scatter(0.15, 0.012),
    "scans": Scatter(0.15, 0.17),
}


class Measured(NamedTuple):
    """Rows of one sort that are of one machine and engine."""

    table: Table
    sort: Sort
    rows: Bools
    seconds: Floats


def measured(
    tables: Reading, shelf: Shelf, machine: str, engine: str = "", least: float = LONG
) -> Iterator[Measured]:
    """Kernels of a machine longer than `least` seconds; of one engine, libraries beside it."""
    device = shelf.machines[machine]
    for kind in SORTS:
        for table in tables.of(kind):
            here = (resolve_machine(table, shelf) == machine) & (table.flags == "")
            if engine and kind not in LIBRARY:
                here &= _of(table, shelf, engine)
            for sort in sorts(table, device, shelf) if here.any() else ():
                took = _seconds(table, here & sort.rows, sort.predict)
                rows = here & sort.rows & (took > least)
                if np.any(rows):
                    yield Measured(table, sort, rows, took)


def observe(
    reading: Reading, shelf: Shelf, machine: str, engine: str, version: str = ""
) -> list[Observed]:
    """What the kernel rows of a folder say about a machine running a version of an engine.

    Only products of 16-bit operands do: what narrower ones reach of their peak is another fraction,
    which a machine's measured ceilings tell (`price.rates.reach`).
    """
    held = measured(reading, shelf, machine, engine)
    kept = ((m, m.rows & m.sort.plain & _fitted(m.table)) for m in held)
    return [observed(m, rows, version) for m, rows in kept if np.any(rows)]


def observed(held: Measured, rows: Bools, version: str = "") -> Observed:
    """Some of the rows of a sort, as rows of a fit."""
    n = int(rows.sum())
    scatter = SCATTER[held.sort.family]
    stated = held.table.words("version")[rows]
    other = (stated != "") & (stated != version) & (version != "")
    each = np.hypot(scatter.shape, np.where(other, scatter.version, 0.0))
    sigma = each * np.sqrt(max(1.0, n / INDEPENDENT))
    predict = held.sort.predict
    return Observed(held.seconds[rows], lambda c: predict(c)[rows], sigma, held.sort.what)


def _seconds(table: Table, rows: Bools, predict: Price) -> Floats:
    """Measured seconds; of a column without a unit in the one the speed of light leaves it."""
    raw = table.unitless.get(("e2e", "mean"))
    if ("e2e", "mean") in table.measured or raw is None:
        return table.seconds("e2e")
    told = unit(raw[rows], predict(IDEAL)[rows])
    return raw * told[1] if told else np.full(len(table), np.nan)


def _fitted(table: Table) -> Bools:
    """Rows that no split column sets aside."""
    return np.array([not s or is_calibration(s, "") for s in map(str, table.words("split"))], bool)


def _of(table: Table, shelf: Shelf, engine: str) -> Bools:
    """Rows of the engine whose version these are, or of none in particular."""
    stacks = zip(map(str, table.words("engine")), map(str, table.words("version")), strict=True)
    return np.array([not s or _engine(shelf, s, v) == engine for s, v in stacks], dtype=bool)


def _engine(shelf: Shelf, stack: str, version: str) -> str:
    """The catalogue's engine for what a row calls it; its own words where it has none."""
    name = shelf.engine_names(stack)
    return engine_at(name, version) if name else stack
