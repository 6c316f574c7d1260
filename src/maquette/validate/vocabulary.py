"""What people call the columns of measured rows: aliases, phrases and words, as data.

Headings are compared in lower case with every run of other characters turned into ``_``.  The
first alias of a list that a file has is taken.
"""

from __future__ import annotations

from collections.abc import Mapping

TEXT: Mapping[str, tuple[str, ...]] = {
    "http": ("http", "over_http"),
    "hardware": (
        "hardware", "device", "gpu", "accelerator", "system", "machine", "hw", "gpu_type",
        "gpu_name", "device_name", "device_type", "accelerator_name", "hardware_name", "gpu_model",
        "hw_name", "hw_type", "hardware_type", "accelerator_type", "accelerator_model", "chip",
        "sku", "gpu_sku", "platform", "system_name", "hardware_id", "device_id",
    ),
    "engine": (
        "engine", "framework", "backend", "stack", "runtime", "serving_engine", "engine_name",
        "framework_name", "software", "serving_stack", "inference_engine", "inference_framework",
        "backend_name", "server", "library",
    ),
    "version": (
        "version", "engine_version", "framework_version", "backend_version", "stack_version",
        "vllm_version", "software_version", "database_version", "engine_release",
    ),
    "model": (
        "model", "model_name", "model_id", "llm", "hf_model", "model_path", "network", "hf_id",
        "model_hf", "model_short", "checkpoint", "benchmark", "workload_model", "model_key",
    ),
    "precision": (
        "precision", "dtype", "weight_dtype", "weights_dtype", "quantization", "quantisation",
        "quant", "weight_precision", "gemm_dtype", "data_type", "gemm_quant_mode", "gemm_quant",
        "gemm_precision", "weight_format", "weights", "model_precision", "weight_quant",
        "attn_dtype", "moe_dtype", "nccl_dtype", "allreduce_dtype", "comm_dtype", "datatype",
        "mla_dtype",
    ),
    "moe_precision": ("moe_quant_mode", "moe_quant", "moe_precision", "expert_precision"),
    "kv_precision": (
        "kv_dtype", "kv_cache_dtype", "kv_precision", "kv_cache_precision", "kvcache_quant_mode",
        "kv_cache_quant_mode", "kvcache_dtype", "kv_quant_mode", "kvcache_precision", "kv_quant",
    ),
    "split": ("split", "fold", "subset", "partition", "data_split", "role"),
    "run": ("run", "run_id", "experiment", "experiment_id", "exp_id", "exp", "run_name",
            "experiment_name"),
    "stage": ("stage", "stage_id", "stage_index", "stage_name", "stage_idx", "stage_no"),
    "collective": ("collective", "operation", "op_name", "comm_op", "primitive", "op"),
    "op": ("op", "operator", "kernel", "layer", "kernel_name", "op_name", "operation"),
    "phase": ("phase", "stage_kind", "attention_phase", "attn_phase", "attention_kind", "kind"),
    "cache": ("cache", "cache_state", "l2_state"),
    "causal": ("causal", "is_causal", "causal_mask"),
    "rule": ("rule", "recurrence"),
    "fused": ("fused", "one_kernel"),
    "scenario": ("scenario",),
    "lengths": ("lengths", "length_distribution"),
    "evidence": ("evidence",),
    "disaggregated": ("disagg", "is_disagg", "disaggregated", "is_disaggregated", "serving_mode",
                      "disaggregation", "disagg_mode", "deployment_mode"),
    "speculation": ("spec_decode", "speculative", "spec_decoding", "speculative_decoding", "mtp",
                    "spec_method", "speculation", "spec", "mtp_mode"),
}  # fmt: skip

