"""What was sent in a serving row: as a file lists it, else drawn from what the row says of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from maquette.traffic.arrivals import Arrivals
from maquette.traffic.describe import scale
from maquette.traffic.lengths import Lengths, fixed, lognormal, uniform
from maquette.traffic.prefixes import Prefixes
from maquette.traffic.spec import CV, TrafficSpec, generate
from maquette.traffic.types import Requests
from maquette.units import PerSecond
from maquette.validate import schema
from maquette.validate.cases import Cases, Sent
from maquette.validate.rows import Table

SEED = 0
STREAMS = 6  # draws of the requests of a row
EVEN = 3  # draws whose means are those of the row
LEAST_REQUESTS, MOST_REQUESTS = 50, 4000
PER_CLIENT = 10  # requests of each client of a closed loop, as InferenceX sends
AT_ONCE = 4000  # requests of an offline run that does not say


@dataclass(frozen=True, eq=False)
class Sending:
    """Requests of one row."""

    drawn: tuple[Requests, ...]  # as a client may have drawn them
    even: tuple[Requests, ...]  # with lengths and rate of the very means that the row tells


def sending(cases: Cases, row: int) -> Sending | None:
    """What was sent; None where a row has no load or no lengths."""
    listed = cases.requests_of(row)
    known = listed is not None and bool(np.isfinite(listed.arrival).all())
    if listed is not None and known and open_loop(cases.table, row):
        sent = (_as_sent(listed),)
        return Sending(sent, sent)
    asked = _asked(cases, row, listed)
    if asked is None:
        return None
    spec, n = asked
    drawn = tuple(generate(spec, n, seed=SEED + i) for i in range(STREAMS))
    if _alike(*drawn[:2]):
        return Sending(drawn[:1], drawn[:1])
    return Sending(drawn, tuple(_even(spec, r) for r in drawn[:EVEN]))


def _alike(a: Requests, b: Requests) -> bool:
    """Nothing was drawn by chance: a loop of requests of one length."""
    return a.block_hash is None and all(
        np.array_equal(getattr(a, c), getattr(b, c))
        for c in ("arrival_ns", "input_tokens", "output_tokens")
    )


def _even(spec: TrafficSpec, drawn: Requests) -> Requests:
    """A draw with lengths at even quantiles, in the order drawn, and arrivals at its very rate.

    A draw of some hundred requests misses the means by a few percent, which a queue close to
    saturation makes many.  Prompts that share prefixes keep their lengths.
    """
    n = len(drawn)
    even = drawn
    if drawn.block_hash is None:
        u = (np.arange(n) + 0.5) / n
        inputs, outputs = (
            lengths.at(u)[np.argsort(np.argsort(was, kind="stable"), kind="stable")]
            for lengths, was in (
                (spec.input, drawn.input_tokens),
                (spec.output, drawn.output_tokens),
            )
        )
        even = replace(drawn, input_tokens=inputs, output_tokens=outputs, redrawn=None)
    span = float(drawn.arrival_ns[-1] - drawn.arrival_ns[0]) / 1e9
    if drawn.concurrency or spec.rate is None or span <= 0:
        return even
    return scale(even, factor=span * float(spec.rate) / (n - 1))


def _asked(cases: Cases, row: int, listed: Sent | None) -> tuple[TrafficSpec, int] | None:
    """The traffic that a row tells of, and how many requests."""
    table = cases.table
    inputs, outputs = (table.values(c)[row] for c in ("input_tokens", "output_tokens"))
    if listed is not None:
        inputs, outputs = listed.inputs.mean(), listed.outputs.mean()
    load = _load(table, row)
    if load is None or not (inputs >= 1 and outputs >= 1):
        return None
    rate, arrivals, n = load
    said = str(table.words("lengths")[row]).lower()
    said = said or schema.defaults(table.file.rsplit("/", 1)[-1]).get("lengths", "")
    length: dict[str, Lengths] = {}
    for name, mean in (("input", inputs), ("output", outputs)):
        sd = table.values(f"{name}_sd")[row]
        length[name] = _lengths(mean, sd, said, rate is not None)
    shared = _prefixes(table, row, inputs)
    return TrafficSpec(length["input"], length["output"], rate, arrivals, prefixes=shared), n


def _load(table: Table, row: int) -> tuple[PerSecond | None, Arrivals, int] | None:
    """Rate or number of clients, and how many requests; None where there is none of either.

    Offline every request has a client of its own: all are there at once.
    """
    asked, rate = table.values("requests")[row], table.values("rate")[row]
    if open_loop(table, row):
        n = asked if asked > 0 else rate * table.values("duration", 60.0)[row]
        n = int(np.clip(n, LEAST_REQUESTS, MOST_REQUESTS))
        return PerSecond(rate), Arrivals("poisson"), n
    if table.kind.name == "offline":
        n = int(asked) if asked > 0 else AT_ONCE
        return None, Arrivals("closed", concurrency=n), n
    clients = table.values("concurrency")[row]
    if not clients >= 1:
        return None
    n = asked if asked > 0 else max(PER_CLIENT * clients, LEAST_REQUESTS)
    return None, Arrivals("closed", concurrency=int(clients)), min(int(n), MOST_REQUESTS)


def open_loop(table: Table, row: int) -> bool:
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


def _lengths(mean: float, sd: float, said: str, varied: bool) -> Lengths:
    """Lengths of a row: of its own spread, of what it or its file says, or of the lane's habit."""
    if sd > 0:
        return lognormal(mean=mean, cv=sd / mean)
    if said.startswith("uniform:"):
        return uniform(max(1, round(mean * float(said.split(":")[1]))), round(mean))
    if said == "uniform_below":  # its mean is told, as a client counts it
        return uniform(1, max(2, round(2 * mean) - 1))
    varied = varied and sd != 0 and said != "pinned"
    return lognormal(mean=mean, cv=CV) if varied or said == "sharegpt" else fixed(round(mean))
