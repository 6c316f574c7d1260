"""What happened: a Trace of one simulation, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.price.step import Replica
from maquette.units import BytesPerSecond, Seconds

Ints = NDArray[np.int64]

FINISHED, TIMED_OUT, REJECTED, UNFINISHED = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class Disaggregation:
    """Replicas that only prefill, and the link of each to the replicas that decode."""

    prefill: tuple[Replica, ...]
    bandwidth: BytesPerSecond
    latency: Seconds


@dataclass(frozen=True, eq=False)
class Segments:
    """The timeline: stretches over which a replica's batch did not change."""

    replica: Ints
    start_ns: Ints
    end_ns: Ints
    steps: Ints
    running: Ints  # sequences in the batch
    waiting: Ints
    prefill_tokens: Ints
    kv_blocks: Ints  # in use at the end


@dataclass(frozen=True, eq=False)
class Trace:
    """One simulation.  Times are integer nanoseconds from the first arrival; -1 is never."""

    arrival_ns: Ints
    scheduled_ns: Ints  # first time in a batch
    first_token_ns: Ints
    finish_ns: Ints
    input_tokens: Ints
    output_tokens: Ints
    cached_tokens: Ints  # prompt tokens found in the prefix cache
    preemptions: Ints
    replica: Ints
    status: Ints
    segments: Segments
    steps: int
    events: int
    # Work done, for energy and utilisation: steps by number of tokens and of sequences, and the
    # sums over steps of attention pairs and context by attention class.
    steps_by_tokens: Ints
    steps_by_seqs: Ints
    prefill_pairs: tuple[float, ...]
    prefill_context: tuple[float, ...]
    decode_context: tuple[float, ...]
    busy_ns: int  # summed over replicas
    end_ns: int
    # Gaps between successive tokens of one request: histogram over logarithmic bins.
    gap_edges_ns: NDArray[np.float64]
    gap_counts: Ints
    warnings: tuple[str, ...] = ()
    replicas: int = 1  # decode and prefill ones
    outside_ns: int = 0  # of each request between its client and the engine, waiting aside
    closed_loop: bool = False
    sustainable_per_s: float = float("nan")  # requests; a fluid estimate, see `saturation`
