"""Serving rows: each simulated as it was run, at a rate or at a concurrency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maquette.compiler.lower import lower
from maquette.compiler.schedule import Schedule
from maquette.plans.types import Infeasible, Mesh, Plan
from maquette.price.calibration import Calibration
from maquette.price.interval import Z80, central, gradient, spread_draws
from maquette.price.replica import replica as price_replica
from maquette.price.seconds import IDEAL
from maquette.price.step import Replica
from maquette.serve.simulate import simulate
from maquette.serve.types import FINISHED, Trace
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.describe import head
from maquette.traffic.lengths import Lengths, fixed, lognormal, uniform
from maquette.traffic.prefixes import Prefixes
from maquette.traffic.spec import CV, TrafficSpec, generate
from maquette.traffic.types import Requests
from maquette.units import PerSecond
from maquette.validate import schema, score
from maquette.validate.cases import Cases, Sent, Subject
from maquette.validate.rows import Table
from maquette.validate.shelf import Shelf
from maquette.validate.static import AXES, seconds, typical

SEED = 0
LISTED = "requests as they were sent"
LEAST_REQUESTS, MOST_REQUESTS = 50, 4000
PER_CLIENT = 10  # requests of each client of a closed loop, as InferenceX sends
STATISTICS = ("mean", "p50", "p99")
DRAWS = 12  # calibrations that a row is simulated under
STREAMS = 6  # draws of the requests of a row
TRIED = 600  # requests of each that draws are compared on
T80 = {n + 1: t for n, t in enumerate((3.078, 1.886, 1.638, 1.533, 1.476), 1)}  # Student's t, 90 %
Key = tuple[str, str]
WANTED: Mapping[str, tuple[Key, ...]] = {
    **{q: ((q, "mean"), (q, "p50")) for q in ("ttft", "tpot", "e2e")},
    "ttft_p99": (("ttft", "p99"),),
}


@dataclass(frozen=True, eq=False)
class Run:
    """One row, ready to be simulated again and again."""

    requests: tuple[Requests, ...]  # as they were sent, or several draws of them
    schedule: Schedule
    plan: Plan
    replicas: int
    subject: Subject


@dataclass(frozen=True, eq=False)
class Priced:
    """Replicas of one plan: as predicted, at the speed of light, and under drawn calibrations."""

    own: Replica
    ideal: Replica
    drawn: tuple[Replica, ...]


def measures(trace: Trace) -> dict[Key, float]:
    """Means, medians and 99th percentiles of finished requests, by (quantity, statistic)."""
    done = trace.status == FINISHED
    ttft = (trace.first_token_ns - trace.arrival_ns)[done] / 1e9
    e2e = (trace.finish_ns - trace.arrival_ns)[done] / 1e9
    out = trace.output_tokens[done]
    many = out > 1
    tpot = (e2e - ttft)[many] / (out[many] - 1)
    found: dict[Key, float] = {}
    for name, x in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)):
        values = (np.mean(x), *np.percentile(x, (50, 99))) if len(x) else (np.nan,) * 3
        found |= {(name, s): float(v) for s, v in zip(STATISTICS, values, strict=True)}
    return found


def serving(
    cases: Cases, subject: Subject, rows: Any, shelf: Shelf, cal: Calibration
) -> Iterator[tuple[str, score.Priced]]:
    """Serving rows of one subject, each simulated, by quantity."""
    held: dict[Plan, Priced | str] = {}
    found: dict[str, list[tuple[float, ...]]] = {}
    for row in map(int, rows):
        run = _run(cases, subject, row, shelf)
        if not isinstance(run, str) and run.plan not in held:
            held[run.plan] = _replicas(run, shelf, cal)
        why = run if isinstance(run, str) else held[run.plan]
        if isinstance(why, str):
            cases.why[row] = why
            continue
        assert isinstance(run, Run)
        for quantity, numbers in _row(cases.table, row, run, why).items():
            found.setdefault(quantity, []).append((row, *numbers))
    for quantity, lines in found.items():
        columns = np.array(lines, dtype=float).T
        yield quantity, score.Priced(columns[0].astype(np.int64), *columns[1:])


def _row(table: Table, row: int, run: Run, priced: Priced) -> dict[str, tuple[float, ...]]:
    """(measured, predicted, low, high, ideal) of each quantity a row has."""
    asked: dict[str, Key] = {}
    for name, keys in WANTED.items():
        for key in keys:
            if float(table.seconds(*key)[row]) > 0:
                asked.setdefault(name, key)
    if not asked:
        return {}
    middle, bands = _simulated(run, priced, asked, table.kind.name)
    light = measures(_sent(run, priced.ideal, run.requests[0]))
    return {
        name: (float(table.seconds(*key)[row]), middle[key], *bands[name], light[key])
        for name, key in asked.items()
    }


def _simulated(
    run: Run, priced: Priced, asked: Mapping[str, Key], lane: str
) -> tuple[dict[Key, float], dict[str, tuple[float, float]]]:
    """What a client is expected to see, and 80 % intervals of what it measures.

    Three things move a measurement: the constants, the requests that happened to be sent, and
    what nobody repeats.  Drawn replicas serve the same requests as the predicted one, so that the
    first two are told apart; queues amplify both, and each is simulated.
    """
    few = [head(r, TRIED) for r in run.requests]
    base = [measures(_sent(run, priced.own, r)) for r in few]
    whole = base[0] if len(run.requests[0]) <= TRIED else None
    point = measures(_sent(run, priced.own, run.requests[0])) if whole is None else whole
    # Mirrored draws serve the same requests, so that no stream sees slow ones only.
    of = [min(i, len(priced.drawn) - 1 - i) % len(few) for i in range(len(priced.drawn))]
    moved = [measures(_sent(run, r, few[j])) for r, j in zip(priced.drawn, of, strict=True)]
    short = min(1.0, (TRIED / len(run.requests[0])) ** 0.5)
    middle, bands = {}, {}
    for name, key in asked.items():
        streams = np.log([b[key] for b in base])
        middle[key] = point[key] * float(np.exp(streams.mean() - streams[0]))
        low, high = central([m[key] / base[j][key] for m, j in zip(moved, of, strict=True)])
        floor, _ = score.NOISE_FLOORS.get((lane, name), (0.0, ""))
        noise = Z80 * floor * (0.5 if lane == "closed" else 1.0)
        if len(few) > 1:  # a few streams tell their spread with Student's t
            own = T80[len(few)] * float(streams.std(ddof=1)) * short * (1 + 1 / len(few)) ** 0.5
            noise = max(noise, own)
        down, up = np.hypot([min(np.log(low), 0.0), max(np.log(high), 0.0)], noise)
        bands[name] = middle[key] * float(np.exp(-down)), middle[key] * float(np.exp(up))
    return middle, bands


def _sent(run: Run, replica: Replica, requests: Requests) -> Trace:
    return simulate(requests, [replica] * run.replicas, run.plan.policy)


def _replicas(run: Run, shelf: Shelf, cal: Calibration) -> Priced | str:
    machine = shelf.machines[run.subject.machine]
    engine = shelf.engines[run.subject.engine]

    def priced(at: Calibration) -> Replica | Infeasible:
        return price_replica(run.schedule, machine, engine, run.plan, at)

    own = priced(cal)
    if isinstance(own, Infeasible):
        return f"does not fit: {own}"
    step = typical(run.schedule, machine, engine, run.plan)
    slope = gradient(lambda c: seconds(step, c).e2e, cal)[0]
    drawn = [priced(at) for at in spread_draws(cal, slope, DRAWS, SEED)]
    ideal = priced(IDEAL)
    assert not isinstance(ideal, Infeasible)
    return Priced(own, ideal, tuple(r for r in drawn if not isinstance(r, Infeasible)))


def _run(cases: Cases, subject: Subject, row: int, shelf: Shelf) -> Run | str:
    table = cases.table
    requests = _streams(cases, row)
    if not requests:
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


def _streams(cases: Cases, row: int) -> tuple[Requests, ...]:
    """What was sent: as a file lists it, else several draws of what the row says of it."""
    first = _requests(cases, row, SEED)
    if first is None:
        return ()
    if first.source == LISTED:
        return (first,)
    others = (_requests(cases, row, SEED + i) for i in range(1, STREAMS))
    return (first, *(r for r in others if r is not None))


def _requests(cases: Cases, row: int, seed: int) -> Requests | None:
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
    return generate(spec, n, seed=seed)


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
        source=LISTED,
    )


def _lengths(mean: float, sd: float, default: str, varied: bool) -> Lengths:
    """Lengths of a row: of its own spread, of its file's rule, or of the lane's habit."""
    if sd > 0:
        return lognormal(mean=mean, cv=sd / mean)
    if default.startswith("uniform:"):
        return uniform(max(1, round(mean * float(default.split(":")[1]))), round(mean))
    return lognormal(mean=mean, cv=CV) if varied and sd != 0 else fixed(round(mean))