NUMBER: Mapping[str, tuple[str, ...]] = {
    "batch": (
        "batch", "batch_size", "bs", "num_seqs", "batchsize", "n_seqs", "num_sequences",
        "sequences", "static_batch", "batch_sequences", "static_batch_size", "n_batch",
    ),
    "concurrency": (
        "concurrency", "max_concurrency", "conc", "num_clients", "users", "concurrent_requests",
        "client_concurrency", "concurrent_users", "num_concurrent", "clients",
    ),
    "input_tokens": ("input_tokens", "isl", "prompt_size"),
    "output_tokens": ("output_tokens", "osl", "token_size"),
    "input_sd": ("input_tokens_sd", "input_tokens_std", "input_std", "input_tokens_stdev",
                 "input_len_std", "isl_std", "prompt_tokens_std", "input_sd"),
    "output_sd": ("output_tokens_sd", "output_tokens_std", "output_std", "output_tokens_stdev",
                  "output_len_std", "osl_std", "output_sd"),
    "tp": (
        "tp", "tp_size", "tensor_parallel", "tensor_parallel_size", "tp_degree", "tp_world_size",
        "num_tensor_parallel_workers", "tensor_parallelism", "tensor_parallel_degree",
    ),
    "devices": (
        "devices", "num_devices", "gpus", "num_gpus", "n_gpus", "n_devices", "gpu_count",
        "num_accelerators", "accelerators", "hardware_num", "device_count", "total_gpus",
        "accelerator_count", "world_size", "num_ranks", "num_hw", "n_accelerators", "n_gpu",
        "number_of_devices", "number_of_gpus", "ngpus", "num_gpu", "total_accelerators",
        "accelerators_total", "num_chips", "chips", "ranks", "hardware_count",
    ),
    "pp": ("pp", "pp_size", "pipeline_parallel", "pipeline_parallel_size", "pp_degree"),
    "dp": ("attention_dp", "attention_dp_size", "attn_dp_size", "dp_attention_size",
           "dp_attn_size", "dp", "dp_size", "data_parallel", "data_parallel_size"),
    "ep": ("moe_ep_size", "moe_ep", "ep", "ep_size", "expert_parallel", "expert_parallel_size"),
    "moe_tp": ("moe_tp", "moe_tp_size"),
    "rate": (
        "rate", "qps", "request_rate", "rate_rps", "rps", "req_s", "requests_per_s",
        "arrival_rate", "rate_req_s", "rate_per_s", "request_rate_rps", "requests_per_second",
        "target_rate", "target_qps", "offered_rate", "offered_qps", "rate_qps", "load_rps",
        "req_per_s", "request_rate_per_s", "requests_per_sec", "stage_rate", "rate_hz",
        "request_rate_req_s", "target_rps", "offered_rps", "arrival_rate_rps", "stage_rate_rps",
    ),
    "requests": (
        "requests", "num_requests", "n_requests", "request_count", "num_prompts",
        "completed_requests", "num_completed", "n_completed", "successful_requests", "n_success",
        "requests_completed", "completed", "num_success", "count",
    ),
    "ahead": ("unmeasured_requests", "discarded_requests"),
    "arrival": (
        "arrival_s", "arrival_time_s", "start_s", "start_time_s", "sent_s", "send_time_s",
        "request_start_s", "arrival_time", "start_time",
    ),
    "duration": ("duration_s", "stage_duration_s", "elapsed_s", "duration_seconds",
                 "stage_duration", "duration"),
    "prefix_tokens": (
        "shared_prefix_tokens", "system_prompt_tokens", "prefix_tokens", "prefix_len",
        "prefix_length", "shared_prefix_len", "shared_prefix_length", "system_prompt_len",
        "system_prompt_length", "prefix_len_tokens", "shared_prefix_len_tokens",
    ),
    "prefixes": (
        "system_prompts", "num_system_prompts", "n_system_prompts", "num_prefixes", "n_prefixes",
        "prefix_groups", "num_unique_system_prompts", "distinct_system_prompts", "num_groups",
        "num_prefix_groups", "unique_system_prompts", "n_prefix_groups",
    ),
    "max_batched_tokens": (
        "max_batched_tokens", "max_num_batched_tokens", "max_num_tokens", "token_budget", "mbt",
    ),
    "max_seqs": ("max_num_seqs", "max_seqs", "max_num_sequences", "max_running_requests"),
    "captured": ("captured", "largest_captured", "cuda_graph_max_bs", "cuda_graph_max_batch_size"),
    "kv_blocks": ("num_gpu_blocks", "kv_blocks", "total_kv_blocks", "num_kv_blocks"),
    "memory_utilisation": (
        "gpu_memory_utilization", "gpu_memory_utilisation", "gpu_mem_util", "mem_util",
        "memory_utilization", "memory_utilisation", "gpu_mem_utilization",
    ),
    "memory_gb": ("memory_gb", "gpu_memory_gb", "hbm_gb", "device_memory_gb"),
    "m": ("m", "num_tokens", "tokens", "n_tokens"),
    "n": ("n",),
    "k": ("k",),
    "heads": ("heads", "num_heads", "n_heads", "num_q_heads", "n_q_head", "n_head", "q_heads",
              "num_attention_heads", "num_v_heads", "nheads"),
    "kv_heads": ("kv_heads", "num_kv_heads", "n_kv_heads", "n_kv_head", "num_key_value_heads"),
    "head_dim": ("head_dim", "head_size", "d_head", "head_v_dim"),
    "latent": ("latent", "kv_lora_rank", "latent_dim"),
    "rope_dim": ("rope_dim", "qk_rope_head_dim"),
    "qk_heads": ("qk_heads", "num_k_heads", "h_qk", "n_groups"),
    "state_dim": ("state_dim", "head_k_dim", "d_state", "dstate", "state_size"),
    "chunk": ("chunk", "chunk_size"),
    "state_bytes": ("state_bytes",),
    "context_tokens": ("context_tokens", "kv_len", "kv_length", "context_len", "step", "past_len",
                       "past_kv", "kv_tokens", "past_tokens", "prefix"),
    "hidden": ("hidden", "hidden_size", "n_embd", "embedding_dim", "d_model"),
    "inter": ("inter", "inter_size", "intermediate_size", "n_expanded_embd", "moe_inter_size",
              "ffn_dim", "moe_intermediate_size", "mlp_hidden_dim"),
    "experts": ("experts", "num_experts", "n_experts"),
    "groups": ("groups", "gemm_groups"),
    "topk": ("topk", "top_k", "experts_per_token", "num_experts_per_tok"),
    "elements": ("elements", "message_elements", "size_elements", "num_elements", "message_size",
                 "n_elements", "message_size_elements"),
    "element_bytes": ("element_bytes", "dtype_bytes", "bytes_per_element"),
    "sigma": ("sigma", "relative_sd"),
    "weight": ("row_weight",),
}  # fmt: skip

