"""The figures of a simulation as a document's keys, units in every name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from maquette.report.document import Document, milliseconds
from maquette.report.numbers import NONE, Bounds, amount, digits, number, percent, seconds
from maquette.search.types import Interval, Targets
from maquette.serve.metrics import Metrics, Spread

SPREADS = {
    "ttft": "time to first token",
    "tpot": "time per output token",
    "itl": "gap between tokens",
    "e2e": "end to end",
    "queue": "wait for a place",
}


def latency_keys(found: Metrics) -> Document:
    """``ttft_mean_ms``, ``ttft_p50_ms`` … of every latency."""
    keys: Document = {}
    for name in SPREADS:
        spread: Spread = getattr(found, name)
        keys[f"{name}_mean_ms"] = milliseconds(spread.mean)
        for p, value in spread.percentiles.items():
            keys[f"{name}_p{p:g}_ms"] = milliseconds(value)
    return keys


def metric_keys(found: Metrics) -> Document:
    """All figures of a simulation."""
    return {
        "requests": found.requests,
        "finished_requests": found.finished,
        "timed_out_requests": found.timed_out,
        "rejected_requests": found.rejected,
        "unfinished_requests": found.unfinished,
        "preemptions": found.preemptions,
        "duration_s": found.duration,
        "requests_per_s": found.requests_per_s,
        "input_tokens_per_s": found.input_tokens_per_s,
        "output_tokens_per_s": found.output_tokens_per_s,
        "tokens_per_s": found.tokens_per_s,
        "offered_requests_per_s": found.offered_per_s,
        "sustainable_requests_per_s": found.sustainable_per_s,
        "load": found.load,
        "goodput_requests_per_s": found.goodput_per_s,
        "good_share": found.good_share,
        **latency_keys(found),
        "mean_running_requests": found.mean_running,
        "mean_waiting_requests": found.mean_waiting,
        "prefix_cache_hit_share": found.cache_hit_rate,
        "utilisation": found.utilisation,
    }


def interval_keys(intervals: Mapping[str, Interval], percentile: float) -> Document:
    """80 % intervals: ``ttft_p99_ms_low_80`` and so on."""
    keys: Document = {}
    for name, found in intervals.items():
        if name.endswith("_per_s"):
            label, scale = name, 1.0
        else:
            label, scale = f"{name.removesuffix('_s')}_p{percentile:g}_ms", 1e3
        keys[f"{label}_low_80"], keys[f"{label}_high_80"] = found.low * scale, found.high * scale
    return keys


def energy_keys(found: Interval) -> Document:
    """Joules per output token; low and high differ where only a rated power is known."""
    return {"joules_per_output_token_low": found.low, "joules_per_output_token_high": found.high}


def target_keys(targets: Targets) -> Document:
    """The latency targets and the percentile they hold at."""
    return {
        "ttft_target_ms": milliseconds(targets.ttft),
        "tpot_target_ms": milliseconds(targets.tpot),
        "percentile": targets.percentile,
    }


def of_output(intervals: Mapping[str, Interval]) -> Mapping[str, Interval]:
    """A search's intervals by the names of ours: its tokens per second are those of output."""
    names = {"tokens_per_s": "output_tokens_per_s"}
    return {names.get(k, k): v for k, v in intervals.items()}


def bounds(intervals: Mapping[str, Interval], name: str) -> Bounds | None:
    """The interval of a figure, if it has one."""
    found = intervals.get(name)
    return None if found is None else (found.low, found.high)


def latency_rows(found: Metrics) -> Iterator[tuple[str, ...]]:
    """Rows of a table: what, mean and percentiles."""
    for name, words in SPREADS.items():
        spread: Spread = getattr(found, name)
        values = (spread.mean, *spread.percentiles.values())
        yield (name.upper() if name != "queue" else name, *map(seconds, values), words)


def energy(found: Interval) -> str:
    """Joules per token in words."""
    if found.low != found.low:
        return f"{NONE} (no power known)"
    if abs(found.high - found.low) < 1e-9 * found.high:
        return f"{amount(found.low, 'J')} per output token (board power fitted)"
    low, high = digits(found.low), digits(found.high)
    return f"[{low}, {high}] J per output token (only the rated power is known)"


def served(found: Metrics) -> str:
    """How many requests were served, and what became of the others."""
    lost = {"timed out": found.timed_out, "rejected": found.rejected,
            "unfinished": found.unfinished}  # fmt: skip
    words = [f"{n:,} {name}" for name, n in lost.items() if n]
    return ", ".join([f"{found.finished:,} of {found.requests:,} requests", *words])


def rates(found: Metrics, intervals: Mapping[str, Any]) -> str:
    """Tokens and requests per second."""
    output = number(found.output_tokens_per_s, bounds(intervals, "output_tokens_per_s"))
    total, requests = digits(found.tokens_per_s), digits(found.requests_per_s)
    return f"{output} output tokens/s, {total} tokens/s in all, {requests} requests/s"


def batches(found: Metrics) -> str:
    """How many requests run and wait, and how much of the time."""
    words = f"{digits(found.mean_running)} requests run and {digits(found.mean_waiting)} wait"
    return f"{words} on average; steps run {percent(found.utilisation)} of the time"


def load(found: Metrics) -> str:
    """Offered and sustained rate."""
    able = digits(found.sustainable_per_s)
    if found.load != found.load:
        return f"closed loop; about {able} requests/s can be sustained"
    offered = digits(found.offered_per_s)
    return f"{percent(found.load)}: {offered} offered of about {able} requests/s sustained"
