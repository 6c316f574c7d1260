"""inference-perf: ``stage_N_lifecycle_metrics.json``, times in seconds.

Keys as its reports and its `native.proto` (kubernetes-sigs/inference-perf, 2026) have them.
Versions differ in how many events of the stream they count as tokens, so that their time per
output token and between tokens come out at half of the true one (its issues 401 and 564): neither
is read.  The mean time between tokens follows from means of latency, first token and length.
"""

from __future__ import annotations

import re
from typing import Any

from maquette.validate.runs.keys import Keys
from maquette.validate.runs.types import Key, Load, Run, Spread

STATISTICS = {"mean": "mean", "p50": "median", "p90": "p90", "p95": "p95", "p99": "p99"}
QUANTILES = r"mean|min|max|median|p\d+(\.\d+)?"
LATENCY = ("request_latency", "normalized_time_per_output_token", "time_per_output_token",
           "time_to_first_token", "inter_token_latency")  # fmt: skip
LOAD = ("count", "schedule_delay", "send_duration", "requested_rate", "achieved_rate",
        "concurrency")  # fmt: skip


def recognised(data: Any) -> bool:
    """Whether an object looks like a report of this tool."""
    return isinstance(data, dict) and "load_summary" in data and "successes" in data


def read(keys: Keys) -> Run | None:
    """The run of one stage; None after a fault."""
    before = len(keys.faults)
    load, good = keys.under("load_summary"), keys.under("successes")
    load.only(LOAD)
    latency = good.under("latency")
    latency.only(LATENCY)
    ttft = _times(latency, "time_to_first_token", "ttft")
    e2e = _times(latency, "request_latency", "e2e")
    inputs, outputs = (_spread(good, n) for n in ("prompt_len", "output_len"))
    sent, done = load.whole("count"), good.whole("count")
    if sent and done and done < 0.95 * sent:
        good.wrong("count", f"only {done} of {sent} requests", "19 of 20 at least")
    rate, clients = load.maybe("requested_rate"), load.maybe("concurrency")
    reached = load.maybe("achieved_rate")
    if rate and reached and not clients and reached < 0.9 * rate:
        load.wrong("achieved_rate", f"is {reached:g} of {rate:g} requests per second",
                   "9 of 10 at least", "the client fell behind: it measures itself")  # fmt: skip
    if len(keys.faults) > before or not (inputs and outputs and sent):
        return None
    measured = {**ttft, **e2e}
    if outputs.mean > 1:
        gaps = (e2e["e2e", "mean"] - ttft["ttft", "mean"]) / (outputs.mean - 1)
        measured["itl", "mean"] = gaps
    through = good.under("throughput").maybe("output_tokens_per_sec")
    if through:
        measured["output_tokens_per_s", "mean"] = through
    return Run(
        keys.file,
        "inference-perf",
        Load(
            sent, inputs, outputs,
            rate=None if clients else rate,
            concurrency=int(clients) if clients else None,
        ),
        measured,
        notes=("time between tokens from means of latency and length",),
    )  # fmt: skip


def _times(latency: Keys, name: str, quantity: str) -> dict[Key, float]:
    held = latency.under(name)
    held.only((), QUANTILES)
    found: dict[Key, float] = {}
    for statistic, key in STATISTICS.items():
        value = held.number(key) if statistic == "mean" else held.maybe(key)
        if value is not None:
            found[quantity, statistic] = value
    return found


def _spread(good: Keys, name: str) -> Spread | None:
    held = good.under(name)
    held.only((), QUANTILES)
    mean = held.number("mean")
    at = {k: _share(k) for k in held.data if k != "mean" and re.fullmatch(QUANTILES, k)}
    known = {p: held.maybe(k, zero=True) for k, p in at.items()}
    if mean is None:
        return None
    return Spread(mean, quantiles={p: x for p, x in sorted(known.items()) if x is not None})


def _share(name: str) -> float:
    """``p99.9`` as 0.999."""
    named = {"min": 0.0, "median": 0.5, "max": 1.0}
    return named[name] if name in named else float(name.removeprefix("p")) / 100