# A heading that holds one of these words and otherwise only FILLER is a mean length in tokens.
# `in` and `out` together name a column that gives both at once.
INPUT = {"input", "in", "prompt", "isl", "prefill"}
OUTPUT = {"output", "out", "gen", "generated", "generation", "completion", "osl", "new"}
FILLER = {
    "tokens", "token", "len", "length", "lengths", "size", "seq", "sequence", "mean", "avg",
    "average", "n", "num", "per", "request", "req", "nominal", "io",
}  # fmt: skip

# Phrases that name a measured quantity, the longest that fits wins; what remains of a heading
# may only be a statistic, a unit and a few words that change nothing.
QUANTITIES: Mapping[str, str] = {
    "time_to_first_token": "ttft", "first_token_latency": "ttft", "prefill_time": "ttft",
    "first_token_time": "ttft", "prefill_latency": "ttft", "prompt_time": "ttft",
    "prompt_latency": "ttft", "prefill": "ttft", "ttft": "ttft",
    "tpot_derived": "tpot derived", "derived_tpot": "tpot derived",
    "inter_token_latency": "itl", "intertoken_latency": "itl", "inter_token": "itl", "itl": "itl",
    "time_per_output_token": "tpot", "latency_per_output_token": "tpot",
    "latency_per_token": "tpot", "time_per_token": "tpot", "per_token_latency": "tpot",
    "decode_step": "tpot", "decode_step_time": "tpot", "decode_time_per_token": "tpot",
    "decode_time": "tpot", "token_time": "tpot", "step_time": "tpot", "tpot": "tpot",
    "end_to_end_latency": "e2e", "end_to_end": "e2e", "e2e_latency": "e2e", "e2e_time": "e2e",
    "e2el": "e2e", "e2e": "e2e", "request_latency": "e2e", "total_time": "e2e",
    "total_latency": "e2e", "kernel_time": "e2e", "latency": "e2e", "measured_time": "e2e",
    "duration_time": "e2e", "batch_latency": "e2e", "batch_time": "e2e", "time": "e2e",
    "output_throughput": "output_rate", "output_tokens_per_s": "output_rate",
    "output_tok_s": "output_rate", "output_tput": "output_rate", "out_tok_s": "output_rate",
    "decode_throughput": "output_rate", "generation_throughput": "output_rate",
    "output_tokens_per_second": "output_rate", "output_token_throughput": "output_rate",
    "total_throughput": "total_rate", "total_tokens_per_s": "total_rate",
    "total_tok_s": "total_rate", "total_token_throughput": "total_rate",
    "total_tokens_per_second": "total_rate",
    "tokens_per_s_per_accelerator": "device_rate", "tok_s_per_accelerator": "device_rate",
    "tokens_per_s_per_gpu": "device_rate", "tok_s_per_gpu": "device_rate",
    "tok_s_per_device": "device_rate", "tokens_per_s_per_device": "device_rate",
    "tokens_per_second_per_gpu": "device_rate", "throughput_per_gpu": "device_rate",
    "throughput_per_accelerator": "device_rate", "throughput_per_device": "device_rate",
    "tput_per_gpu": "device_rate",
    # Of what, the file's own habit says: see FILE_DEFAULTS.
    "throughput": "rate", "tput": "rate", "tokens_per_s": "rate", "tokens_per_second": "rate",
    "tok_s": "rate", "tokens_s": "rate", "tps": "rate",
}  # fmt: skip
STATISTICS = {
    "mean": "mean", "avg": "mean", "average": "mean", "median": "p50", "med": "p50", "p50": "p50",
    "p75": "p75", "p90": "p90", "p95": "p95", "p99": "p99",
}  # fmt: skip
UNITS = {
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3,
    "millis": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "usec": 1e-6, "microseconds": 1e-6,
    "ns": 1e-9, "nanoseconds": 1e-9,
}  # fmt: skip
RATE_UNITS = {"tok", "tokens", "token", "per", "s", "sec", "second", "tps"}
DURATIONS = {"ttft", "tpot", "tpot derived", "itl", "e2e"}
PLAIN_WORDS = {
    "latency", "time", "measured", "observed", "request", "silicon", "real", "actual", "client",
    "wall", "value", "run", "batch", "total",
}  # fmt: skip
# Where several columns give one quantity, the first of these is taken.  Reported TPOT of some
# clients counts stream events, two per token, so a derived one and the ITL come before it.
TPOT = ("tpot derived", "itl", "tpot")

