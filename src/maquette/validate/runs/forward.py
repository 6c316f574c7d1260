"""Runs as the simulator sees them: the same load on the same deployment, and what a client sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from maquette.catalogue.engines import engine_at
from maquette.errors import Fault, InputError, MaquetteError
from maquette.price.calibration import Calibration
from maquette.search.deployment import Deployment
from maquette.serve.simulate import simulate
from maquette.serve.types import FINISHED, Trace
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.spec import TrafficSpec, generate
from maquette.traffic.types import Requests
from maquette.units import PerSecond
from maquette.validate.runs.types import Key, Run, Said, shared
from maquette.validate.shelf import Shelf

Floats: TypeAlias = NDArray[np.float64]
Deploy: TypeAlias = Callable[..., Deployment]
MOST = 1000  # requests simulated, or a few for each client
PER_CLIENT = 4
POLICY = ("max_seqs", "max_batched_tokens", "kv_blocks", "memory_utilisation", "chunked_prefill",
          "prefix_caching", "graphs", "overlap")  # fmt: skip
PLAN = ("tp", "pp", "dp", "ep", "weights", "activations", "kv")


@dataclass(frozen=True, eq=False)
class Point:
    """A run with what was deployed, ready to be simulated; measured values that are compared."""

    run: Run
    deployment: Deployment
    spec: TrafficSpec
    measured: Mapping[Key, float]
    notes: tuple[str, ...]

    @property
    def condition(self) -> tuple[Any, ...]:
        """Runs that repeat each other have the same."""
        load = self.run.load
        means = (round(load.inputs.mean), round(load.outputs.mean))
        return (id(self.deployment), load.rate, load.concurrency, *means)

    def requests(self, seed: int) -> Requests:
        """What was sent: as the file lists it, else drawn."""
        load = self.run.load
        n = min(load.requests, max(MOST, PER_CLIENT * self.spec.arrivals.concurrency))
        if load.listed is None:
            return generate(self.spec, n, seed)
        n = min(n if load.sent_ns is None else load.requests, len(load.listed[0]))
        inputs, outputs = (np.maximum(x[:n], 1) for x in load.listed)
        drawn = generate(self.spec, n, seed)
        return replace(
            drawn,
            arrival_ns=drawn.arrival_ns if load.sent_ns is None else load.sent_ns[:n],
            input_tokens=inputs,
            output_tokens=outputs,
        )


def points(runs: Sequence[Run], deploy: Deploy, shelf: Shelf) -> list[Point]:
    """Runs with their deployments, equal ones deployed once.

    Raises:
        InputError: a run does not say what was deployed, or that cannot be; all faults at once.
    """
    faults: list[Fault] = []
    held: dict[Said, Deployment | None] = {}
    found = []
    for run in runs:
        said = _named(run.said, shelf)
        faults += _missing(run, said, shelf)
        key = replace(said, rate=None, concurrency=None, arrivals=None, input_cv=None,
                      output_cv=None, prefix_tokens=None, prefixes=None)  # fmt: skip
        if said.model is None or said.on is None:
            continue
        if key not in held:
            held[key] = _deployed(key, run, deploy, faults)
        deployment = held[key]
        if deployment is not None:
            try:
                found.append(_point(run, deployment))
            except MaquetteError as error:
                faults += [replace(f, where=f"{run.name}: {f.where}") for f in error.faults]
    if faults:
        raise InputError(*dict.fromkeys(faults))
    return found


def _named(said: Said, shelf: Shelf) -> Said:
    """With the catalogue's names for the model and for the engine at its version."""
    model = said.model and (shelf.model_names(said.model) or said.model)
    engine = said.engine and (shelf.engine_names(said.engine) or said.engine)
    return replace(said, model=model, engine=engine and engine_at(engine, said.version or ""))


