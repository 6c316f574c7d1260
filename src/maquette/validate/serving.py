"""Serving rows: each simulated as it was run, at a rate or at a concurrency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maquette.compiler.lower import lower
from maquette.compiler.schedule import Schedule
from maquette.plans.types import Infeasible, Mesh, Plan
from maquette.price.calibration import Calibration
from maquette.price.replica import replica as price_replica
from maquette.price.seconds import IDEAL
from maquette.price.step import Replica
from maquette.serve.simulate import simulate
from maquette.serve.types import FINISHED, Trace
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.lengths import Lengths, fixed, lognormal, uniform
from maquette.traffic.prefixes import Prefixes
from maquette.traffic.spec import CV, TrafficSpec, generate
from maquette.traffic.types import Requests
from maquette.units import PerSecond
from maquette.validate import schema
from maquette.validate.cases import Cases, Sent, Subject
from maquette.validate.rows import Floats, Table
from maquette.validate.score import Priced
from maquette.validate.shelf import Shelf
from maquette.validate.static import AXES, step_spread

SEED = 0
LEAST_REQUESTS, MOST_REQUESTS = 50, 4000
PER_CLIENT = 10  # requests of each client of a closed loop, as InferenceX sends
STATISTICS = ("mean", "p50")


@dataclass(frozen=True, eq=False)
class Run:
    """One row, ready to be simulated again and again."""

    requests: Requests
    schedule: Schedule
    plan: Plan
    replicas: int
    subject: Subject


@dataclass(frozen=True)
class Measures:
    """(Mean, median) of each latency of one trace, seconds."""

    ttft: tuple[float, float]
    tpot: tuple[float, float]
    e2e: tuple[float, float]


def measures(trace: Trace) -> Measures:
    """Means and medians over finished requests; TPOT over those of more than one token."""
    done = trace.status == FINISHED
    ttft = (trace.first_token_ns - trace.arrival_ns)[done] / 1e9
    e2e = (trace.finish_ns - trace.arrival_ns)[done] / 1e9
    out = trace.output_tokens[done]
    many = out > 1
    tpot = (e2e - ttft)[many] / (out[many] - 1)
    return Measures(_both(ttft), _both(tpot), _both(e2e))


def _both(x: Floats) -> tuple[float, float]:
    return (float(np.mean(x)), float(np.median(x))) if len(x) else (np.nan, np.nan)


def serving(
    cases: Cases, subject: Subject, rows: Any, shelf: Shelf, cal: Calibration
) -> Iterator[tuple[str, Priced]]:
    """Serving rows of one subject, each simulated, by quantity."""
    held: dict[Plan, tuple[Replica, Replica, float] | str] = {}
    found: dict[str, list[tuple[int, float, float, float, float]]] = {}
    for row in map(int, rows):
        run = _run(cases, subject, row, shelf)
        if not isinstance(run, str) and run.plan not in held:
            held[run.plan] = _replicas(run, shelf, cal)
        why = run if isinstance(run, str) else held[run.plan]
        if isinstance(why, str):
            cases.why[row] = why
            continue
        assert isinstance(run, Run)
        for quantity, numbers in _row(cases.table, row, run, *why).items():
            found.setdefault(quantity, []).append((row, *numbers))
    for quantity, lines in found.items():
        columns = np.array(lines, dtype=float).T
        yield quantity, Priced(columns[0].astype(np.int64), *columns[1:])


def _row(
    table: Table, row: int, run: Run, own: Replica, ideal: Replica, sd: float
) -> dict[str, tuple[float, float, float, float]]:
    """(measured, predicted, sd, ideal) of each quantity a row has.

    Queues amplify: the spread of a latency is what one standard deviation of the step does to it.
    """
    middle, slow, bound = (_simulated(run, r) for r in (own, _slower(own, sd), ideal))
    out = {}
    for quantity in ("ttft", "tpot", "e2e"):
        for at, statistic in enumerate(STATISTICS):
            value = float(table.seconds(quantity, statistic)[row])
            if value > 0 and quantity not in out:
                p, s, i = (getattr(m, quantity)[at] for m in (middle, slow, bound))
                out[quantity] = (value, p, max(abs(float(np.log(s / p))), sd), i)
    return out


def _simulated(run: Run, replica: Replica) -> Measures:
    return measures(simulate(run.requests, [replica] * run.replicas, run.plan.policy))


def _slower(own: Replica, sd: float) -> Replica:
    """A replica one standard deviation slower in every step."""
    return replace(own, step=own.step.scaled(float(np.exp(sd))))


def _replicas(run: Run, shelf: Shelf, cal: Calibration) -> tuple[Replica, Replica, float] | str:
    machine = shelf.machines[run.subject.machine]
    engine = shelf.engines[run.subject.engine]
    own = price_replica(run.schedule, machine, engine, run.plan, cal)
    if isinstance(own, Infeasible):
        return f"does not fit: {own}"
    ideal = price_replica(run.schedule, machine, engine, run.plan, IDEAL)
    assert not isinstance(ideal, Infeasible)
    sd = step_spread(run.schedule, machine, engine, run.plan, cal)
    return own, ideal, sd


def _run(cases: Cases, subject: Subject, row: int, shelf: Shelf) -> Run | str:
    table = cases.table
    requests = _requests(cases, row)
    if requests is None:
        return "rate, concurrency or lengths are not positive numbers"
    clients = table.values("concurrency")[row]
    machine, engine = shelf.machines[subject.machine], shelf.engines[subject.engine]
    replicas = int(cases.replicas[row])
    policy = shelf.policy(engine, machine)
    given: dict[str, Any] = {
        name: int(v)
        for name in ("max_batched_tokens", "max_seqs", "kv_blocks")
        if (v := table.values(name)[row]) > 0
    }
    used = table.values("memory_utilisation")[row]
    if used > 0:
        given["memory_utilisation"] = used / 100 if used > 1 else used
    if not _open_loop(table, row) and "max_seqs" not in given:
        given["max_seqs"] = max(policy.max_seqs, int(np.ceil(clients / replicas)))
    return Run(
        requests=requests,
        schedule=lower(shelf.program(subject.model), engine),
        plan=Plan(
            subject.precision,
            Mesh(*(int(cases.mesh[a][row]) for a in AXES)),
            replace(policy, **given),
            engine=engine.name,
        ),
        replicas=replicas,
        subject=subject,
    )


def _requests(cases: Cases, row: int) -> Requests | None:
    """What was sent: as a file lists it, else drawn from what the row says of it."""
    table = cases.table
    inputs, outputs = (table.values(c)[row] for c in ("input_tokens", "output_tokens"))
    rate, clients = table.values("rate")[row], table.values("concurrency")[row]
    listed = cases.requests_of(row)
    open_loop = _open_loop(table, row)
    if open_loop and listed is not None and np.isfinite(listed.arrival).all():
        return _as_sent(listed)
    if listed is not None:
        inputs, outputs = listed.inputs.mean(), listed.outputs.mean()
    if not (inputs >= 1 and outputs >= 1 and (rate if open_loop else clients) > 0):
        return None
    default = schema.defaults(table.file.rsplit("/", 1)[-1]).get("lengths", "")
    length: dict[str, Lengths] = {}
    for name, mean in (("input", inputs), ("output", outputs)):
        sd = table.values(f"{name}_sd")[row]
        length[name] = _lengths(mean, sd, default, open_loop)
    asked = PER_CLIENT * clients
    if open_loop:
        asked = table.values("requests")[row]
        if not asked > 0:
            asked = rate * table.values("duration", 60.0)[row]
    arrivals = Arrivals("poisson") if open_loop else Arrivals("closed", concurrency=int(clients))
    spec = TrafficSpec(
        length["input"],
        length["output"],
        PerSecond(rate) if open_loop else None,
        arrivals,
        prefixes=_prefixes(table, row, inputs),
    )
    n = int(np.clip(asked, LEAST_REQUESTS, MOST_REQUESTS))
    return generate(spec, n, seed=SEED)


def _open_loop(table: Table, row: int) -> bool:
    """Requests came at a rate, not each client's after its last."""
    rate = table.values("rate")[row]
    return table.kind.name == "stages" and bool(np.isfinite(rate) and rate > 0)


def _prefixes(table: Table, row: int, inputs: float) -> Prefixes | None:
    """System prompts that a row's requests share, part of their input length.

    Where it is not said how many there are, a row of shared prefixes has one.
    """
    tokens = table.values("prefix_tokens")[row]
    count = table.values("prefixes", 1.0)[row]
    if not (0 < tokens < inputs and count >= 1):
        return None
    return Prefixes(block_tokens=16, system_prompts=int(count), system_tokens=int(tokens), zipf=0.0)


def _as_sent(listed: Sent) -> Requests:
    since = listed.arrival - listed.arrival[0]
    return Requests(
        np.round(since * 1e9).astype(np.int64),
        listed.inputs.astype(np.int64),
        listed.outputs.astype(np.int64),
        source="requests as they were sent",
    )


def _lengths(mean: float, sd: float, default: str, varied: bool) -> Lengths:
    """Lengths of a row: of its own spread, of its file's rule, or of the lane's habit."""
    if sd > 0:
        return lognormal(mean=mean, cv=sd / mean)
    if default.startswith("uniform:"):
        return uniform(max(1, round(mean * float(default.split(":")[1]))), round(mean))
    return lognormal(mean=mean, cv=CV) if varied and sd != 0 else fixed(round(mean))
