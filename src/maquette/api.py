"""Maquette from Python: the same questions as on the command line, in a line each.

>>> import maquette as mq
>>> step = mq.explain("llama-3.1-8b", on="h100", batch=8, context=2048)
>>> step.deployment.plan.mesh.tp
1
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from maquette.catalogue import calibrations, engines, machines, models
from maquette.catalogue import requests as streams
from maquette.catalogue.machines import machine, system
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.errors import Fault, InputError, UnknownName, together
from maquette.ir.graph import Graph
from maquette.machines.types import Machine, System
from maquette.models.config import ModelConfig
from maquette.models.decoder import program
from maquette.plans.engine import Engine
from maquette.plans.legality import PRECISIONS, adjusted, native, precision, routed
from maquette.price.calibration import Calibration
from maquette.price.memory import Memory, fits
from maquette.price.seconds import priceable
from maquette.report.anatomy import Anatomy, anatomy
from maquette.report.measures import of_output
from maquette.search import layout, simulation
from maquette.search.composition import Composed, compose
from maquette.search.deployment import Deployment, deploy
from maquette.search.forecast import DRAWS
from maquette.search.obstacles import obstacles
from maquette.search.plan import plan as search
from maquette.search.simulation import Progress, Simulation
from maquette.search.types import ASSUMED, Answer, Question, Targets, Wish
from maquette.space.laid import LaidProgram
from maquette.space.mapping import Options
from maquette.traffic.types import Requests
from maquette.units import Seconds
from maquette.validate import packaged

if TYPE_CHECKING:
    from maquette.run.program import Compiled

On = str | System | Sequence[str | System]

__all__ = [
    "Answer",
    "Deployment",
    "Simulation",
    "Targets",
    "compile",
    "compose",
    "deployment",
    "engine",
    "explain",
    "lay",
    "machine",
    "model",
    "obstacles",
    "plan",
    "requests",
    "show",
    "simulate",
    "system",
    "systems",
    "targets",
    "winner",
]

engine = engines.engine


def compile(function: Callable[..., Any] | Graph, *, target: str = "cpu") -> Compiled:
    """A function of torch or NumPy tensors, or a module, that runs fused and tiled.

    A Graph, of the builder or a part of a model family, takes its inputs by name and gives a
    dictionary of its outputs.

    It is compiled at the first call with new shapes, for this processor (target "cpu"); target
    "numpy" runs the program by the interpreter.  The result shows what was made of it: `program`,
    `derived`, `schedule`, `source`, `report`, `cost`.  It runs forward only and copies no tensor.

    >>> import numpy as np
    >>> import maquette as mq
    >>> norm = mq.compile(lambda x: x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-6))
    >>> bool(abs(norm(np.full((2, 8), 3.0, np.float32)) - 1).max() < 1e-5)
    True
    """
    from maquette.run.program import Compiled

    return Compiled(function, target=target, machines=machine)


def show(thing: object) -> None:
    """Print a result, a machine, a model, an engine or a calibration as tables."""
    from maquette.report.notebook import show as printed

    printed(thing)


def _in_notebooks(self: object) -> str:
    from maquette.report.notebook import as_html

    return as_html(self)


# Results are plain data that know no report; notebooks ask them for HTML all the same.
_METHOD = "_repr_html_"
_SHOWN = (Answer, Simulation, Composed, Anatomy, Machine, System, ModelConfig, Engine, Calibration)
for _kind in _SHOWN:
    setattr(_kind, _METHOD, _in_notebooks)


def deployment(
    model: str | ModelConfig,
    on: On,
    *,
    overrides: Sequence[str] = (),
    engine: str | None = None,
    tp: int | None = None,
    pp: int | None = None,
    dp: int | None = None,
    ep: int | None = None,
    replicas: int | None = None,
    weights: str | None = None,
    activations: str | None = None,
    kv: str | None = None,
    policy: Mapping[str, Any] | None = None,
    calibration: Sequence[Calibration] = (),
    prefill_replicas: int | None = None,
    prefill_tp: int | None = None,
    prefill_pp: int | None = None,
    stages: Sequence[int] = (),
    cold: float | None = None,
    regions: int | None = None,
    measured: bool = False,
) -> Deployment:
    """A model on a system: what is not said is the smallest mesh that fits, as often as it fits.

    `engine` is by default vLLM, or the vendor's own where that does not run.  `policy` holds fields
    of `Policy` that differ from the engine's; calibrations of your own go before those that ship,
    and what ``aiconfigurator-core`` `measured` before both; `stages` are the layers of each stage,
    `cold` the share of the weights to stream from the tier for what is cold, `regions` the parts of
    a wafer that layers take turns in.  Raises InputError for what cannot be, or nobody knows.
    """
    config, (where, *others), chosen = together(
        lambda: _config(model),
        lambda: _priced(on, overrides),
        lambda: engines.engine(engine or engines.DEFAULT),
    )
    chosen = chosen if engine else engines.engine(engines.default(where.machine))
    found = calibrations.find(where.machine, chosen.name, calibration)
    if others:
        raise InputError(Fault("on", f"{1 + len(others)} systems are named", "one"))
    apart = Wish(prefill_tp, prefill_pp) if prefill_replicas else None
    if not apart and (prefill_tp or prefill_pp):
        raise InputError(Fault("prefill_replicas", "is missing", "how many only prefill"))
    said, kept = together(
        lambda: precision(weights or native(config.native, where.machine), activations, kv),
        lambda: adjusted(engines.policy(chosen, where.machine), policy or {}),
        lambda: routed(config, policy or {}),
    )[:-1]
    return deploy(
        config, where, chosen, packaged.before(found, where.machine, chosen) if measured else found,
        wish=Wish(tp, pp, dp, ep), precision=said, policy=kept, replicas=replicas, prefill=apart,
        prefill_replicas=prefill_replicas or 0, stages=tuple(stages), cold=cold, regions=regions,
    )  # fmt: skip


def _config(model: str | ModelConfig) -> ModelConfig:
    if model == "":
        raise InputError(Fault("model", "is empty", "a name, or the path of a config.json"))
    return models.model(model) if isinstance(model, str) else model


def systems(on: On, overrides: Sequence[str] = ()) -> tuple[System, ...]:
    """Every system of `on`, each once: ``"h200x8,mi300x8"``, or a list of names and systems.

    >>> [s.name for s in systems("h100x8, h200x4")]
    ['h100-sxmx8', 'h200x4']
    """
    parts = [on] if isinstance(on, str | System) else on
    if overrides and not all(isinstance(p, str) for p in parts):
        raise InputError(Fault("overrides", "need machines by name", hint="see maquette.machine"))
    named = ((lambda p=p: machines.systems(p, overrides)) for p in parts if isinstance(p, str))
    found = [*(p for p in parts if isinstance(p, System)), *chain(*together(*named))]
    by_name: dict[str, System] = {}
    for each in found:
        if by_name.setdefault(each.name, each) != each:
            raise InputError(Fault("on", f"two different systems are called {each.name!r}"))
    return tuple(by_name.values())


def _priced(on: On, overrides: Sequence[str]) -> tuple[System, ...]:
    """The systems of `on`; machines that cannot be priced are refused."""
    found = systems(on, overrides)
    together(*((lambda s=s: priceable(s.machine)) for s in found))
    return found


def explain(model: str | ModelConfig, on: On, *, batch: int = 1, context: int = 1024,
            sensitivity: bool = False, **options: Any) -> Anatomy:  # fmt: skip
    """Where the time of a decode step and of a prefill goes; options as in `deployment`.

    With `sensitivity` also what each fact nobody vouches for is worth (`Anatomy.swings`).
    """
    for name, value in (("batch", batch), ("context", context)):
        if value < 1:
            raise InputError(Fault(name, f"{value} is out of range", "1 or more"))
    return anatomy(deployment(model, on, **options), batch, context, sensitivity)


def lay(
    model: str | ModelConfig,
    on: str | System,
    *,
    overrides: Sequence[str] = (),
    parts: Sequence[str] | None = None,
    batch: int = 1,
    tokens: int = 1,
    context: int = 4096,
    launch: float | None = None,
    configure: float | None = None,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> LaidProgram:
    """A step of a model on a dataflow chip, mapped to units, simulated, placed and routed.

    `parts` names some of ``embed``, ``head`` and the kinds of layers, or ``layer``: the kind that
    occurs most often; all of them if not given.  Each of `batch` sequences has `tokens` new tokens
    and `context` in all.  Several devices share every part by tensor parallelism.  `launch` and
    `configure` are seconds a section takes to start and to load, as in the machine's file if not
    given.  Raises InputError for what is no dataflow chip and for what has no room or route on it.
    """
    from maquette.run.build import builder

    config, (where, *others) = together(lambda: _config(model), lambda: systems(on, overrides))
    if others:
        raise InputError(Fault("on", f"{1 + len(others)} systems are named", "one"))
    overheads = Options(launch=launch, configure=configure)
    sizes = (batch, tokens, context)
    return layout.laid(config, where, parts, sizes, overheads, seed, progress, builder())


def requests(preset: str | None = None, **choice: Any) -> Requests:
    """Traffic: a preset, ``trace="file.csv"``, or mean lengths with a rate or a concurrency.

    The choices are the fields of `catalogue.requests.Asked`.

    >>> len(requests(input_tokens=100, output_tokens=10, rate=5, requests=50))
    50
    """
    return streams.requests(streams.Asked(preset, **choice))


def simulate(
    model: str | ModelConfig,
    on: On,
    *,
    traffic: str | Requests = "chat",
    ttft: float | None = None,
    tpot: float | None = None,
    percentile: float = 99.0,
    draws: int = DRAWS,
    seed: int = 0,
    sensitivity: bool = False,
    progress: Progress = lambda *_: None,
    **options: Any,
) -> Simulation:
    """One deployment (options as in `deployment`) under `traffic`, a preset or requests.

    Targets `ttft` and `tpot` are in seconds, at a percentile of requests.  With `sensitivity` also
    what each fact nobody vouches for is worth (`Simulation.swings`).
    """
    stream, aims, held = together(
        lambda: requests(traffic, seed=seed) if isinstance(traffic, str) else traffic,
        lambda: targets(ttft, tpot, percentile),
        lambda: deployment(model, on, **options),
    )
    return simulation.run(
        held, stream, aims, draws=draws, seed=seed, sensitivity=sensitivity, progress=progress
    )


def targets(
    ttft: float | None = None, tpot: float | None = None, percentile: float = 99.0
) -> Targets:
    """Latency targets in seconds, at a percentile of requests.  Raises InputError."""
    faults = [
        Fault(name, f"{value} is out of range", "seconds, more than zero")
        for name, value in (("ttft", ttft), ("tpot", tpot))
        if value is not None and not 0 < value < float("inf")
    ]
    if not 0 < percentile < 100:
        faults.append(Fault("percentile", f"{percentile} is out of range", "between 0 and 100"))
    if faults:
        raise InputError(*faults)
    first, per = (None if t is None else Seconds(t) for t in (ttft, tpot))
    return Targets(first, per, percentile)


def plan(
    model: str | ModelConfig,
    on: On,
    *,
    traffic: str | Requests = "chat",
    ttft: float | None = None,
    tpot: float | None = None,
    percentile: float = 99.0,
    overrides: Sequence[str] = (),
    engine: str | Sequence[str] = (),
    weights: str | Sequence[str] = (),
    policy: Mapping[str, Any] | None = None,
    calibration: Sequence[Calibration] = (),
    tp: int | None = None,
    pp: int | None = None,
    dp: int | None = None,
    ep: int | None = None,
    replicas: int | None = None,
    confidence: float | None = None,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> Answer:
    """The cheapest plan on any of the systems `on` that keeps the targets, and why.

    Targets `ttft` and `tpot` are in seconds, at a percentile of requests; with neither,
    `search.types.ASSUMED` and a warning that says so.  `engine` is by default vLLM, or on each
    system where that does not run the vendor's own.  `weights` are the precisions to try (the
    model's own if empty); `policy` holds fields of `Policy` that differ from each engine's own,
    and these the search does not vary; nor does it a size of the mesh or a number of replicas.
    `confidence` asks for the cheapest plan that keeps the targets with that chance, over draws of
    the posterior and what no simulation knows of clients, and not only under the most likely
    calibration.
    """
    assumed = ttft is None and tpot is None
    given = (ASSUMED.ttft, ASSUMED.tpot) if assumed else (ttft, tpot)
    config, where, chosen, formats, stream, aims = together(
        lambda: _config(model),
        lambda: _priced(on, overrides),
        lambda: together(*((lambda e=e: engines.engine(e)) for e in _names("engine", engine))),
        lambda: together(*((lambda f=f: _format(f)) for f in _names("weights", weights))),
        lambda: requests(traffic, seed=seed) if isinstance(traffic, str) else traffic,
        lambda: targets(*given, percentile),
        lambda: _share(confidence),
    )[:-1]
    said = {k: v for k, v in (policy or {}).items() if v is not None}
    routed(config, said)
    question = Question(
        config, where, stream, aims, tuple(e.name for e in chosen), tuple(formats),
        tuple(calibration), said, Wish(tp, pp, dp, ep), replicas, seed, assumed, confidence,
    )  # fmt: skip
    return search(question, progress)


def _share(confidence: float | None) -> None:
    if confidence is not None and not 0 < confidence < 1:
        raise InputError(Fault("confidence", f"{confidence} is out of range", "between 0 and 1"))


def _names(what: str, value: str | Sequence[str]) -> list[str]:
    """The names in a list or between commas, each once; an empty list is no list."""
    parts = value.split(",") if isinstance(value, str) else value
    found = list(dict.fromkeys(p.strip() for p in parts if p.strip()))
    if value != () and not found:
        raise InputError(Fault(what, f"{value!r} names nothing"))
    return found


def _format(name: str) -> str:
    if name not in PRECISIONS:
        raise UnknownName("precision", name, PRECISIONS)
    return name


def winner(answer: Answer) -> Simulation | None:
    """The winner of a search on all of its requests, with its trace; None without a winner."""
    if answer.winner is None:
        return None
    found, question, plan = answer.winner, answer.question, answer.winner.plan
    where, chosen, of = found.candidate.system, engines.engine(plan.engine), question.model
    schedule = lower(program(of), chosen)
    memory = fits(schedule, where.machine, chosen, plan)
    assert isinstance(memory, Memory)  # it was simulated
    cal = calibrations.find(where.machine, plan.engine, question.calibrations)
    held = Deployment(of, where, chosen, plan, schedule, cal, memory)
    if len(question.requests) > found.metrics.requests:  # the search looked at the first ones only
        return simulation.run(held, question.requests, question.targets, seed=question.seed)
    again = simulation.run(held, question.requests, question.targets, draws=0)
    intervals = of_output(found.intervals)
    return replace(again, intervals=intervals, probability=found.probability)
