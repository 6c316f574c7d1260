"""Answers as the file of ``vllm bench serve --save-result --save-detailed``: one object per run."""

from __future__ import annotations

from typing import Any

import numpy as np

from maquette.measure.client import Answers
from maquette.measure.trials import Trial
from maquette.traffic.types import Floats

PERCENTILES = (90, 99)


def document(trial: Trial, seen: Answers, date: str) -> dict[str, Any]:
    """One run, times in milliseconds; every request's lengths, start and times in seconds."""
    done = seen.done
    spec, out = trial.spec, seen.output_tokens[seen.done]
    many = out > 1
    after = (seen.e2e_s - seen.ttft_s)[done]
    times = {
        "ttft": seen.ttft_s[done], "tpot": after[many] / (out[many] - 1), "itl": seen.gaps_s,
        "e2el": seen.e2e_s[done],
    }  # fmt: skip
    clients = spec.arrivals.concurrency
    return {
        "date": date, "label": trial.name, "backend": "openai", "num_prompts": trial.requests,
        "request_rate": "inf" if clients else float(spec.rate or 0.0),
        "burstiness": 1.0, "max_concurrency": clients or None,
        "duration": seen.seconds, "completed": int(done.sum()), "failed": int((~done).sum()),
        "total_input_tokens": int(seen.input_tokens[done].sum()),
        "total_output_tokens": int(out.sum()),
        "request_throughput": float(done.sum() / seen.seconds),
        "output_throughput": float(out.sum() / seen.seconds),
        **{k: v for name, x in times.items() for k, v in _statistics(name, x).items()},
        "input_lens": seen.input_tokens[done].tolist(), "output_lens": out.tolist(),
        "start_times": _rounded(seen.sent_s[done]), "ttfts": _rounded(seen.ttft_s[done]),
        "latencies": _rounded(seen.e2e_s[done]),
        "probe_late_p99_ms": round(float(np.percentile(seen.late_s, 99)) * 1e3, 4),
        "errors": list(seen.failures),
    }  # fmt: skip


def _statistics(name: str, x: Floats) -> dict[str, float]:
    if not len(x):
        return {}
    found = {"mean": np.mean(x), "median": np.median(x), "std": np.std(x)}
    found |= {f"p{p}": np.percentile(x, p) for p in PERCENTILES}
    return {f"{k}_{name}_ms": round(float(v) * 1e3, 4) for k, v in found.items()}


def _rounded(x: Floats) -> list[float]:
    return [round(float(v), 6) for v in x]
