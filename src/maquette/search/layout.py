"""A model laid out on the sockets of a dataflow machine, part by part."""

from __future__ import annotations

from collections.abc import Sequence

from maquette.errors import Fault, InputError, UnknownName
from maquette.ir.graph import Program
from maquette.machines.types import System
from maquette.models.config import ModelConfig
from maquette.models.decoder import program
from maquette.plans.types import Infeasible
from maquette.space.laid import Laid, LaidProgram, Progress, lay
from maquette.space.mapping import Options, part


def laid(
    config: ModelConfig,
    on: System,
    parts: Sequence[str] | None,
    batch: tuple[int, int, int],
    seed: int,
    progress: Progress,
) -> LaidProgram:
    """The parts that are named, or all; `batch` is sequences, new tokens and context of each.

    Raises InputError for what has no room or no route, saying what is short.
    """
    whole = program(config)
    sizes = dict(zip("bst", batch, strict=True))
    for name, window in whole.windows.items():
        sizes[name] = min(sizes["t"], window + sizes["s"] - 1)
    found: dict[str, Laid] = {}
    for name in _named(whole, parts):
        made = part(whole.parts[name], sizes, on.devices)
        one = lay(made, on.machine, Options(repeats=whole.times[name]), seed=seed,
                  progress=progress)  # fmt: skip
        if isinstance(one, Infeasible):
            short = f"short by {one.short_by:,.4g} {one.unit}"
            raise InputError(Fault(f"{config.name}: {name}", one.reason, hint=short))
        found[name] = one
    return LaidProgram(config.name, found, {name: whole.times[name] for name in found})


def _named(whole: Program, wanted: Sequence[str] | None) -> list[str]:
    if wanted is None:
        return list(whole.times)
    layers = {n: t for n, t in whole.times.items() if n not in ("embed", "head")}
    usual = max(layers, key=lambda n: layers[n])
    names = [usual if name == "layer" else name for name in wanted]
    known = {*whole.times, "layer"}
    unknown = [UnknownName("part", n, known) for n in names if n not in whole.times]
    if unknown:
        raise InputError(*(f for error in unknown for f in error.faults))
    return list(dict.fromkeys(names))
