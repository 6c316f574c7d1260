"""Prices without simulation: bounds that no schedule of requests can beat, for arrays of plans.

A lane with `B` sequences in flight makes one token for each in ``D(B)`` seconds.  A request takes
part in `O` such steps (its first token comes with its prefill) and needs ``P`` seconds of prefill
work, during which its companions wait: ``rate(B) = B / (O·D(B) + B·P)`` by Little's law.  Queueing
and uneven lengths only make it slower: `D` is convex, so by Jensen the mean step is never below the
step of the mean batch.

A step is the longer of what the device does and what the host does, ``max(d, h)``; a prompt adds
``p`` to the one and ``q`` to the other.  Where decoding is bound by the device it adds `p` or more,
else ``max(d + p, h + q) - h``, least for the least `d`: `P` is the lesser of the two.

A server sends the tokens of a step one by one, beside it, and accepts requests one by one: no step
is shorter than sending its tokens, and no replica takes more requests than its server accepts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.compiler.schedule import Schedule
from maquette.machines.types import Machine
from maquette.plans.engine import Engine
from maquette.plans.types import Plan
from maquette.price.calibration import Calibration
from maquette.price.environment import (
    Env,
    batch_environment,
    causal_pairs,
    mesh_environment,
    mesh_of,
    nothing,
)
from maquette.price.host import Running, launching, own, running, sides
from maquette.price.rates import formats
from maquette.price.replica import stages
from maquette.price.seconds import walk_seconds
from maquette.traffic.types import Requests

Floats = NDArray[np.float64]
GRID = np.unique(np.round(np.geomspace(1, 4096, 49))).astype(float)


@dataclass(frozen=True, eq=False)
class Load:
    """What the bounds need to know of the traffic: columns of requests."""

    input: Floats
    fresh: Floats  # prompt tokens that a prefix cache which never forgets would still miss
    output: Floats
    percentile: float
    rate: float  # requests per second; 0 when nothing is asked: a closed loop, or all at once
    concurrency: float = 0.0  # requests in flight in a closed loop; 0 in an open one
    together: float = 0.0  # requests that all come at once

    @cached_property
    def decodes(self) -> float:
        """Decode steps of the mean request."""
        return float((self.output - 1).mean())

    def reach(self, window: int) -> float:
        """Tokens that a decoding sequence attends to, mean over all decode steps."""
        middle = self.input + self.output / 2
        seen = np.minimum(middle, window) if window else middle
        return float(np.average(seen, weights=self.output - 1) if self.decodes else seen.mean())

    @cached_property
    def held(self) -> float:
        """Tokens of context that a decoding sequence has."""
        return self.reach(0)

    @cached_property
    def kept(self) -> float:
        """Those of them that no other sequence shares, at best."""
        return max(1.0, self.held - float((self.input - self.fresh).mean()))

    @property
    def longest(self) -> int:
        """Tokens that the longest request has in the cache at its end."""
        return int((self.input + self.output).max()) - 1


def load(requests: Requests, percentile: float) -> Load:
    """The columns of `requests`; prefixes are told apart by their block hashes."""
    span = float(requests.arrival_ns[-1] - requests.arrival_ns[0]) * 1e-9
    open_ = not requests.concurrency and span > 0
    cached: Floats = np.zeros(len(requests))
    if requests.block_hash is not None and requests.block_start is not None:
        blocks = np.diff(requests.block_start)
        _, met = np.unique(requests.block_hash, return_index=True)
        owner = np.repeat(np.arange(len(blocks)), blocks)
        new = np.bincount(owner[met], minlength=len(blocks))
        cached = np.asarray((blocks - new) * requests.block_tokens, dtype=np.float64)
    return Load(
        input=requests.input_tokens.astype(float),
        fresh=np.maximum(requests.input_tokens - cached, 1.0),
        output=requests.output_tokens.astype(float),
        percentile=percentile,
        rate=(len(requests) - 1) / span if open_ else 0.0,
        concurrency=float(requests.concurrency),
        together=0.0 if open_ or requests.concurrency else float(len(requests)),
    )


@dataclass(frozen=True, eq=False)
class Curve:
    """Operating points of plans (rows) over batch sizes of a lane (columns, `GRID`)."""

    step: Floats  # D(B), seconds
    prefill: Floats  # P(B), seconds of extra work per request beside `B` that decode
    first: Floats  # seconds to prefill the percentile's prompt on an idle replica (one column)
    rate: Floats  # requests per second per replica
    tpot: Floats  # seconds per output token
    accepts: float  # requests per second that one server lets in
    steady: Floats  # sequences that decode while prompts come as often as they end (one column)
    decoding: Floats  # the share of its time that a client alone in a loop decodes (one column)

    def most(self, row: int, batch: float) -> float:
        """The highest rate of a plan at batches up to `batch`."""
        below = self.rate[row][batch >= GRID].max(initial=0.0)
        return max(float(below), float(np.interp(batch, GRID, self.rate[row])))

    def looped(self, row: int, clients: float) -> float:
        """Sequences that decode in a lane, at least, of `clients` that send one after another.

        The others wait for prompts to fit beside those, for the server, or for their first token.
        """
        served = batch_at(self.rate[row], self.accepts)
        clients = clients * float(self.decoding[row, 0])
        return max(1.0, min(clients, float(self.steady[row, 0]), served))


def batch_at(rates: Floats, rate: float) -> float:
    """The least batch of `GRID` at which `rate` requests per second end; its last if none does.

    >>> batch_at(np.minimum(GRID, 8.0), 8.0), batch_at(2 * GRID, 5.0)
    (8.0, 2.5)
    """
    reached = np.flatnonzero(rates >= rate)
    at = int(reached[0]) if len(reached) else len(rates) - 1
    near = slice(max(at - 1, 0), at + 1)
    return float(np.interp(rate, rates[near], GRID[near]))


def step_sides(
    schedule: Schedule,
    machine: Machine,
    cal: Calibration,
    mesh: Env,
    fixed: Env,
    batch: Env,
    how: Running,
    prefill: bool = False,
) -> tuple[Any, Any]:
    """Seconds of a step with features `batch`, at least: its device's, and the host's floor.

    Arrays of plans and batches broadcast.  Batches are not padded, and a decoding one is never too
    large for a captured graph: what is not convex in the batch would not bound the mean of steps by
    the step of the mean.
    """
    env = {**fixed, **batch}
    priced = walk_seconds(schedule, machine, cal, env)
    device = sum(s.total for s in priced) + stages(schedule, machine, cal, mesh, env)
    work = own(schedule, machine, cal, env["seqs"], env["tokens"])
    launch = launching(schedule, machine, cal, how, env, prefill, bound=True)
    return sides(device * how.stretch, work, launch, how.overlap)


def curves(
    schedule: Schedule,
    machine: Machine,
    engine: Engine,
    cal: Calibration,
    plans: Sequence[Plan],
    asked: Load,
) -> Curve:
    """Operating curves of plans of one replica, all in one pricing call each.

    Their policies differ in their token budgets only.
    """
    how, skew = running(engine, machine, plans), plans[0].policy.expert_skew
    rows = [mesh_of(p) for p in plans]
    column = {k: np.array([[row[k]] for row in rows]) for k in rows[0]}
    each = [formats(machine, p.precision, schedule) for p in plans]
    fixed: Env = mesh_environment(schedule, column)
    fixed |= {k: np.array([[f[k]] for f in each]) for k in each[0]}
    budget = np.array([[p.policy.max_batched_tokens] for p in plans], dtype=float)

    none = nothing(schedule)

    def priced(prefill: Env, decode: Env) -> tuple[Any, Any]:
        batch = batch_environment(schedule, column, prefill=prefill, decode=decode, skew=skew)
        chunk = prefill is not none
        return step_sides(schedule, machine, cal, column, fixed, batch, how, chunk)

    def price(prefill: Env, decode: Env) -> Floats:
        return np.asarray(np.maximum(*priced(prefill, decode)))

    decoding = price(none, _decode(schedule, asked, GRID[None, :]))
    one = priced(none, {**none, "tokens": 1.0, "seqs": 1.0})
    more = 0.0  # the host's work on other sequences, where it lengthens only its own side
    if how.overlap:
        more = own(schedule, machine, cal, GRID, GRID) - own(schedule, machine, cal, 1.0, 1.0)

    def filling(prompts: Floats) -> Any:
        """Work of each of `prompts` mean prompts beyond a step which decodes a token anyway."""
        times, chunk = _prefill(schedule, asked, budget, prompts)
        device, host = priced(chunk, none)
        seen = np.maximum(device, host + more) - np.maximum(one[0], one[1] + more)
        return np.maximum(np.minimum(device - one[0], seen), 0.0) * times / prompts

    prefill = np.min([filling(n) for n in _together(asked, budget)], axis=0)
    # As many requests as may miss the target have at least so many tokens to compute.
    fresh = np.quantile(asked.fresh, asked.percentile / 100, method="lower")
    whole, full, rest = _chunks(schedule, float(fresh), budget)
    first = np.where(rest["tokens"] > 0, price(rest, none), 0.0)
    first = first + np.where(whole > 0, price(full, none) * whole, 0.0) + cal["request"]
    prefill = np.broadcast_to(prefill, (len(plans), len(GRID)))
    first = np.broadcast_to(first, (len(plans), 1))
    lanes = column["pp"] * column["dp"]  # each has a batch of its own
    return _curve(decoding, prefill, first, budget, lanes, asked, cal)


def _curve(
    decoding: Floats, prefill: Floats, first: Floats, budget: Floats, lanes: Floats, asked: Load,
    cal: Calibration,
) -> Curve:  # fmt: skip
    """The curve of steps that only decode, work of prompts beside them, and a server."""
    sending = cal["stream"] * lanes * GRID
    steps = asked.decodes + 1  # each of which sends a token
    busy = np.maximum(asked.decodes * decoding + GRID * prefill, steps * sending)
    accepts = 1 / max(cal["accept"], 1e-12)
    rate = np.minimum(GRID * lanes / np.maximum(busy, 1e-12), accepts)
    # Companions' prefills come between its tokens, its own does not.
    waits = np.maximum(GRID - 1, 0) * prefill
    tpot = np.zeros_like(busy)
    if asked.decodes:
        tpot = np.maximum(decoding + waits / asked.decodes, sending)
    alone = decoding[:, :1]
    return Curve(
        step=np.maximum(decoding, sending),
        prefill=prefill,
        first=first,
        rate=rate,
        tpot=tpot,
        accepts=accepts,
        steady=budget / (1 + float(asked.fresh.mean()) / max(asked.decodes, 1e-12)),
        decoding=asked.decodes * alone / (steps * alone + cal["request"]),
    )


def _decode(schedule: Schedule, asked: Load, batch: Floats) -> Env:
    """Features of `batch` decoding sequences of mean context."""
    features: Env = {"tokens": batch, "seqs": batch}
    for name, window in schedule.windows.items():
        features[f"pairs:{name}"] = features[f"context:{name}"] = batch * asked.reach(window)
    return features


def _chunks(schedule: Schedule, fresh: float, budget: Floats) -> tuple[Floats, Env, Env]:
    """Of a prompt alone: how many full chunks, the features of the mean one, and of the last.

    Attention is convex in its features, so the mean chunk takes no more than the mean of them.
    """
    whole = np.floor(fresh / budget)
    done = whole * budget
    full: Env = {"tokens": np.where(whole > 0, budget, 0.0), "seqs": 1.0}
    rest: Env = {"tokens": fresh - done, "seqs": 1.0}
    count = np.maximum(whole, 1.0)
    for name, window in schedule.windows.items():
        full[f"pairs:{name}"] = causal_pairs(done, done, window) / count
        rest[f"pairs:{name}"] = causal_pairs(fresh - done, fresh, window)
        ends = budget * (count + 1) / 2  # where chunks end, on average
        full[f"context:{name}"] = np.minimum(ends, window) if window else ends
        reach = window + (fresh - done) - 1 if window else np.inf
        rest[f"context:{name}"] = np.minimum(fresh, reach)
    return whole, full, rest


def _together(asked: Load, budget: Floats) -> Iterator[Floats]:
    """Mean prompts in a step, up to a budget of them: one may fill its last wave badly."""
    most = np.maximum(budget / float(asked.fresh.mean()), 1.0)
    for doublings in range(int(np.ceil(np.log2(most.max())))):
        yield np.minimum(2.0**doublings, most)
    yield most


def _prefill(
    schedule: Schedule, asked: Load, budget: Floats, prompts: Floats
) -> tuple[Floats, Env]:
    """In how many chunks mean prompts are computed together, and the features of the mean chunk.

    Steps are convex in tokens, waves apart: equal chunks are the quickest; attention is linear.
    """
    whole, fresh = asked.input, asked.fresh
    tokens = prompts * float(fresh.mean())
    times = np.maximum(tokens / budget, 1.0)
    features: Env = {"tokens": tokens / times, "seqs": prompts}
    for name, window in schedule.windows.items():
        pairs = float(np.mean(causal_pairs(fresh, whole, window)))
        read = float(np.mean(np.minimum(whole, window + fresh - 1) if window else whole))
        features[f"pairs:{name}"] = prompts * pairs / times
        features[f"context:{name}"] = prompts * read / times
    return times, features
