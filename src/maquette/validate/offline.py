"""Offline throughput: every request is there at once, tokens per second and accelerator.

A row that states its mesh is simulated as it was run (`serving`).  Others are of submitters, who
tune: every tensor-parallel size that divides the devices is tried, with as many sequences as memory
holds, and the best counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from maquette.compiler.lower import lower
from maquette.plans.types import Infeasible, Mesh, Plan
from maquette.price.calibration import Calibration, unserved
from maquette.price.replica import replica
from maquette.price.seconds import IDEAL
from maquette.price.step import Replica
from maquette.serve.simulate import simulate
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.lengths import lognormal
from maquette.traffic.spec import CV, TrafficSpec, generate
from maquette.units import PerSecond
from maquette.validate.cases import Cases, Subject
from maquette.validate.score import Priced
from maquette.validate.serving import serving
from maquette.validate.shelf import Shelf
from maquette.validate.static import step_spread
from maquette.validate.uncertainty import band

# Mean tokens in and out where a row does not say.  MLPerf's OpenOrca sample: 294.45 tokens out is
# the benchmark's own constant; the input mean is recalled with low confidence.
LENGTHS: Mapping[str, tuple[float, float]] = {"llama-2-70b": (160.0, 294.45)}
REQUESTS, AT_ONCE, SEED = 4000, 1024, 0
BATCH = 256.0  # at which the spread of a step is taken
TENSOR = (1, 2, 4, 8)


def offline(
    cases: Cases, subject: Subject, rows: Any, shelf: Shelf, cal: Calibration
) -> Iterator[tuple[str, Priced]]:
    """Rows of one subject as ``rate``: tokens per second and accelerator."""
    stated = np.isfinite(cases.table.values("tp")[rows])
    if stated.any():
        yield from serving(cases, subject, rows[stated], shelf, cal)
    if not stated.all():
        yield from _tuned(cases, subject, rows[~stated], shelf, cal)


def _tuned(
    cases: Cases, subject: Subject, rows: Any, shelf: Shelf, cal: Calibration
) -> Iterator[tuple[str, Priced]]:
    """Rows that state no mesh."""
    table = cases.table
    found = []
    known: dict[tuple[float, ...], tuple[float, float, float] | str] = {}
    for row in map(int, rows):
        scenario = str(table.words("scenario")[row]).lower()
        lengths = [table.values(c)[row] for c in ("input_tokens", "output_tokens")]
        if np.isnan(lengths).any():
            lengths = list(LENGTHS.get(subject.model, (np.nan, np.nan)))
        devices = max(table.values("devices", 1.0)[row], 1.0)
        measured = table.seconds("device_rate")[row]
        if np.isnan(measured):
            measured = table.seconds("output_rate")[row] / devices
        if scenario not in ("", "offline") or np.isnan(lengths).any() or not measured > 0:
            cases.why[row] = "not an offline row whose lengths and rate are known"
            continue
        key = (devices, *lengths)
        if key not in known:
            known[key] = _best(subject, int(devices), lengths, shelf, cal)
        rates = known[key]
        if isinstance(rates, str):
            cases.why[row] = rates
            continue
        found.append((row, measured, *rates))
    if found:
        columns = np.array(found, dtype=float).T
        row, measured, predicted, sd, ideal = columns
        yield "rate", Priced(row.astype(np.int64), measured, predicted, *band(predicted, sd), ideal)


def _best(
    subject: Subject, devices: int, lengths: list[float], shelf: Shelf, cal: Calibration
) -> tuple[float, float, float] | str:
    """(predicted, sd, ideal) rate of the best tensor-parallel size, or why none runs."""
    machine, engine = shelf.machines[subject.machine], shelf.engine(subject.engine, subject.since)
    schedule = lower(shelf.program(subject.model), engine)
    policy = replace(shelf.policy(engine, machine), max_seqs=AT_ONCE)
    best, bound, sd, why = 0.0, 0.0, cal.residual, "no tensor-parallel size divides the devices"
    for tp in (t for t in TENSOR if devices % t == 0):
        plan = Plan(subject.precision, Mesh(tp), policy, engine=engine.name)
        own = replica(schedule, machine, engine, plan, unserved(cal))
        if isinstance(own, Infeasible):
            why = f"does not fit: {own}"
            continue
        ideal = replica(schedule, machine, engine, plan, IDEAL)
        assert not isinstance(ideal, Infeasible)
        rate = _rate(own, plan, lengths) / tp
        if rate > best:
            best, sd = rate, step_spread(schedule, machine, engine, plan, cal, BATCH)
        bound = max(bound, _rate(ideal, plan, lengths) / tp)
    return (best, sd, bound) if best else why


def _rate(one: Replica, plan: Plan, lengths: list[float]) -> float:
    """Output tokens per second of one replica with all requests waiting."""
    inputs, outputs = (lognormal(mean=mean, cv=CV, max=1024) for mean in lengths)
    at_once = TrafficSpec(inputs, outputs, PerSecond(1e6), Arrivals("constant"))
    requests = generate(at_once, REQUESTS, seed=SEED)
    trace = simulate(requests, [one], plan.policy)
    return float(trace.output_tokens.sum() / (trace.finish_ns.max() / 1e9))
