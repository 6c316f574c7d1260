"""Durations without a unit: physics tells which one they are in.

A measured duration is never shorter than the machine's speed of light for the same work and
seldom a thousand times longer.  So of seconds, milliseconds, microseconds and nanoseconds the
smallest in which the median row still obeys the speed of light is the unit, and only that one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from maquette.price.seconds import IDEAL
from maquette.validate.cases import Cases, batches
from maquette.validate.rows import Floats, Table
from maquette.validate.shelf import Shelf
from maquette.validate.static import prepare, seconds

UNITS: tuple[tuple[str, float], ...] = (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0))
SLACK = 0.7  # of the speed of light, for facts of machines that are a little off
FEW = 3  # rows that must be priced before anything is said

Key = tuple[str, str]


def with_units(cases: Cases, shelf: Shelf) -> Cases:
    """The cases with every duration in seconds."""
    if not cases.table.unitless:
        return cases
    return replace(cases, table=settled(cases.table, light(cases, shelf)))


def light(cases: Cases, shelf: Shelf) -> dict[str, Floats]:
    """Speed of light of each row that can be priced; of a lone request where rows are of serving.

    Queues stretch a first token without bound, so it tells of a unit only where nothing queues.
    """
    table = cases.table
    found = {q: np.full(len(table), np.nan) for q in ("ttft", "tpot", "e2e")}
    for subject, rows in cases.groups():
        rows = rows[(table.values("input_tokens")[rows] >= 1)]
        if len(rows):
            own = batches(cases, subject, rows, shelf)
            own = replace(own, outputs=np.maximum(np.nan_to_num(own.outputs, nan=1.0), 1.0))
            took = seconds(prepare(own), IDEAL)
            for quantity, values in found.items():
                values[rows] = getattr(took, quantity)
    queued = table.kind.name != "static" and {q for q, _ in table.unitless} & {"tpot", "e2e"}
    if queued:
        found["ttft"][:] = np.nan
    return found


def unit(raw: Floats, bound: Floats) -> tuple[str, float, float] | None:
    """(name, factor to seconds, median ratio to the bound) of a column, or None when unclear.

    >>> unit(np.full(4, 30.0), np.full(4, 0.01))
    ('ms', 0.001, 3.0)
    """
    good = np.isfinite(raw) & np.isfinite(bound) & (raw > 0) & (bound > 0)
    if good.sum() < FEW:
        return None
    ratio = float(np.median(raw[good] / bound[good]))
    for name, factor in UNITS:
        if ratio * factor >= SLACK:
            return name, factor, round(ratio * factor, 6)
    return None


def settled(table: Table, bounds: Mapping[str, Floats]) -> Table:
    """The table with every unitless duration read in the unit its bound leaves it.

    `bounds` is the speed of light of each row in seconds, by quantity; NaN where not known.  A
    column that is still unclear takes the unit of the others of its file.
    """
    found: dict[Key, tuple[str, float, float]] = {}
    for key, raw in table.unitless.items():
        told = unit(raw, bounds.get(key[0], np.full(len(table), np.nan)))
        if told is not None:
            found[key] = told
    units = {f for _, f, _ in found.values()}
    measured, notes = dict(table.measured), list(table.notes)
    for key, raw in table.unitless.items():
        name = " ".join(key)
        if key in found:
            said, factor, ratio = found[key]
            notes.append(f"{name} has no unit: read in {said}, {ratio:.3g} × the speed of light")
        elif len(units) == 1:
            factor = units.pop()
            units = {factor}
            notes.append(f"{name} has no unit: read as the other durations of its file")
        else:
            notes.append(f"{name} has no unit, and no row tells which: not read")
            continue
        measured.setdefault(key, raw * factor)
    return replace(table, measured=measured, unitless={}, notes=tuple(notes))
