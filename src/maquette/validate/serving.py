"""Serving rows: each simulated as it was run, at a rate, at a concurrency or all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maquette.compiler.lower import lower
from maquette.compiler.schedule import Schedule
from maquette.plans.types import Infeasible, Mesh, Plan
from maquette.price.calibration import Calibration, Loop, doubted, unserved
from maquette.price.interval import Z80, central, gradient, spread_draws
from maquette.price.replica import replica as price_replica
from maquette.price.seconds import IDEAL
from maquette.price.step import Replica
from maquette.serve.simulate import simulate
from maquette.serve.types import FINISHED, Trace
from maquette.traffic.describe import head
from maquette.traffic.types import Requests
from maquette.validate import score
from maquette.validate.cases import Cases, Subject
from maquette.validate.rows import Table
from maquette.validate.sending import Sending, sending
from maquette.validate.shelf import Shelf
from maquette.validate.static import AXES, seconds, typical

SEED = 0
STATISTICS = ("mean", "p50", "p99")
DRAWS = 10  # calibrations that a row is simulated under
TOKEN = 0.02  # seconds between tokens, for a first look at how many sequences a rate keeps busy
# Whether a server stands before the engine; where nobody says, before loops and rates.
SERVED = {"yes": True, "no": False}
TRIED = 800  # requests of each that draws are compared on
T80 = {n + 1: t for n, t in enumerate((3.078, 1.886, 1.638, 1.533, 1.476), 1)}  # Student's t, 90 %
Key = tuple[str, str]
RATE: Key = ("rate", "mean")  # output tokens per second and device, of a run whose load is no rate
WANTED: Mapping[str, tuple[Key, ...]] = {
    **{q: ((q, "mean"), (q, "p50")) for q in ("ttft", "tpot", "e2e")},
    "ttft_p99": (("ttft", "p99"),),
    "rate": (RATE,),
}


@dataclass(frozen=True, eq=False)
class Run:
    """One row, ready to be simulated again and again."""

    requests: Sending
    schedule: Schedule
    plan: Plan
    replicas: int
    subject: Subject
    ahead: int  # requests that load the system before one is measured
    streamed: bool  # a server sends tokens one by one; in a batch offline there is none

    @property
    def devices(self) -> int:
        return self.plan.mesh.devices * self.replicas

    @property
    def load(self) -> float:
        """Sequences at once, about; of an open loop those of its rate, were tokens 20 ms apart."""
        sent = self.requests.even[0]
        if sent.concurrency:
            return float(min(sent.concurrency, self.plan.policy.max_seqs * self.replicas))
        span = max(float(sent.arrival_ns[-1]) / 1e9, 1e-9)
        return len(sent) / span * float(sent.output_tokens.mean()) * TOKEN


def unknown(run: Run, quantity: str) -> str:
    """The name that `Calibration.unexplained` has for a quantity of a row."""
    loop: Loop = "closed" if run.requests.even[0].concurrency else "open"
    return doubted(loop if run.streamed else "offline", quantity, alone=run.load <= 1)


@dataclass(frozen=True, eq=False)
class Priced:
    """Replicas of one plan: as predicted, at the speed of light, and under drawn calibrations."""

    cal: Calibration
    own: Replica
    ideal: Replica
    drawn: tuple[Replica, ...]


def measures(trace: Trace, devices: int = 1, ahead: int = 0) -> dict[Key, float]:
    """Means, medians and 99th percentiles of finished requests, by (quantity, statistic).

    The first `ahead` requests load the system and are not measured.
    """
    done = trace.status == FINISHED
    done[:ahead] = False
    ttft = (trace.first_token_ns - trace.arrival_ns)[done] / 1e9
    e2e = (trace.finish_ns - trace.arrival_ns)[done] / 1e9
    out = trace.output_tokens[done]
    many = out > 1
    tpot = (e2e - ttft)[many] / (out[many] - 1)
    found: dict[Key, float] = {}
    for name, x in (("ttft", ttft), ("tpot", tpot), ("e2e", e2e)):
        values = (np.mean(x), *np.percentile(x, (50, 99))) if len(x) else (np.nan,) * 3
        found |= {(name, s): float(v) for s, v in zip(STATISTICS, values, strict=True)}
    last = trace.finish_ns[done].max() / 1e9 if len(out) else np.nan
    found[RATE] = float(out.sum() / last) / devices
    return found


def serving(
    cases: Cases, subject: Subject, rows: Any, shelf: Shelf, cal: Calibration
) -> Iterator[tuple[str, score.Priced]]:
    """Serving rows of one subject, each simulated, by quantity."""
    held: dict[Plan, Priced | str] = {}
    found: dict[str, list[tuple[float, ...]]] = {}
    for row in map(int, rows):
        run = run_of(cases, subject, row, shelf)
        if not isinstance(run, str) and run.plan not in held:
            held[run.plan] = _replicas(run, shelf, cal)
        why = run if isinstance(run, str) else held[run.plan]
        if isinstance(why, str):
            cases.why[row] = why
            continue
        assert isinstance(run, Run)
        told = _row(cases.table, row, run, why)
        if not np.isfinite(list(told.values())).all():
            cases.why[row] = "no request of it can be served as this engine is run here"
            continue
        for quantity, numbers in told.items():
            found.setdefault(quantity, []).append((row, *numbers))
    for quantity, lines in found.items():
        columns = np.array(lines, dtype=float).T
        yield quantity, score.Priced(columns[0].astype(np.int64), *columns[1:])


def _row(table: Table, row: int, run: Run, priced: Priced) -> dict[str, tuple[float, ...]]:
    """(measured, predicted, low, high, ideal) of each quantity a row has."""
    told = measured(table, row, run)
    asked = chosen(told)
    if not asked:
        return {}
    middle, bands = _simulated(run, priced, asked, table.kind.name)
    light = _sent(run, priced.ideal, run.requests.even[0])
    return {name: (told[key], middle[key], *bands[name], light[key]) for name, key in asked.items()}


def chosen(told: Mapping[Key, float]) -> dict[str, Key]:
    """Of each quantity that was measured, the statistic to compare: means go before medians."""
    return {n: k for n, keys in WANTED.items() for k in reversed(keys) if told.get(k, 0.0) > 0}


def measured(table: Table, row: int, run: Run) -> dict[Key, float]:
    """What a row measured, NaN where nothing."""
    keys = (k for wanted in WANTED.values() for k in wanted)
    if int(run.requests.even[0].output_tokens.max()) < 2:  # nothing comes after the first token
        keys = (k for k in keys if k[0] != "tpot")
    return {k: _rate(table, row, run) if k == RATE else float(table.seconds(*k)[row]) for k in keys}


def _rate(table: Table, row: int, run: Run) -> float:
    """Output tokens per second and device of an offline row; elsewhere TPOT tells as much."""
    if table.kind.name != "offline":
        return float("nan")
    sent = run.requests.even[0]
    share = sent.output_tokens.sum() / (sent.output_tokens.sum() + sent.input_tokens.sum())
    of = (("device_rate", 1.0), ("output_rate", run.devices), ("total_rate", run.devices / share))
    rates = (float(table.seconds(name)[row]) / per for name, per in of)
    return next((r for r in rates if r > 0), float("nan"))


def _simulated(
    run: Run, priced: Priced, asked: Mapping[str, Key], lane: str
) -> tuple[dict[Key, float], dict[str, tuple[float, float]]]:
    """What a client is expected to see, and 80 % intervals of what it measures.

    Four things move a measurement: the constants, the requests that happened to be sent, what
    nobody repeats, and what no simulation knows (`validate.unexplained`).  Drawn replicas serve
    the same requests as the predicted one, so that the first two are told apart; queues amplify
    both, and each is simulated.
    """
    few = [head(r, TRIED) for r in run.requests.drawn]
    base = [_sent(run, priced.own, r) for r in few]
    whole = [_sent(run, priced.own, r) for r in run.requests.even]
    # Mirrored draws serve the same requests, so that no stream sees slow ones only.
    of = [min(i, len(priced.drawn) - 1 - i) % len(few) for i in range(len(priced.drawn))]
    moved = [_sent(run, r, few[j]) for r, j in zip(priced.drawn, of, strict=True)]
    short = min(1.0, (TRIED / len(run.requests.drawn[0])) ** 0.5)
    middle, bands = {}, {}
    for name, key in asked.items():
        streams = np.log([b[key] for b in base])
        middle[key] = float(np.mean([w[key] for w in whole]))
        low, high = central([m[key] / base[j][key] for m, j in zip(moved, of, strict=True)])
        floor, _ = score.NOISE_FLOORS.get((lane, name), (0.0, ""))
        noise = Z80 * floor * (0.5 if lane == "closed" else 1.0)
        if len(few) > 1:  # a few streams tell their spread with Student's t
            noise = max(noise, T80[len(few)] * float(streams.std(ddof=1)) * short)
        noise = float(np.hypot(noise, Z80 * priced.cal.unexplained.get(unknown(run, name), 0.0)))
        down, up = np.hypot([min(np.log(low), 0.0), max(np.log(high), 0.0)], noise)
        bands[name] = middle[key] * float(np.exp(-down)), middle[key] * float(np.exp(up))
    return middle, bands


def _priced(run: Run, shelf: Shelf, cal: Calibration) -> Replica | Infeasible:
    """The replica of a row under one calibration."""
    subject = run.subject
    machine, engine = shelf.machines[subject.machine], shelf.engine(subject.engine, subject.since)
    if not run.streamed:
        cal = unserved(cal)
    return price_replica(run.schedule, machine, engine, run.plan, cal)


def _sent(run: Run, replica: Replica, requests: Requests) -> dict[Key, float]:
    trace = simulate(requests, [replica] * run.replicas, run.plan.policy)
    return measures(trace, run.devices, run.ahead)


def seen(run: Run, shelf: Shelf, cal: Calibration) -> dict[Key, float]:
    """What a client of a row sees under one calibration, its lengths even."""
    one = _priced(run, shelf, cal)
    if isinstance(one, Infeasible):
        return dict.fromkeys((k for wanted in WANTED.values() for k in wanted), float("inf"))
    return _sent(run, one, run.requests.even[0])


def _replicas(run: Run, shelf: Shelf, cal: Calibration) -> Priced | str:
    machine = shelf.machines[run.subject.machine]
    engine = shelf.engine(run.subject.engine, run.subject.since)
    own = _priced(run, shelf, cal)
    if isinstance(own, Infeasible):
        return f"does not fit: {own}"
    step = typical(run.schedule, machine, engine, run.plan)
    slope = gradient(lambda c: seconds(step, c).e2e, cal)[0]
    drawn = [_priced(run, shelf, at) for at in spread_draws(cal, slope, DRAWS, SEED)]
    ideal = _priced(run, shelf, IDEAL)
    assert not isinstance(ideal, Infeasible)
    return Priced(cal, own, ideal, tuple(r for r in drawn if not isinstance(r, Infeasible)))


def run_of(cases: Cases, subject: Subject, row: int, shelf: Shelf) -> Run | str:
    """A row ready to be simulated, or why it cannot be."""
    table = cases.table
    requests = sending(cases, row)
    if requests is None:
        return "rate, concurrency or lengths are not positive numbers"
    ahead = max(int(table.values("ahead", 0.0)[row]), 0)
    if ahead >= len(requests.even[0]):
        return "all requests come ahead of those measured"
    said = str(table.words("http")[row]).strip().lower()
    streamed = SERVED.get(said) if said else table.kind.name != "offline"
    if streamed is None:
        return "http is neither yes nor no"
    clients = table.values("concurrency")[row]
    machine, engine = shelf.machines[subject.machine], shelf.engine(subject.engine, subject.since)
    replicas = int(cases.replicas[row])
    policy = shelf.policy(engine, machine)
    given: dict[str, Any] = {
        name: int(v)
        for name in ("max_batched_tokens", "max_seqs", "kv_blocks", "captured")
        if (v := table.values(name)[row]) > 0
    }
    used = table.values("memory_utilisation")[row]
    if used > 0:
        given["memory_utilisation"] = used / 100 if used > 1 else used
    if table.kind.name == "closed" and "max_seqs" not in given:
        given["max_seqs"] = max(policy.max_seqs, int(np.ceil(clients / replicas)))
    if "max_batched_tokens" in given:  # a step holds a token of each
        most = given.get("max_seqs", policy.max_seqs)
        given["max_seqs"] = min(most, given["max_batched_tokens"])
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
        ahead=ahead,
        streamed=streamed,
    )
