"""What a file of measured rows may look like, as data.

A row is tidy: one measurement per line, one variable per column, and a column of a duration
carries its unit in its name (``ttft_mean_ms``).  A *kind* of row is recognised by the name of its
file or by the columns it has; other columns are ignored.  Headings are compared in lower case
with every run of other characters turned into ``_``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch

TEXT: Mapping[str, tuple[str, ...]] = {
    "hardware": (
        "hardware", "device", "gpu", "accelerator", "system", "machine", "hw", "gpu_type",
        "gpu_name", "device_name", "device_type", "accelerator_name", "hardware_name", "gpu_model",
    ),
    "engine": (
        "engine", "framework", "backend", "stack", "runtime", "serving_engine", "engine_name",
        "framework_name", "software", "serving_stack",
    ),
    "version": (
        "version", "engine_version", "framework_version", "backend_version", "stack_version",
        "vllm_version", "software_version",
    ),
    "model": ("model", "model_name", "model_id", "llm", "hf_model", "model_path", "network"),
    "precision": (
        "precision", "dtype", "weight_dtype", "weights_dtype", "quantization", "quantisation",
        "quant", "weight_precision", "gemm_dtype", "data_type", "gemm_quant_mode",
    ),
    "kv_precision": ("kv_dtype", "kv_cache_dtype", "kv_precision", "kv_cache_precision"),
    "split": ("split", "fold", "subset"),
    "run": ("run", "run_id", "experiment", "experiment_id", "exp_id", "exp", "run_name"),
    "stage": ("stage", "stage_id", "stage_index", "stage_name"),
    "collective": ("collective", "operation", "op_name", "comm_op", "primitive"),
    "op": ("op", "operator", "kernel", "layer", "kernel_name"),
    "phase": ("phase", "stage_kind", "attention_phase", "attn_phase"),
    "scenario": ("scenario",),
    "evidence": ("evidence",),
}  # fmt: skip

NUMBER: Mapping[str, tuple[str, ...]] = {
    "batch": ("batch", "batch_size", "bs", "num_seqs", "batchsize", "n_seqs"),
    "concurrency": (
        "concurrency", "max_concurrency", "conc", "num_clients", "users", "concurrent_requests",
    ),
    "input_tokens": (
        "input_tokens", "input_len", "input_length", "isl", "prompt_tokens", "prompt_len",
        "prompt_length", "prompt_size", "input_tokens_mean", "mean_input_tokens", "in_tokens",
        "input_len_mean", "prompt_tokens_mean", "input_output_length",
    ),
    "output_tokens": (
        "output_tokens", "output_len", "output_length", "osl", "gen_tokens", "token_size",
        "completion_tokens", "output_tokens_mean", "mean_output_tokens", "out_tokens",
        "output_len_mean", "new_tokens", "generated_tokens", "input_output_length",
    ),
    "input_sd": ("input_tokens_sd", "input_tokens_std", "input_std", "input_tokens_stdev"),
    "output_sd": ("output_tokens_sd", "output_tokens_std", "output_std", "output_tokens_stdev"),
    "tp": (
        "tp", "tp_size", "tensor_parallel", "tensor_parallel_size", "tp_degree",
        "num_tensor_parallel_workers",
    ),
    "devices": (
        "devices", "num_devices", "gpus", "num_gpus", "n_gpus", "n_devices", "gpu_count",
        "num_accelerators", "accelerators", "hardware_num", "device_count", "total_gpus",
        "accelerator_count", "world_size", "num_ranks",
    ),
    "pp": ("pp", "pp_size", "pipeline_parallel", "pipeline_parallel_size"),
    "dp": ("dp", "dp_size", "attention_dp", "attention_dp_size", "dp_attention_size"),
    "ep": ("ep", "ep_size", "expert_parallel", "expert_parallel_size", "moe_ep_size"),
    "rate": (
        "rate", "qps", "request_rate", "rate_rps", "rps", "req_s", "requests_per_s",
        "arrival_rate", "rate_req_s", "rate_per_s", "request_rate_rps", "requests_per_second",
    ),
    "requests": ("requests", "num_requests", "n_requests", "request_count", "num_prompts"),
    "arrival": (
        "arrival_s", "arrival_time_s", "start_s", "start_time_s", "sent_s", "send_time_s",
        "request_start_s",
    ),
    "duration": ("duration_s", "stage_duration_s", "elapsed_s", "duration_seconds"),
    "prefix_tokens": ("shared_prefix_tokens", "system_prompt_tokens", "prefix_tokens"),
    "max_batched_tokens": ("max_batched_tokens", "max_num_batched_tokens"),
    "max_seqs": ("max_num_seqs", "max_seqs"),
    "kv_blocks": ("num_gpu_blocks", "kv_blocks", "total_kv_blocks"),
    "memory_gb": ("memory_gb", "gpu_memory_gb", "hbm_gb", "device_memory_gb"),
    "m": ("m", "num_tokens", "tokens", "n_tokens"),
    "n": ("n",),
    "k": ("k",),
    "heads": ("heads", "num_heads", "n_heads", "num_q_heads", "n_q_head"),
    "kv_heads": ("kv_heads", "num_kv_heads", "n_kv_heads", "n_kv_head"),
    "head_dim": ("head_dim", "head_size"),
    "context_tokens": ("context_tokens", "kv_len", "kv_length", "context_len", "step", "past_len"),
    "elements": ("elements", "message_elements", "size_elements", "num_elements", "message_size"),
    "element_bytes": ("element_bytes", "dtype_bytes", "bytes_per_element"),
    "sigma": ("sigma", "relative_sd"),
    "weight": ("row_weight",),
}  # fmt: skip

# Phrases that name a measured quantity, longest first; what remains of a heading after it may
# only be a statistic, a unit and a few words that change nothing.
QUANTITIES: tuple[tuple[str, str], ...] = (
    ("time_to_first_token", "ttft"), ("first_token_latency", "ttft"), ("prefill_time", "ttft"),
    ("prefill_latency", "ttft"), ("prompt_time", "ttft"), ("ttft", "ttft"),
    ("tpot_derived", "tpot derived"), ("derived_tpot", "tpot derived"),
    ("inter_token_latency", "itl"), ("itl", "itl"),
    ("time_per_output_token", "tpot"), ("decode_step", "tpot"), ("decode_time", "tpot"),
    ("token_time", "tpot"), ("step_time", "tpot"), ("tpot", "tpot"),
    ("end_to_end_latency", "e2e"), ("end_to_end", "e2e"), ("e2e_latency", "e2e"),
    ("e2e_time", "e2e"), ("e2el", "e2e"), ("e2e", "e2e"), ("request_latency", "e2e"),
    ("total_time", "e2e"), ("total_latency", "e2e"), ("kernel_time", "e2e"), ("latency", "e2e"),
    ("output_throughput", "output_rate"), ("output_tokens_per_s", "output_rate"),
    ("output_tok_s", "output_rate"), ("total_throughput", "total_rate"),
    ("total_tokens_per_s", "total_rate"), ("tokens_per_s_per_accelerator", "device_rate"),
    ("tok_s_per_accelerator", "device_rate"),
    ("measured_time", "e2e"), ("duration_time", "e2e"), ("time", "e2e"),
)  # fmt: skip
STATISTICS = {
    "mean": "mean", "avg": "mean", "average": "mean", "median": "p50", "p50": "p50", "p75": "p75",
    "p90": "p90", "p95": "p95", "p99": "p99",
}  # fmt: skip
SPREADS = {"std", "sd", "stdev", "cv", "min", "max", "se", "var", "predicted", "pred", "error"}
UNITS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
RATE_UNITS = {"tok", "tokens", "per", "s", "sec", "tps"}
DURATIONS = {"ttft", "tpot", "tpot derived", "itl", "e2e"}
PLAIN_WORDS = {"latency", "time", "measured", "observed", "request"}
# Where several columns give one quantity, the first of these is taken.  Reported TPOT of some
# clients counts stream events, two per token, so a derived one and the ITL come before it.
PREFER = {"tpot": ("tpot derived", "itl", "tpot"), "ttft": ("ttft",), "e2e": ("e2e",)}
FLAGS = ("flag", "exclude", "suspect", "synthetic", "impossible", "invalid")


@dataclass(frozen=True)
class Kind:
    """A kind of row: what it must have, and at least one of the measured quantities."""

    name: str
    title: str
    files: tuple[str, ...]
    required: tuple[str, ...]
    measured: tuple[str, ...]


KINDS: tuple[Kind, ...] = (
    Kind(
        "stages", "serving, open loop", ("serving_vllm_stages*", "serving_*stages*"),
        ("hardware", "model", "rate"), ("ttft", "tpot", "e2e"),
    ),
    Kind(
        "closed", "serving, closed loop", ("inferencex*", "inferencemax*"),
        ("hardware", "model", "concurrency", "input_tokens", "output_tokens"), ("ttft", "tpot"),
    ),
    Kind(
        "static", "static batch", ("llm_inference_bench*", "splitwise*"),
        ("hardware", "model", "batch", "input_tokens", "output_tokens"),
        ("e2e", "ttft", "tpot", "output_rate", "total_rate"),
    ),
    Kind("gemm", "kernel, product", ("kernel_gemm*",), ("hardware", "m", "n", "k"), ("e2e",)),
    Kind(
        "collective", "kernel, collective", ("kernel_collectives*",),
        ("hardware", "collective", "elements", "devices"), ("e2e",),
    ),
    Kind(
        "attention", "kernel, attention", ("kernel_attention*",),
        ("hardware", "batch", "heads", "kv_heads", "head_dim"), ("e2e",),
    ),
    Kind(
        "offline", "offline throughput", ("mlperf_inference*",),
        ("hardware", "model", "devices"), ("device_rate", "output_rate"),
    ),
    Kind(
        "requests", "serving, single requests", ("serving_vllm_requests*",),
        ("run", "input_tokens", "output_tokens"), ("ttft", "e2e"),
    ),
)  # fmt: skip

# Files of the data folder that no lane of this version reads, and why.
UNREAD: Mapping[str, str] = {
    "baseline_*": "predictions of other simulators, not measurements",
    "mlperf_training*": "training rows; no lane reads them yet",
    "training_*": "training rows; no lane reads them yet",
    "published_accelerator_speeds*": "vendor claims with hidden batch and parallelism",
    "kernel_moe*": "fused expert kernels; no lane reads them yet",
    "kernel_vidur_linear_ops*": "per-operator rows without product sizes; no lane reads them yet",
    "*trace*": "a workload trace, not measurements",
}

# What files leave unsaid, as far as notes on them tell.  Values that a row gives itself win.
FILE_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    # The A100 of LLM-Inference-Bench is the 40 GB part, and its runs are of 2024.
    "llm_inference_bench*": {"machine:a100": "a100-40gb", "version": "0.6"},
    "splitwise*": {"version": "0.2", "engine": "vllm"},
    "serving_vllm*": {"engine": "vllm"},
    # Its client draws lengths uniformly between 0.8 of the nominal ones and the nominal ones
    # (RANDOM_RANGE_RATIO in the README of InferenceMAX).
    "inference[mx]*": {"lengths": "uniform:0.8"},
}


def heading(text: str) -> str:
    """A heading as it is compared.

    >>> heading(" Batch Size ")
    'batch_size'
    """
    return re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")


def quantity(name: str) -> tuple[str, str, float] | None:
    """(quantity, statistic, factor to SI) a heading stands for, or None.

    >>> quantity("mean_ttft_ms")
    ('ttft', 'mean', 0.001)
    >>> quantity("tpot_derived_mean_s")
    ('tpot derived', 'mean', 1.0)
    """
    for phrase, found in QUANTITIES:
        match = re.search(rf"(^|_){phrase}(_|$)", name)
        if match is None:
            continue
        rest = [w for w in (name[: match.start()] + "_" + name[match.end() :]).split("_") if w]
        return _statistic(found, rest)
    return None


def _statistic(found: str, words: list[str]) -> tuple[str, str, float] | None:
    statistic, factor = "mean", None
    for word in words:
        if word in STATISTICS:
            statistic = STATISTICS[word]
        elif found in DURATIONS and word in UNITS:
            factor = UNITS[word]
        elif (found not in DURATIONS and word in RATE_UNITS) or word in PLAIN_WORDS:
            continue
        else:
            return None
    if found in DURATIONS and factor is None:
        return None
    return found, statistic, 1.0 if factor is None else factor


def unitless(name: str) -> bool:
    """Whether a heading would name a duration if only it carried a unit."""
    return quantity(name) is None and quantity(name + "_s") is not None


@dataclass(frozen=True)
class Columns:
    """Which heading holds what: text and numbers by name, measured by (quantity, statistic)."""

    text: Mapping[str, str]
    number: Mapping[str, str]
    measured: Mapping[tuple[str, str], tuple[str, float]]
    flags: tuple[str, ...]
    unitless: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset({*self.text, *self.number})

    @property
    def quantities(self) -> frozenset[str]:
        return frozenset(q for q, _ in self.measured)


def columns(headings: Iterable[str]) -> Columns:
    """What the headings of a file hold."""
    by_key = {heading(h): h for h in headings}
    text = {n: by_key[k] for n, aliases in TEXT.items() if (k := _first(aliases, by_key))}
    number = {n: by_key[k] for n, aliases in NUMBER.items() if (k := _first(aliases, by_key))}
    used = {*text.values(), *number.values()}
    found: dict[tuple[str, str], tuple[str, float]] = {}
    for key, original in by_key.items():
        measured = None if original in used else quantity(key)
        if measured is not None:
            found.setdefault((measured[0], measured[1]), (original, measured[2]))
    return Columns(
        text,
        number,
        _preferred(found),
        tuple(o for k, o in by_key.items() if k.startswith(FLAGS) or k.endswith("_flag")),
        tuple(o for k, o in by_key.items() if o not in used and unitless(k)),
    )


def _first(aliases: tuple[str, ...], keys: Mapping[str, str]) -> str:
    return next((a for a in aliases if a in keys), "")


def _preferred(
    found: Mapping[tuple[str, str], tuple[str, float]],
) -> dict[tuple[str, str], tuple[str, float]]:
    chosen = {k: v for k, v in found.items() if k[0] not in ("tpot derived", "itl", "tpot")}
    for statistic in {s for q, s in found if q in PREFER["tpot"]}:
        best = next(q for q in PREFER["tpot"] if (q, statistic) in found)
        chosen["tpot", statistic] = found[best, statistic]
    return chosen


def recognise(file: str, have: Columns) -> Kind | None:
    """The kind of row a file holds, by its name, else by its columns."""
    named = [k for k in KINDS if any(fnmatch(file.lower(), p) for p in k.files)]
    for kind in (*named, *KINDS):
        if not missing(kind, have):
            return kind
    return None


def missing(kind: Kind, have: Columns) -> tuple[str, ...]:
    """What a file lacks to be of a kind."""
    lacking = tuple(n for n in kind.required if n not in have.names)
    if not set(kind.measured) & have.quantities:
        units = {"output_rate": "_tok_s", "total_rate": "_tok_s", "device_rate": "_tok_s"}
        lacking += (" or ".join(q + units.get(q, "_s") for q in kind.measured),)
    return lacking


def unread(file: str) -> str:
    """Why a known file is not read; empty when it should be."""
    return next((why for p, why in UNREAD.items() if fnmatch(file.lower(), p)), "")


def defaults(file: str) -> Mapping[str, str]:
    """What rows of a file mean where they do not say."""
    return next((d for p, d in FILE_DEFAULTS.items() if fnmatch(file.lower(), p)), {})
