"""Prices without simulation: bounds that no schedule of requests can beat, for arrays of plans.

A replica with `B` sequences in flight makes one token for each in ``D(B)`` seconds, and every
request also needs ``P`` seconds of prefill work, so a request takes ``O·D(B) + B·P`` of the
replica's time spread over its `B` companions: ``rate(B) = B / (O·D(B) + B·P)`` by Little's law.
Queueing and uneven lengths only make it slower: `D` is convex, so by Jensen the mean step is never
below the step of the mean batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.compile.schedule import Schedule
from maquette.machines.types import Machine
from maquette.plans.types import Mesh, Precision
from maquette.price.calibration import Calibration
from maquette.price.environment import Env, batch_environment, mesh_environment, nothing, uniform
from maquette.price.replica import stages
from maquette.price.seconds import formats, walk_seconds

Floats = NDArray[np.float64]
GRID = np.unique(np.round(np.geomspace(1, 1024, 41))).astype(float)


@dataclass(frozen=True, eq=False)
class Lengths:
    """What the bounds need to know of the traffic."""

    input: float
    output: float
    input_at_percentile: float
    cached: float = 0.0  # share of prompt tokens a perfect prefix cache would find
    concurrency: float = 0.0  # requests in flight in a closed loop; 0 in an open one


@dataclass(frozen=True, eq=False)
class Curve:
    """Operating points of plans (rows) over batch sizes (columns, `GRID`)."""

    step: Floats  # D(B), seconds
    prefill: Floats  # P, seconds of extra work per request (one column)
    first: Floats  # seconds to prefill the percentile's prompt on an idle replica
    rate: Floats  # requests per second per replica
    tpot: Floats  # seconds per output token


def step_seconds(
    schedule: Schedule, machine: Machine, cal: Calibration, mesh: Env, fixed: Env, batch: Env
) -> Any:
    """Seconds of a step with features `batch`; arrays of plans and batches broadcast."""
    env = {**fixed, **batch}
    priced = walk_seconds(schedule, machine, cal, env)
    total = sum(s.total for s in priced) + stages(schedule, machine, cal, mesh, env)
    return total + cal["step"] + cal["seq"] * env["seqs"]


def curves(
    schedule: Schedule,
    machine: Machine,
    cal: Calibration,
    plans: Sequence[tuple[Mesh, Precision, int]],
    lengths: Lengths,
) -> Curve:
    """Operating curves of (mesh, precision, token budget), all in one pricing call each."""
    column = {k: np.array([[getattr(m, k)] for m, _, _ in plans]) for k in ("tp", "pp", "dp", "ep")}
    each = [formats(machine, p, schedule) for _, p, _ in plans]
    fixed: Env = mesh_environment(schedule, column)
    fixed |= {k: np.array([[f[k]] for f in each]) for k in each[0]}
    budget = np.array([[b] for _, _, b in plans], dtype=float)

    def price(prefill: Env, decode: Env) -> Floats:
        batch = batch_environment(schedule, column, prefill=prefill, decode=decode)
        return np.asarray(step_seconds(schedule, machine, cal, column, fixed, batch))

    none = nothing(schedule)
    context = lengths.input + lengths.output / 2
    step = price(none, uniform(schedule, GRID[None, :], 1.0, context))
    fresh = max(1.0, lengths.input * (1 - lengths.cached))
    alone = price(none, uniform(schedule, 1.0, 1.0, context))
    chunk = np.minimum(budget, fresh)
    work = price(uniform(schedule, 1.0, chunk, lengths.input), none) - alone
    prefill = np.maximum(work, 0.0) * (fresh / chunk)
    prompt = max(1.0, lengths.input_at_percentile * (1 - lengths.cached))
    piece = np.minimum(budget, prompt)
    first = price(uniform(schedule, 1.0, piece, prompt), none) * np.ceil(prompt / piece)
    prefill, first = (np.broadcast_to(x, (len(plans), 1)) for x in (prefill, first))
    busy = lengths.output * step + GRID * prefill
    lanes = column["pp"] * column["dp"]  # each has a batch of its own
    return Curve(step, prefill, first, GRID * lanes / busy, busy / lengths.output)
