"""What a history means: latencies, switching, hits, bytes and rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maquette.serve.composition.types import AHEAD, COPIED, RESIDENT, History
from maquette.serve.metrics import PERCENTILES, Spread, spread
from maquette.units import Bytes, PerSecond, Seconds


@dataclass(frozen=True)
class Figures:
    """One simulation in figures.

    Shares of requests by what their run found are 1 in all.  `switching_share` is the time that
    compute waited for experts over the time that nodes were busy: router, experts, and waiting.
    """

    requests: int
    duration: Seconds
    ttft: Spread  # from arrival to the first token
    e2e: Spread  # to the last
    routing: Spread  # to the end of the router's run
    waiting: Spread  # from there until a node takes the request up
    resident_share: float
    ahead_share: float
    copied_share: float
    switching_share: float
    router_share: float  # of the busy time
    utilisation: float  # busy computing, of all nodes' time
    copies: int
    prefetches: int
    evictions: int
    runs: int
    bytes_moved: Bytes
    requests_per_s: PerSecond
    output_tokens_per_s: PerSecond


def figures(history: History, percentiles: Sequence[float] = PERCENTILES) -> Figures:
    """The figures of a history; percentiles are of requests, times in seconds."""
    n, uses = len(history.arrival_ns), history.uses
    found = np.bincount(history.found, minlength=3) / n
    router = sum(u.router_ns for u in uses)
    stall = sum(u.stall_ns for u in uses)
    busy = router + sum(u.compute_ns for u in uses)
    duration = history.end_ns * 1e-9

    def seconds(later: str, sooner: str) -> Spread:
        took = getattr(history, later) - getattr(history, sooner)
        return spread(took * 1e-9, percentiles)

    return Figures(
        requests=n,
        duration=Seconds(duration),
        ttft=seconds("first_token_ns", "arrival_ns"),
        e2e=seconds("finish_ns", "arrival_ns"),
        routing=seconds("routed_ns", "arrival_ns"),
        waiting=seconds("start_ns", "routed_ns"),
        resident_share=float(found[RESIDENT]),
        ahead_share=float(found[AHEAD]),
        copied_share=float(found[COPIED]),
        switching_share=stall / (busy + stall),
        router_share=router / (busy + stall),
        utilisation=busy / (history.end_ns * len(uses)),
        copies=sum(u.copies for u in uses),
        prefetches=sum(u.prefetches for u in uses),
        evictions=sum(u.evictions for u in uses),
        runs=sum(u.runs for u in uses),
        bytes_moved=Bytes(float(sum(u.bytes_moved for u in uses))),
        requests_per_s=PerSecond(n / duration),
        output_tokens_per_s=PerSecond(float(history.output_tokens.sum()) / duration),
    )
