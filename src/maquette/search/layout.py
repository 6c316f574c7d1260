"""A model laid out on the sockets of a dataflow machine, part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from maquette.errors import Fault, InputError, UnknownName
from maquette.ir.graph import Program
from maquette.machines.types import System
from maquette.models.config import ModelConfig
from maquette.models.decoder import program
from maquette.plans.sharding import localise, shards
from maquette.plans.types import Infeasible
from maquette.price.styles import cold_tier
from maquette.space.engine.native import Compiler
from maquette.space.laid import Laid, LaidProgram, Progress, lay
from maquette.space.mapping import Options, Part, part
from maquette.space.mapping.whole import stored


def laid(
    config: ModelConfig,
    on: System,
    parts: Sequence[str] | None,
    batch: tuple[int, int, int],
    overheads: Options,
    seed: int,
    progress: Progress,
    compiler: Compiler | None = None,
) -> LaidProgram:
    """The parts that are named, or all; `batch` is sequences, new tokens and context of each.

    `overheads` says what launching and configuring take where the machine's file does not.
    Weights that do not fit the main tier beside the states are streamed from the tier for what is
    cold, if there is one.  Raises InputError for what has no room or no route, saying what is
    short.
    """
    sizes = dict(zip("bst", batch, strict=True))
    if sizes["t"] < sizes["s"]:
        what = f"{sizes['t']} tokens after a step of {sizes['s']} new ones"
        raise InputError(Fault("--context", what, "no less than --tokens"))
    whole = program(config)
    for name, window in whole.windows.items():
        sizes[name] = min(sizes["t"], window + sizes["s"] - 1)
    names = _named(whole, parts)
    tiers = _tiers(whole, sizes, on) if on.machine.fabric is not None else {}
    found: dict[str, Laid] = {}
    for name in names:
        options = replace(overheads, tiers=tiers, repeats=whole.times[name])
        one = lay(
            _part(whole, name, sizes, on), on.machine, options, seed=seed, progress=progress,
            compiler=compiler,
        )  # fmt: skip
        if isinstance(one, Infeasible):
            short = f"short by {one.short_by:,.4g} {one.unit}"
            raise InputError(Fault(f"{config.name}: {name}", one.reason, hint=short))
        found[name] = one
    return LaidProgram(config.name, found, {name: whole.times[name] for name in found})


def _tiers(whole: Program, sizes: Mapping[str, int], on: System) -> dict[str, str]:
    """Where weights are, if not in the main tier."""
    short = stored(whole, sizes, on.machine, on.devices, Options())
    if short is None:
        return {}
    cold = cold_tier(on.machine)
    if cold is not None:
        tiers = {"weight": cold}
        short = stored(whole, sizes, on.machine, on.devices, Options(tiers))
        if short is None:
            return tiers
    hint = f"short by {short.short_by / 1e9:,.4g} GB a socket: more sockets"
    raise InputError(Fault(on.name, short.reason, hint=hint))


def _part(whole: Program, name: str, sizes: Mapping[str, int], on: System) -> Part:
    graph = whole.parts[name]
    axes = {a.size for v in localise(graph).graph.values for a in v.axes}
    symbols = {s for size in axes for s in size.symbols}

    def divides(sockets: int) -> bool:
        numbers = {**sizes, **shards(symbols, {"tp": sockets, "dp": 1, "ep": 1})}
        known = (size for size in axes if size.symbols <= numbers.keys())
        return all(float(size(numbers)).is_integer() for size in known)

    if not divides(on.devices):
        fit = ", ".join(str(n) for n in range(1, 2 * on.devices) if divides(n))
        what = f"its heads and features do not divide over {on.devices} sockets"
        raise InputError(Fault(f"{whole.name}: {name}", what, f"one of {fit}"))
    return part(graph, sizes, on.devices)


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
