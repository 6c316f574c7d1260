"""What a stream of requests looks like, and simple ways to reshape it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from maquette.errors import Fault, InputError
from maquette.traffic.arrivals import whole_ns
from maquette.traffic.types import Ints, Requests


@dataclass(frozen=True)
class LengthStatistics:
    """Of one column of lengths, in tokens."""

    mean: float
    p50: float
    p90: float
    p99: float
    max: int


@dataclass(frozen=True)
class Statistics:
    """Of a stream of requests.  What a closed loop or a single request does not have is None."""

    requests: int
    span_s: float | None
    rate_per_s: float | None
    gap_cv: float | None  # standard deviation of the gaps between arrivals over their mean
    input_tokens: LengthStatistics
    output_tokens: LengthStatistics
    cacheable_share: float | None  # of prompt blocks, with a prefix cache that never forgets
    source: str

    def rows(self) -> list[tuple[str, str]]:
        """Label and value of every statistic there is, for a table."""
        out = [("requests", f"{self.requests:,}")]
        if self.span_s is not None and self.rate_per_s is not None:
            out += [("span", f"{self.span_s:,.1f} s"), ("rate", f"{self.rate_per_s:.4g} req/s")]
        if self.gap_cv is not None:
            out.append(("inter-arrival CV", f"{self.gap_cv:.3g}"))
        for name, x in (("input", self.input_tokens), ("output", self.output_tokens)):
            shown = f"{x.mean:,.0f} / {x.p50:,.0f} / {x.p90:,.0f} / {x.p99:,.0f} / {x.max:,}"
            out.append((f"{name} tokens mean/p50/p90/p99/max", shown))
        if self.cacheable_share is not None:
            out.append(("cacheable blocks", f"{self.cacheable_share:.1%}"))
        return [*out, ("source", self.source)]


def describe(requests: Requests) -> Statistics:
    """The statistics of `requests`."""
    span, rate, cv = None, None, None
    if not requests.concurrency and len(requests) > 1:
        gaps = np.diff(requests.arrival_ns)
        span = float(gaps.sum() / 1e9)
        if span > 0:
            rate = len(gaps) / span
            cv = float(gaps.std() / gaps.mean())
    share = None
    if requests.block_hash is not None:
        total = len(requests.block_hash)
        share = 1 - len(np.unique(requests.block_hash)) / total if total else 0.0
    return Statistics(
        len(requests), span, rate, cv,
        _lengths(requests.input_tokens), _lengths(requests.output_tokens),
        share, requests.source,
    )  # fmt: skip


def _lengths(tokens: Ints) -> LengthStatistics:
    p50, p90, p99 = np.percentile(tokens, (50, 90, 99))
    return LengthStatistics(
        float(tokens.mean()), float(p50), float(p90), float(p99), int(tokens.max())
    )


def scale(
    requests: Requests, *, rate: float | None = None, factor: float | None = None
) -> Requests:
    """The same requests arriving `factor` times as fast, or at a mean of `rate` per second."""
    if (rate is None) == (factor is None):
        raise InputError(Fault("scale", "takes one of rate and factor"))
    name, value = ("rate", rate) if rate is not None else ("factor", factor)
    if value is None or not 0 < value < float("inf"):
        raise InputError(Fault(f"scale {name}", f"{value} is out of range", "a positive number"))
    now = describe(requests).rate_per_s
    if rate is not None and now is None:
        what = "a closed loop has no rate" if requests.concurrency else "all arrive at once"
        raise InputError(Fault("scale rate", what, hint="give a trace of requests over time"))
    faster = value if rate is None or now is None else value / now
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        where = "rate" if rate is not None else "scale factor"
        arrivals = whole_ns(requests.arrival_ns / faster, where, value)
    source = f"{requests.source}, {faster:.4g} times as fast"
    again = requests.redrawn
    also = None if again is None else partial(_scaled, again, faster)
    return replace(requests, arrival_ns=arrivals, source=source, redrawn=also)


def _scaled(again: Callable[[int], Requests], factor: float, seed: int) -> Requests:
    return scale(again(seed), factor=factor)


def head(requests: Requests, n: int) -> Requests:
    """The first `n` requests, or all if there are fewer."""
    if n < 1:
        raise InputError(Fault("requests", f"{n} is out of range", "1 or more"))
    if n >= len(requests):
        return requests
    again = requests.redrawn
    also = None if again is None else partial(_head, again, n)
    source = f"{requests.source}, first {n}"
    return replace(take(requests, np.arange(n)), source=source, redrawn=also)


def _head(again: Callable[[int], Requests], n: int, seed: int) -> Requests:
    return head(again(seed), n)


def take(requests: Requests, index: Ints) -> Requests:
    """The requests at these indices, in their order."""
    hashes, start = requests.block_hash, requests.block_start
    if hashes is not None and start is not None:
        count = np.diff(start)[index]
        taken = np.concatenate(([0], np.cumsum(count)))
        hashes = hashes[np.arange(taken[-1]) + np.repeat(start[:-1][index] - taken[:-1], count)]
        start = taken
    return replace(
        requests,
        arrival_ns=requests.arrival_ns[index],
        input_tokens=requests.input_tokens[index],
        output_tokens=requests.output_tokens[index],
        priority=None if requests.priority is None else requests.priority[index],
        block_hash=hashes,
        block_start=start,
        redrawn=None,
    )
