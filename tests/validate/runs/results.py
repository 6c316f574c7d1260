"""Small results of load generators, written by hand after their documents, and made-up runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VLLM: dict[str, Any] = {
    "date": "20260101-120000", "endpoint_type": "vllm", "backend": "vllm", "label": None,
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "tokenizer_id": "meta-llama/Llama-3.1-8B-Instruct", "num_prompts": 200,
    "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 32, "duration": 20.0,
    "completed": 200, "failed": 0, "total_input_tokens": 102400, "total_output_tokens": 25600,
    "request_throughput": 10.0, "request_goodput": None, "output_throughput": 1280.0,
    "total_token_throughput": 6400.0, "max_output_tokens_per_s": 1500.0,
    "max_concurrent_requests": 33, "rtfx": 0.0,
    "mean_ttft_ms": 120.0, "median_ttft_ms": 100.0, "std_ttft_ms": 30.0, "p99_ttft_ms": 400.0,
    "mean_tpot_ms": 12.0, "median_tpot_ms": 11.5, "std_tpot_ms": 1.0, "p99_tpot_ms": 15.0,
    "mean_itl_ms": 12.1, "median_itl_ms": 11.0, "std_itl_ms": 4.0, "p99_itl_ms": 40.0,
}  # fmt: skip


def _metric(unit: str, avg: float, **more: float) -> dict[str, Any]:
    return {"unit": unit, "avg": avg, **more}


AIPERF: dict[str, Any] = {
    "schema_version": "1.5", "aiperf_version": "0.11.0",
    "request_throughput": _metric("requests/sec", 2.0),
    "request_latency": _metric("ms", 1600.0, p50=1500.0, p90=1900.0, p99=2100.0, count=100),
    "request_count": _metric("requests", 100.0),
    "time_to_first_token": _metric("ms", 50.0, p50=45.0, p90=80.0, p95=90.0, p99=140.0),
    "inter_token_latency": _metric("ms", 12.2, p50=12.0, p99=14.0),
    "output_token_throughput": _metric("tokens/sec", 256.0),
    "output_sequence_length": _metric("tokens", 128.0, min=100, max=150, p50=128.0, std=10.0),
    "input_sequence_length": _metric("tokens", 512.0, min=512, max=512, std=0.0),
    "input_config": {
        "endpoint": {"model_names": ["llama-3.1-8b"], "type": "chat", "streaming": True},
        "loadgen": {"request_rate": 2.0, "arrival_pattern": "gamma", "arrival_smoothness": 4.0},
    },
    "was_cancelled": False, "error_summary": [],
}  # fmt: skip

GENAI_PERF: dict[str, Any] = {
    **{k: v for k, v in AIPERF.items() if k not in ("schema_version", "aiperf_version")},
    "input_config": {
        "model_names": ["llama-3.1-8b"],
        "perf_analyzer": {"path": "perf_analyzer", "stimulus": {"concurrency": 16}},
    },
}


def _summary(mean: float, **more: Any) -> dict[str, Any]:
    return {"successful": {"mean": mean, "median": mean, "std_dev": 0.0, **more}}


GUIDELLM: dict[str, Any] = {
    "args": {"model": "llama-3.1-8b"},
    "benchmarks": [
        {
            "type_": "generative_benchmark",
            "config": {"strategy": {"type_": kind, **strategy}},
            "metrics": {
                "request_totals": {"successful": 60, "incomplete": 2, "errored": 0, "total": 62},
                "request_latency": _summary(1.6, percentiles={"p50": 1.5, "p90": 1.9, "p99": 2.0}),
                "time_to_first_token_ms": _summary(60.0, percentiles={"p50": 50.0, "p99": 99.0}),
                "time_per_output_token_ms": _summary(13.0),
                "inter_token_latency_ms": _summary(12.0, percentiles={"p50": 12.0}),
                "output_tokens_per_second": _summary(300.0),
                "prompt_token_count": _summary(512.0, min=512, max=512),
                "output_token_count": _summary(128.0, min=128, max=128),
            },
        }
        for kind, strategy in (
            ("synchronous", {}), ("concurrent", {"streams": 8}), ("constant", {"rate": 3.5}),
        )
    ],
}  # fmt: skip


def _times(mean: float) -> dict[str, float]:
    return {"mean": mean, "min": mean / 2, "p10": mean / 1.5, "median": mean, "p90": mean * 1.5,
            "p99": mean * 2, "p99.9": mean * 2.2, "max": mean * 3}  # fmt: skip


INFERENCE_PERF: dict[str, Any] = {
    "load_summary": {
        "count": 120, "schedule_delay": _times(0.001), "send_duration": 60.0,
        "requested_rate": 2.0, "achieved_rate": 2.01,
    },
    "successes": {
        "count": 120,
        "latency": {
            "request_latency": _times(1.6),
            "normalized_time_per_output_token": _times(0.0125),
            "time_per_output_token": _times(0.006),
            "time_to_first_token": _times(0.05),
            "inter_token_latency": _times(0.006),
        },
        "throughput": {"input_tokens_per_sec": 1024.0, "output_tokens_per_sec": 256.0,
                       "total_tokens_per_sec": 1280.0, "requests_per_sec": 2.0},
        "prompt_len": {"mean": 512.0, "min": 100.0, "median": 500.0, "p90": 900.0, "max": 1000.0},
        "output_len": {"mean": 128.0, "min": 128.0, "median": 128.0, "max": 128.0},
    },
    "failures": {"count": 0, "request_latency": None, "prompt_len": None},
}  # fmt: skip

DEPLOYED = 'on = "h100"\nmodel = "llama-3.1-8b"\nengine = "vllm"\nversion = "0.15.1"\n'
TABLE = "run,rate,concurrency,requests,input_tokens,output_tokens,ttft_ms,tpot_mean_ms,e2e_p50_s\n"


def save(folder: Path, **files: Any) -> Path:
    """Results as files of a folder; texts become tables, other things JSON."""
    for name, data in files.items():
        if isinstance(data, str):
            (folder / f"{name}.csv").write_text(data)
        else:
            (folder / f"{name}.json").write_text(json.dumps(data))
    return folder
