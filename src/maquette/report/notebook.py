"""How results show themselves: as tables, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch

from rich.console import RenderableType

from maquette.machines.types import Machine, System
from maquette.models.config import ModelConfig
from maquette.plans.engine import Engine
from maquette.price.calibration import Calibration
from maquette.report import composed, explained, listing, planned, simulated
from maquette.report.anatomy import Anatomy
from maquette.report.tables import html, write
from maquette.search.composition import Composed
from maquette.search.simulation import Simulation
from maquette.search.types import Answer


@singledispatch
def parts(thing: object) -> Iterable[RenderableType]:
    """The tables that show `thing`; of what we know nothing about, its representation."""
    return [repr(thing)]


parts.register(Answer, planned.tables)
parts.register(Simulation, simulated.tables)
parts.register(Composed, composed.tables)
parts.register(Anatomy, explained.tables)
parts.register(Machine, lambda m: listing.machine(m)[1])
parts.register(System, lambda s: listing.machine(s.machine)[1])
parts.register(ModelConfig, lambda m: listing.model(m)[1])
parts.register(Engine, lambda e: listing.engine(e)[1])
parts.register(Calibration, lambda c: listing.calibration(c)[1])


def show(thing: object) -> None:
    """Print what is worth knowing of a result, a machine, a model, an engine or a calibration."""
    write(parts(thing))


def as_html(thing: object) -> str:
    """The same as a block of HTML."""
    return html(*parts(thing))
