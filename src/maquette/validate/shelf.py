"""The catalogue as validation wants it: everything by name, in all spellings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from math import nan
from pathlib import Path
from typing import TypeAlias

from maquette.catalogue import calibrations, engines, machines, models
from maquette.compiler.lower import lower
from maquette.ir.dtypes import dtype
from maquette.ir.graph import Program
from maquette.machines.types import Machine
from maquette.models.decoder import program
from maquette.plans.engine import Engine
from maquette.plans.types import Policy
from maquette.price.calibration import Calibration
from maquette.validate import names

Widths: TypeAlias = tuple[float, float, float, float]  # hidden, inner, heads, KV heads
NOT_KNOWN: Widths = (nan, nan, nan, nan)


@dataclass(frozen=True, eq=False)
class Shelf:
    """Machines, engines, models and calibrations by name.  Aliases map to names."""

    machines: Mapping[str, Machine]
    engines: Mapping[str, Engine]
    models: Mapping[str, str]  # name → family
    program: Callable[[str], Program]
    calibration: Callable[[Machine, str], Calibration]
    checkpoint: Callable[[str], tuple[str, bool]] = lambda _: ("", False)  # see _checkpoint
    widths: Callable[[str], Widths] = lambda _: NOT_KNOWN
    policy: Callable[[Engine, Machine], Policy] = lambda engine, _: engine.policy
    machine_aliases: Mapping[str, str] = field(default_factory=dict)
    model_aliases: Mapping[str, str] = field(default_factory=dict)
    engine_aliases: Mapping[str, str] = field(default_factory=dict)

    def engine(self, name: str, version: str) -> Engine:
        """An engine as it was at a version; as its file has it where nobody says one."""
        known = self.engines[name]
        return replace(known, version=version) if version else known

    @cached_property
    def machine_names(self) -> names.Names:
        return names.Names(self.machines, self.machine_aliases, names.MACHINE_RULES)

    @cached_property
    def engine_names(self) -> names.Names:
        return names.Names(self.engines, self.engine_aliases, names.ENGINE_RULES)

    @cached_property
    def model_names(self) -> names.Names:
        return names.Names(
            self.models,
            self.model_aliases,
            same=names.SAME_SHAPE,
            endings=names.MODEL_ENDINGS,
            beginnings=names.MODEL_BEGINNINGS,
        )


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
        checkpoint=_checkpoint,
        widths=_widths,
        policy=engines.policy,
        machine_aliases=_spelled((n, (m.title, *m.aliases)) for n, m in known.items()),
        model_aliases=_spelled((n, (r.title, *r.aliases)) for n, r in rows.items()),
        engine_aliases=_spelled((e.name, (e.title, *e.aliases)) for e in engines.engines()),
    )


@cache
def _program(name: str) -> Program:
    return program(models.model(name))


@cache
def _checkpoint(name: str) -> tuple[str, bool]:
    """The narrowest format a checkpoint comes in ("" is 16 bits), and whether it has experts.

    >>> _checkpoint("gpt-oss-120b"), _checkpoint("llama-3-8b")
    (('mxfp4', True), ('', False))
    """
    schedule = lower(_program(name), engines.engine("vllm"))
    narrowest = min(schedule.weight_formats, key=lambda f: dtype(f).bytes)
    return "" if dtype(narrowest).bytes >= 2 else narrowest, schedule.experts is not None


@cache
def _widths(name: str) -> Widths:
    """Sizes of the dense layers of a model of the catalogue, NaN where it has none such."""
    if name not in models.names():
        return NOT_KNOWN
    config = models.row(name).config
    heads = float(config.get("num_attention_heads", nan))
    return (
        float(config.get("hidden_size", nan)),
        float(config.get("intermediate_size", nan)),
        heads,
        float(config.get("num_key_value_heads", heads)),
    )


def _spelled(rows: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, str]:
    return {alias: name for name, aliases in rows for alias in aliases}