# Columns that say why a row should not count, by how they begin, or by being one of these.
FLAGS = ("flag", "exclude", "suspect", "synthetic", "impossible", "invalid", "l2_resident",
         "unusable", "discard", "drop_")  # fmt: skip
REASONS = {"reason", "exclusion", "excluded", "issues", "problem", "problems", "anomaly", "outlier"}
TRUST = {"trust", "quality", "confidence", "reliability", "trust_level"}
DISTRUSTED = {"low", "very low", "none", "bad", "poor", "suspect", "unreliable", "exclude"}
KEEP = {"use", "usable", "include", "included", "valid", "keep", "ok", "strict", "is_valid"}
# Reasons that tell of a row without spoiling its latency: memory waves, repeats, prompts that are
# all alike, rates taken from names, anything about power or about the figure a row comes from.
HARMLESS = r"wave|replica|repeat|identical|rate_inferred|inferred_rate|power|watt|figure"

# Files of the data folder that no lane of this version reads, and why.
UNREAD: Mapping[str, str] = {
    "baseline_*": "predictions of other simulators, not measurements",
    "mlperf_training*": "training rows; no lane reads them yet",
    "training_*": "training rows; no lane reads them yet",
    "published_accelerator_speeds*": "vendor claims with hidden batch and parallelism",
    "*trace*": "a workload trace, not measurements",
}

# What files leave unsaid, as far as notes on them tell.  Values that a row gives itself win.
FILE_DEFAULTS: Mapping[str, Mapping[str, str]] = {
    # The A100 of LLM-Inference-Bench is the 40 GB part, its runs are of 2024, and its throughput
    # counts tokens in and out.
    "llm_inference_bench*": {"machine:a100": "a100-40gb", "version": "0.6", "rate": "total_rate"},
    "splitwise*": {"version": "0.2", "engine": "vllm", "model:llama70b": "llama-2-70b"},
    "serving_vllm*": {"engine": "vllm"},
    # Its client draws lengths uniformly between 0.8 of the nominal ones and the nominal ones
    # (RANDOM_RANGE_RATIO in the README of InferenceMAX).
    "inference[mx]*": {"lengths": "uniform:0.8"},
}
