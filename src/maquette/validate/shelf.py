"""What validation needs to know of the catalogue, handed to it from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from maquette.ir.graph import Program
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.plans.types import Policy
from maquette.price.calibration import Calibration
from maquette.validate import names


@dataclass(frozen=True, eq=False)
class Shelf:
    """Machines, engines, models and calibrations by name.  Aliases map to names."""

    machines: Mapping[str, Machine]
    engines: Mapping[str, Engine]
    models: Mapping[str, str]  # name → family
    program: Callable[[str], Program]
    calibration: Callable[[Machine, str], Calibration]
    policy: Callable[[Engine, Machine], Policy] = lambda engine, _: engine.policy
    machine_aliases: Mapping[str, str] = field(default_factory=dict)
    model_aliases: Mapping[str, str] = field(default_factory=dict)
    engine_aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def machine_names(self) -> names.Names:
        return names.Names(self.machines, self.machine_aliases, names.MACHINE_RULES)

    @cached_property
    def engine_names(self) -> names.Names:
        return names.Names(self.engines, self.engine_aliases, names.ENGINE_RULES)

    @cached_property
    def model_names(self) -> names.Names:
        return names.Names(
            self.models, self.model_aliases, same=names.SAME_SHAPE, endings=names.MODEL_ENDINGS
        )
