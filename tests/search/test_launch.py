"""Launch commands say what was planned, to each engine in its own words."""

from __future__ import annotations

import itertools
import json
import shlex
from dataclasses import replace

from maquette.catalogue.engines import engine
from maquette.catalogue.machines import system
from maquette.plans.types import Mesh, Plan, Policy, Precision
from maquette.search.launch import launch


def test_launch_commands_say_what_was_planned():
    chosen = Plan(
        precision=Precision("fp8", "fp8", "fp8"),
        mesh=Mesh(tp=4, pp=2),
        policy=Policy(max_seqs=128, max_batched_tokens=4096, prefix_caching=False),
        replicas=3,
    )
    found = launch("org/Model-7B", "bf16", chosen, system("h100x8"))
    words = shlex.split(found["vllm"].replace("\\\n", " "))
    options = dict(itertools.pairwise(words))
    assert words[:3] == ["vllm", "serve", "org/Model-7B"]
    assert options["--tensor-parallel-size"] == "4"
    assert options["--pipeline-parallel-size"] == "2"
    assert options["--max-num-seqs"] == "128"
    assert options["--quantization"] == "fp8"
    assert options["--kv-cache-dtype"] == "fp8"
    assert "--no-enable-prefix-caching" in words
    assert "--disable-radix-cache" in found["sglang"]
    assert "replicas: 3" in found["kubernetes"]
    assert "nvidia.com/gpu: 8" in found["kubernetes"]


def test_launch_commands_say_how_steps_run_and_what_memory_is_shared():
    eager = launch("m", "bf16", Plan(policy=Policy(graphs="none")), system("h100x8"))
    assert "--enforce-eager" in eager["vllm"]
    assert "--disable-cuda-graph" in eager["sglang"]
    assert "cuda_graph_config: null" in eager["tensorrt-llm-options"]
    some = Policy(graphs="decode", captured=64, overlap=True, memory_utilisation=0.8)
    found = launch("m", "bf16", Plan(policy=some), system("h100x8"))
    words = shlex.split(found["vllm"].replace("\\\n", " "))
    config = json.loads(words[words.index("--compilation-config") + 1])
    assert config == {"cudagraph_mode": "FULL_DECODE_ONLY", "max_cudagraph_capture_size": 64}
    assert "--async-scheduling" in words and "--cuda-graph-max-bs 64" in found["sglang"]
    # A share means something else to each engine.
    assert "--gpu-memory-utilization 0.8" in found["vllm"]
    assert "--mem-fraction-static" not in found["sglang"]
    assert "free_gpu_memory_fraction" not in found["tensorrt-llm"]


def test_launch_commands_say_what_is_admitted():
    early = Plan(policy=Policy(admission="chunk", watermark=0.05))
    found = launch("m", "bf16", early, system("h100x8"))
    assert "--no-scheduler-reserve-full-isl" in found["vllm"]
    assert "--watermark 0.05" in found["vllm"]
    mixed = Plan(policy=Policy(admission="output"), engine="sglang")
    found = launch("m", "bf16", mixed, system("h100x8"))
    assert "--enable-mixed-chunk" in found["sglang"]
    assert "reserve-full-isl" not in found["vllm"]


def test_launch_commands_of_tensorrt_llm_bring_their_options():
    """What its command line does not take is in a file that the command names; the planned engine
    comes first."""
    policy = replace(engine("tensorrt-llm").policy, kv_blocks=1000, captured=64)
    plan = Plan(Precision(kv="fp8"), policy=policy, engine="tensorrt-llm")
    found = launch("m", "bf16", plan, system("h100x8"))
    assert list(found)[:2] == ["tensorrt-llm", "tensorrt-llm-options"]
    assert "--extra_llm_api_options launch-tensorrt-llm-options.yaml" in found["tensorrt-llm"]
    assert found["tensorrt-llm-options"].splitlines() == [
        "enable_chunked_prefill: true",
        "disable_overlap_scheduler: false",
        "scheduler_config:",
        "  capacity_scheduler_policy: GUARANTEED_NO_EVICT",
        "kv_cache_config:",
        "  enable_block_reuse: true",
        "  tokens_per_block: 32",
        "  max_tokens: 32000",
        "  dtype: fp8",
        "cuda_graph_config:",
        "  max_batch_size: 64",
    ]
    evicts = plan.but(policy=replace(policy, admission="prompt", overlap=True))
    said = launch("m", "bf16", evicts, system("h100x8"))["tensorrt-llm-options"]
    assert "MAX_UTILIZATION" in said and "disable_overlap_scheduler: false" in said
    # Of a plan for another engine only what both mean alike.
    other = launch("m", "bf16", Plan(), system("h100x8"))["tensorrt-llm-options"]
    assert other.split() == [
        "enable_chunked_prefill:",
        "true",
        "kv_cache_config:",
        "enable_block_reuse:",
        "true",
    ]


def test_launch_commands_say_when_steps_are_formed_and_how_long_prompts_may_be():
    ahead = engine("vllm-0.14").policy
    found = launch("m", "bf16", Plan(policy=ahead, engine="vllm-0.14"), system("h100x8"))
    assert "--async-scheduling" in found["vllm"]
    after = Plan(policy=replace(ahead, overlap=False), engine="vllm-0.14")
    assert "--no-async-scheduling" in launch("m", "bf16", after, system("h100x8"))["vllm"]
    whole = replace(engine("sglang").policy, chunked_prefill=False, max_batched_tokens=20000)
    found = launch("m", "bf16", Plan(policy=whole, engine="sglang"), system("h100x8"))
    assert "--chunked-prefill-size -1" in found["sglang"]
    assert "--max-prefill-tokens 20000" in found["sglang"]


def test_experts_and_attention_groups_in_launch_commands():
    chosen = replace(Plan(), mesh=Mesh(tp=1, dp=8, ep=8))
    found = launch("org/MoE", "fp8", chosen, system("h200x8"))
    assert "--data-parallel-size 8" in found["vllm"]
    assert "--enable-expert-parallel" in found["vllm"]
    assert "--enable-dp-attention" in found["sglang"]