def _missing(run: Run, said: Said, shelf: Shelf) -> list[Fault]:
    hint = "in deployment.toml beside the file, or --{} on the command line"
    found = []
    for name, expected in (("model", "a model"), ("on", "devices, such as h100x4")):
        if getattr(said, name) is None:
            found.append(Fault(f"{run.name}: {name}", "is not said", expected, hint.format(name)))
    if (
        run.load.rate is None
        and run.load.concurrency is None
        and not (said.rate or said.concurrency)
    ):
        what = "neither is said"
        hint = "in a deployment.toml beside the file"
        found.append(Fault(f"{run.name}: rate or concurrency", what, "one of them", hint))
    return found


def _deployed(said: Said, run: Run, deploy: Deploy, faults: list[Fault]) -> Deployment | None:
    options = {n: v for n in PLAN if (v := getattr(said, n)) is not None}
    policy = {n: v for n in POLICY if (v := getattr(said, n)) is not None}
    try:
        return deploy(
            said.model, said.on, engine=said.engine, replicas=said.replicas or 1, policy=policy,
            **{"tp": 1, **options},
        )  # fmt: skip
    except MaquetteError as error:
        faults += [replace(f, where=f"{run.name}: {f.where}".rstrip(": ")) for f in error.faults]
        return None


def _point(run: Run, deployment: Deployment) -> Point:
    load, said, notes = run.load, run.said, list(run.notes)
    rate = load.rate or (said.rate if load.concurrency is None else None)
    clients = None if rate else (load.concurrency or said.concurrency)
    arrivals = Arrivals("closed", concurrency=clients) if clients else load.arrivals
    if arrivals is None:
        arrivals = Arrivals(said.arrivals or "poisson")
        if said.arrivals is None:
            notes.append("arrivals taken as Poisson")
    for name, spread, cv in (
        ("input", load.inputs, said.input_cv), ("output", load.outputs, said.output_cv),
    ):  # fmt: skip
        if load.listed is None and cv is None and not spread.told:
            notes.append(f"{name} lengths taken as all equal to their mean")
    spec = TrafficSpec(
        load.inputs.lengths(said.input_cv),
        load.outputs.lengths(said.output_cv),
        None if clients else PerSecond(rate or 1.0),
        arrivals,
        prefixes=shared(said),
    )
    through = ("output_tokens_per_s", "mean")  # of an open loop it is what was asked for
    measured = {k: v for k, v in run.measured.items() if clients or k != through}
    return Point(run, deployment, spec, measured, tuple(notes))


def seen(trace: Trace, keys: Sequence[Key]) -> list[float]:
    """What a client reports of a trace: seconds, or output tokens per second; NaN where nothing."""
    done = trace.status == FINISHED
    if not done.any():
        return [float("nan")] * len(keys)
    out = trace.output_tokens[done]
    ttft = (trace.first_token_ns - trace.arrival_ns)[done] / 1e9
    e2e = (trace.finish_ns - trace.arrival_ns)[done] / 1e9
    many = out > 1
    after = (e2e - ttft)[many]
    columns = {"ttft": ttft, "e2e": e2e, "tpot": after / (out[many] - 1)}
    whole = {
        "itl": float(after.sum() / max((out[many] - 1).sum(), 1)),
        "output_tokens_per_s": float(out.sum() / (trace.finish_ns[done].max() / 1e9)),
    }
    return [
        whole[quantity] if quantity in whole else _statistic(columns[quantity], statistic)
        for quantity, statistic in keys
    ]


def _statistic(x: Floats, name: str) -> float:
    if not len(x):
        return float("nan")
    return float(np.mean(x) if name == "mean" else np.percentile(x, float(name[1:])))


def predict(points: Sequence[Point], cal: Calibration, seed: int = 0) -> Floats:
    """Logarithms of what a client would see of every point, in the order of their keys."""
    fleets = {id(p.deployment): p.deployment for p in points}
    priced = {key: d.fleet(cal.of(d.model.name)) for key, d in fleets.items()}
    found: list[float] = []
    for point in points:
        fleet, policy = priced[id(point.deployment)], point.deployment.plan.policy
        trace = simulate(point.requests(seed), fleet.replicas, policy)
        found += seen(trace, tuple(point.measured))
    return np.asarray(np.log(found))
