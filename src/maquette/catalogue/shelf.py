"""The catalogue as validation wants it: everything by name, with all spellings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from maquette.catalogue import calibrations, engines, machines, models
from maquette.ir.graph import Program
from maquette.models.decoder import program
from maquette.price.calibration import Calibration
from maquette.validate.shelf import Shelf


def shelf(own: str | Path | None = None, shipped: bool = True) -> Shelf:
    """Everything the catalogue holds; calibrations of the file `own` go before the shipped ones."""
    extra: Sequence[Calibration] = calibrations.load(own) if own is not None else ()
    rows = {n: models.row(n) for n in models.names()}
    known = {n: machines.machine(n) for n in machines.names()}
    return Shelf(
        machines=known,
        engines={e.name: e for e in engines.engines()},
        models={n: models.model(n).family for n in rows},
        program=_program,
        calibration=lambda machine, engine: calibrations.find(machine, engine, extra, shipped),
        policy=engines.policy,
        machine_aliases=_spelled((n, (m.title, *m.aliases)) for n, m in known.items()),
        model_aliases=_spelled((n, (r.title, *r.aliases)) for n, r in rows.items()),
        engine_aliases=_spelled((e.name, (e.title, *e.aliases)) for e in engines.engines()),
    )


@cache
def _program(name: str) -> Program:
    return program(models.model(name))


def _spelled(rows: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, str]:
    return {alias: name for name, aliases in rows for alias in aliases}
