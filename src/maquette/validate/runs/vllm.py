"""``vllm bench serve --save-result``: one object per run, times in ms.

Keys as `vllm/benchmarks/serve.py` of vllm-project/vllm writes them (009e6d4, 2026), and those
of older versions.  TPOT is the mean over requests, ITL over gaps between events.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

import numpy as np

from maquette.traffic.arrivals import Arrivals
from maquette.traffic.types import Ints
from maquette.validate.runs.keys import Keys
from maquette.validate.runs.types import Key, Load, Run, Said, Spread

TIMES = {"ttft": "ttft", "tpot": "tpot", "e2el": "e2e"}
KNOWN = frozenset((
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts",
    "best_of", "request_rate", "burstiness", "max_concurrency", "ramp_up_strategy",
    "ramp_up_start_rps", "ramp_up_end_rps", "duration", "completed", "failed",
    "total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput",
    "request_goodput:", "output_throughput", "total_token_throughput", "input_lens",
    "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times", "generated_texts",
    "errors", "max_output_tokens_per_s", "max_concurrent_requests", "rtfx", "rps_change_events",
))  # fmt: skip
PATTERN = (
    r"(mean|median|std|p\d+(\.\d+)?)_(ttft|tpot|itl|e2el|client_queue_time|"
    r"e2el_including_client_queue)_ms|probe_\w+"
)
OTHERWISE = {  # what cannot be simulated: a beginning of keys → what it is
    "spec_decode": "speculative decoding", "diffusion": "a diffusion model", "ramp_up": "a ramp",
}  # fmt: skip


def recognised(data: Any) -> bool:
    """Whether an object looks like a result of this tool."""
    return isinstance(data, dict) and "total_output_tokens" in data and "num_prompts" in data


def read(keys: Keys) -> Run | None:
    """The run of one object; None after a fault."""
    before = len(keys.faults)
    for beginning, what in OTHERWISE.items():
        name = next((k for k in keys.data if k.startswith(beginning) and k in keys), None)
        if name:
            keys.wrong(name, f"tells of {what}, which is not simulated")
    said = _metadata(keys)
    load = _load(keys)
    measured = {key: value / 1e3 for key, value in _times(keys).items()}
    through = keys.number("output_throughput")
    if len(keys.faults) > before or load is None or through is None:
        return None
    return Run(
        keys.file, "vLLM bench serve", load,
        {**measured, ("output_tokens_per_s", "mean"): through}, said,
    )  # fmt: skip


def _times(keys: Keys) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for name, quantity in TIMES.items():
        if name == "e2el" and "mean_e2el_ms" not in keys:  # not among the default metrics
            continue
        names = {"mean": f"mean_{name}_ms", "p50": f"median_{name}_ms"}
        names |= {p: f"{p}_{name}_ms" for p in ("p90", "p95", "p99") if f"{p}_{name}_ms" in keys}
        for statistic, key in names.items():
            value = keys.number(key)
            if value is not None:
                found[quantity, statistic] = value
    if (value := keys.maybe("mean_itl_ms")) is not None:
        found["itl", "mean"] = value
    return found


def _load(keys: Keys) -> Load | None:
    sent, done = keys.whole("num_prompts"), keys.whole("completed")
    tokens = [keys.number(n) for n in ("total_input_tokens", "total_output_tokens")]
    if sent and done and done < 0.95 * sent:
        keys.wrong("completed", f"only {done} of {sent} requests", "19 of 20 at least",
                   "what latencies the others would have had is not known")  # fmt: skip
    rate, clients = _rate(keys), keys.maybe("max_concurrency")
    if rate is not None and clients is not None:
        keys.wrong("max_concurrency", f"is {clients:g} beside a rate of {rate:g}/s",
                   "one of the two", "a rate that waits for clients is not simulated")  # fmt: skip
    burst = keys.maybe("burstiness") or 1.0
    arrivals = Arrivals() if burst == 1.0 else Arrivals("gamma", cv=burst**-0.5)
    if not sent or not done or tokens[0] is None or tokens[1] is None:
        return None
    listed = _listed(keys, done)
    return Load(
        requests=sent,
        inputs=Spread(tokens[0] / done),
        outputs=Spread(tokens[1] / done),
        rate=rate,
        concurrency=None if rate is not None else int(clients or sent),
        arrivals=arrivals,
        listed=listed and listed[:2],
        sent_ns=None if listed is None or rate is None else listed[2],
    )


def _rate(keys: Keys) -> float | None:
    """Requests per second; None where all may be sent at once."""
    if keys.data.get("request_rate") == "inf":
        return None
    return keys.number("request_rate")


def _listed(keys: Keys, done: int) -> tuple[Ints, Ints, Ints | None] | None:
    """Tokens of every request, in the order sent, of ``--save-detailed``, and when it was sent."""
    columns = [keys.data.get(n) for n in ("input_lens", "output_lens")]
    if columns == [None, None]:
        return None
    found = []
    for name, column in zip(("input_lens", "output_lens"), columns, strict=True):
        good = isinstance(column, list) and all(isinstance(x, int) and x >= 0 for x in column)
        if not good or len(column or ()) < done:
            keys.wrong(name, "is no list of tokens of every request", "whole numbers")
            return None
        found.append(np.array(column, np.int64))
    keep = found[1] > 0
    starts = keys.data.get("start_times")
    if not isinstance(starts, list) or len(starts) != len(keep) or not keep.any():
        return found[0][keep], found[1][keep], None
    if not all(isinstance(x, int | float) and isfinite(x) for x in starts):
        keys.wrong("start_times", "is no list of times of every request", "seconds")
        return None
    seconds = np.array(starts, float)[keep]
    order = np.argsort(seconds, kind="stable")
    sent = np.rint((seconds - seconds.min()) * 1e9).astype(np.int64)
    return found[0][keep][order], found[1][keep][order], sent[order]


def _metadata(keys: Keys) -> Said:
    """What ``--metadata KEY=VALUE`` said of the deployment: texts beside the tool's own keys."""
    own = {k for k in keys.data if k in KNOWN or re.fullmatch(PATTERN, k)}
    own |= {k for k in keys.data if k.startswith(tuple(OTHERWISE))}
    extra: dict[str, Any] = {}
    for name in keys.data.keys() - own:
        value = keys.data[name]
        if name in ("on", "engine", "version", "weights", "kv") and isinstance(value, str):
            extra[name] = value
        elif name in ("tp", "pp", "dp", "ep", "replicas") and str(value).isdigit():
            extra[name] = int(value)
        elif not isinstance(value, str):  # texts are metadata of other purposes
            keys.wrong(name, "is not a key of vLLM's bench serve")
    if keys.data.get("backend", keys.data.get("endpoint_type")) == "vllm":
        extra.setdefault("engine", "vllm")
    return Said(model=keys.text("model_id"), **extra)
