"""What a Trace means: latencies, rates, use of the machine, and what to beware of.

- TTFT: from arrival to the first token.
- TPOT, of one request: the time from its first to its last token over the tokens after the first.
  Requests with one token have none.
- ITL: a single gap between two tokens of one request; all gaps of all requests, in bins of 1 %.
- E2E: from arrival to the last token.
- queue: what a request waits for its server to accept it and for the first step that holds it,
  beyond the time that each takes outside the engine.

All are of finished requests, except ITL, which has every gap.  Rates are over the whole
simulation, from the first arrival to the end of the last step, and count finished requests only:
what was dropped never raises them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.serve.types import FINISHED, REJECTED, TIMED_OUT, UNFINISHED, Trace
from maquette.units import PerSecond, Seconds

Floats = NDArray[np.float64]

PERCENTILES = (50.0, 90.0, 95.0, 99.0)


@dataclass(frozen=True)
class Spread:
    """How a latency is distributed.  Of no observations the figures are NaN."""

    n: int
    mean: Seconds
    percentiles: Mapping[float, Seconds]

    def __getitem__(self, percentile: float) -> Seconds:
        return self.percentiles[percentile]


@dataclass(frozen=True)
class Metrics:
    """One simulation in figures."""

    ttft: Spread
    tpot: Spread
    itl: Spread
    e2e: Spread
    queue: Spread
    requests: int
    finished: int
    timed_out: int
    rejected: int
    unfinished: int
    preemptions: int
    duration: Seconds
    requests_per_s: PerSecond
    input_tokens_per_s: PerSecond
    output_tokens_per_s: PerSecond
    good_share: float | None  # of all requests, those that finish within the targets, if any
    goodput_per_s: PerSecond | None  # such requests per second
    mean_running: float  # requests in a batch; as Little's law has it, from finished requests
    mean_waiting: float
    cache_hit_rate: float  # share of prompt tokens found in the prefix cache
    utilisation: float  # share of the time that a replica is in a step
    offered_per_s: PerSecond  # NaN in a closed loop
    sustainable_per_s: PerSecond  # a fluid estimate, see `saturation`
    load: float  # offered over sustainable; NaN in a closed loop
    warnings: tuple[str, ...]

    @property
    def tokens_per_s(self) -> float:
        return self.input_tokens_per_s + self.output_tokens_per_s


def latencies(trace: Trace) -> dict[str, Floats]:
    """Seconds of every finished request: "ttft", "tpot", "e2e" and "queue".

    "tpot" is shorter than the others where requests have a single token.
    """
    done = trace.status == FINISHED
    arrival, first, finish = (
        column[done] for column in (trace.arrival_ns, trace.first_token_ns, trace.finish_ns)
    )
    after = trace.output_tokens[done] - 1
    many = after > 0
    return {
        "ttft": (first - arrival) * 1e-9,
        "tpot": (finish - first)[many] / after[many] * 1e-9,
        "e2e": (finish - arrival) * 1e-9,
        "queue": (trace.scheduled_ns[done] - arrival - trace.outside_ns) * 1e-9,
    }


def summary(
    trace: Trace,
    percentiles: Sequence[float] = PERCENTILES,
    *,
    ttft: Seconds | None = None,
    tpot: Seconds | None = None,
) -> Metrics:
    """The figures of `trace`; with targets, the goodput: a request meets all that are given."""
    values = latencies(trace)
    done = trace.status == FINISHED
    duration = trace.end_ns * 1e-9
    rate = 1 / duration if duration else float("nan")
    counts = {s: int((trace.status == s).sum()) for s in range(4)}
    good = _good(trace, ttft, tpot)
    seen = trace.scheduled_ns >= 0
    prompts = int(trace.input_tokens[seen].sum())
    offered = _offered(trace)
    load = offered / trace.sustainable_per_s if trace.sustainable_per_s else float("nan")
    itl = _gaps(trace, percentiles)
    return Metrics(
        **{k: spread(values[k], percentiles) for k in ("ttft", "tpot", "e2e", "queue")},
        itl=itl,
        requests=len(trace.status),
        finished=counts[FINISHED],
        timed_out=counts[TIMED_OUT],
        rejected=counts[REJECTED],
        unfinished=counts[UNFINISHED],
        preemptions=int(trace.preemptions.sum()),
        duration=Seconds(duration),
        requests_per_s=PerSecond(counts[FINISHED] * rate),
        input_tokens_per_s=PerSecond(float(trace.input_tokens[done].sum()) * rate),
        output_tokens_per_s=PerSecond(float(trace.output_tokens[done].sum()) * rate),
        good_share=None if good is None else good / len(trace.status),
        goodput_per_s=None if good is None else PerSecond(good * rate),
        mean_running=float((trace.finish_ns - trace.scheduled_ns)[done].sum()) * 1e-9 * rate,
        mean_waiting=float(values["queue"].sum()) * rate,
        cache_hit_rate=float(trace.cached_tokens.sum()) / max(prompts, 1),
        utilisation=trace.busy_ns * 1e-9 * rate / trace.replicas,
        offered_per_s=PerSecond(offered),
        sustainable_per_s=PerSecond(trace.sustainable_per_s),
        load=load,
        warnings=(*trace.warnings, *_warnings(trace, values["queue"], load)),
    )


def spread(values: Floats, percentiles: Sequence[float]) -> Spread:
    """The mean and the percentiles of observations in seconds."""
    if not len(values):
        nan = Seconds(float("nan"))
        return Spread(0, nan, dict.fromkeys(percentiles, nan))
    at = np.percentile(values, percentiles)
    shown = {p: Seconds(float(v)) for p, v in zip(percentiles, at, strict=True)}
    return Spread(len(values), Seconds(float(values.mean())), shown)


def _gaps(trace: Trace, percentiles: Sequence[float]) -> Spread:
    """Percentiles within a bin are interpolated; the mean is of bin centres."""
    counts, edges = trace.gap_counts, trace.gap_edges_ns * 1e-9
    total = int(counts.sum())
    if not total:
        return spread(np.zeros(0), percentiles)
    at = np.interp(np.array(percentiles) / 100 * total, np.append(0, np.cumsum(counts)), edges)
    mean = float((counts * (edges[:-1] + edges[1:]) / 2).sum()) / total
    shown = {p: Seconds(float(v)) for p, v in zip(percentiles, at, strict=True)}
    return Spread(total, Seconds(mean), shown)


def _good(trace: Trace, ttft: float | None, tpot: float | None) -> int | None:
    """Requests that finished within the targets; None without targets."""
    if ttft is None and tpot is None:
        return None
    good = trace.status == FINISHED
    if ttft is not None:
        good &= trace.first_token_ns - trace.arrival_ns <= ttft * 1e9
    if tpot is not None:
        after = trace.output_tokens - 1
        good &= trace.finish_ns - trace.first_token_ns <= tpot * 1e9 * after
    return int(good.sum())


def _offered(trace: Trace) -> float:
    """Requests per second of an open loop, by the time between arrivals."""
    span = int(trace.arrival_ns.max() - trace.arrival_ns.min())
    if trace.closed_loop or span <= 0:
        return float("nan")
    return (len(trace.arrival_ns) - 1) / (span * 1e-9)


def _warnings(trace: Trace, queue: Floats, load: float) -> Iterator[str]:
    if load >= 1:
        yield (
            f"overload: {load:.2f} times the rate that the replicas sustain;"
            " latencies grow with the length of the simulation"
        )
    elif load > 0.9:
        yield f"near saturation (load {load:.2f}): latencies depend on the length of the simulation"
    preempted = int((trace.preemptions > 0).sum())
    if preempted > 0.01 * len(trace.preemptions):
        yield (
            f"{preempted} requests were preempted ({int(trace.preemptions.sum())} times) and"
            " computed anew: KV blocks, not sequences, bound the batch"
        )
    if len(queue) >= 100 and not trace.closed_loop:
        quarters = [float(q.mean()) for q in np.array_split(queue, 4)]
        if sorted(quarters) == quarters and quarters[3] > max(2 * quarters[1], 0.1):
            yield (
                "the queue grows: the last quarter of the requests waited"
                f" {quarters[3]:.3g} s on average, the first {quarters[0]:.3g} s"
            )
