"""Rows as careful people would write those of public sources: every heading in another style.

Durations are of a calibration we know, so a misread unit, mesh or name shows as an error.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from maquette.validate.cases import resolve
from maquette.validate.durations import unit
from maquette.validate.rows import read
from maquette.validate.serving import serving
from maquette.validate.static import prepare, seconds
from maquette.validate.validation import validate
from validate.synthetic import grid, truth


@pytest.fixture(scope="module")
def certain(known):
    def exact(machine, engine):
        return replace(truth(machine.name, engine), residual=0.03, basis="fitted")

    return replace(known, calibration=exact)


def took(known, machine, engine, model, shapes):
    priced = prepare(grid(known, machine, engine, model, shapes))
    return seconds(priced, truth())


def table(path, headings, lines):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([headings, *lines])


def pooled(found, lane):
    return {q: e for (at, q), e in found.fitted.items() if at == lane} | {
        q: e for (at, q), e in found.pooled.items() if at == lane
    }


SHAPES = [(b, n, n, tp) for b in (1, 16, 32) for n in (128, 512, 1024) for tp in (1, 4)]


@pytest.mark.parametrize("style", ["tidy", "throughput", "jsonl"])
def test_llm_inference_bench(certain, tmp_path, style):
    """One length for prompt and answer; the A100 is the 40 GB part; throughput counts both."""
    of = took(certain, "a100-40gb", "vllm-0.6", "llama-2-7b", SHAPES)
    heads = ["hardware", "num_devices", "framework", "model", "batch_size", "input_output_length",
             "ttft_s", "latency_s", "power_w", "kv_admission_waves", "source_figure", "flags",
             "trust", "split"]  # fmt: skip
    lines = [
        ["A100", tp, "vLLM", "LLaMA-2-7B", b, n, of.ttft[i], of.e2e[i], 300, 1, "Fig_16", "",
         "high", "heldout"]
        for i, (b, n, _, tp) in enumerate(SHAPES)
    ]  # fmt: skip
    if style == "throughput":
        heads[7] = "throughput"
        for line in lines:
            line[7] = line[4] * 2 * line[5] / line[7]
    if style == "jsonl":
        path = tmp_path / "llm_inference_bench.jsonl"
        path.write_text("".join(json.dumps(dict(zip(heads, x, strict=True))) + "\n" for x in lines))
    else:
        table(tmp_path / "llm_inference_bench.csv", heads, lines)
    found = validate(tmp_path, certain)
    assert found.priced["static"] == len(SHAPES)
    assert {g.key.engine for g in found.groups} == {"vllm-0.6"}
    for errors in pooled(found, "static").values():
        assert errors.ape_p90 < 1e-6


@pytest.mark.parametrize("unit", [1e3, 1.0])
def test_splitwise_without_units(certain, tmp_path, unit):
    of = took(
        certain, "a100-80gb", "vllm-0.2", "llama-2-70b", [(b, n, 64, 8) for b, n, _, _ in SHAPES]
    )
    heads = ["model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size",
             "peak_power", "prompt_time", "token_time", "e2e_time", "split"]  # fmt: skip
    lines = [
        ["llama-70b", "a100-80gb", 8, n, b, 64, 1, of.ttft[i] * unit, of.tpot[i] * unit,
         of.e2e[i] * unit, "heldout"]
        for i, (b, n, _, _) in enumerate(SHAPES)
    ]  # fmt: skip
    table(tmp_path / "splitwise_perf_model.csv", heads, lines)
    found = validate(tmp_path, certain)
    assert {g.key.engine for g in found.groups} == {"vllm-0.2"}
    assert len(found.notes) == 3 and all("speed of light" in n.why for n in found.notes)
    for errors in pooled(found, "static").values():
        assert errors.ape_p90 < 1e-6


def test_inferencex(certain, tmp_path):
    """Clients one by one are batches of one; quantisation by role; what is unlike is refused."""
    of = took(certain, "h200", "vllm", "llama-3.1-8b", [(1, 512, 64, 2)])
    heads = ["system", "backend", "version", "model", "isl", "osl", "concurrency", "tp_size",
             "pp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size", "gemm_quant_mode",
             "kvcache_quant_mode", "moe_quant_mode", "is_disagg", "num_prefill_workers",
             "ttft_ms", "tpot_ms"]  # fmt: skip
    plain = ["h200_sxm", "vllm", "0.14.0", "meta-llama/Meta-Llama-3.1-8B-Instruct", 512, 64, 1, 2,
             1, 1, 2, 1, "bfloat16", "bfloat16", "bfloat16", "False", "",
             (of.ttft[0] + truth()["request"]) * 1e3, of.tpot[0] * 1e3]  # fmt: skip
    moe = [*plain]
    moe[3], moe[7:15] = "Qwen/Qwen3-235B-A22B-FP8", [8, 1, 1, 1, 8, "fp8_block", "fp8", "fp8_block"]
    apart = [*plain]
    apart[15] = "True"
    table(tmp_path / "inferencex_silicon_sample.csv", heads, [plain, moe, apart])
    found = validate(tmp_path, certain)
    assert found.priced["closed"] == 2
    assert found.unpriced["closed"] == {"prefill and decode apart: no lane simulates it yet": 1}
    dense = [g for g in found.groups if g.key.family == "llama-3.1" or "llama" in g.key.family]
    # Its lengths are drawn below the nominal ones.
    assert all(g.errors.ape_p50 < 0.12 for g in dense) and dense


def test_stages_with_engine_settings_and_prefixes(certain, tmp_path):
    heads = ["experiment", "stage", "model", "hw", "tp", "dp", "rate_rps", "num_requests",
             "input_tokens_mean", "output_tokens_mean", "shared_prefix_len",
             "gpu_memory_utilization", "max_num_batched_tokens", "precision", "ttft_mean",
             "itl_mean_s", "e2e_mean_s"]  # fmt: skip
    line = ["a", 0, "Llama-3.1-8B-Instruct", "H100", 1, 1, 2.0, 60, 2000, 50, 0, 0.9, 2048, "bf16",
            0.05, 0.008, 0.45]  # fmt: skip
    shared = [*line]
    shared[1], shared[10] = 1, 1900
    table(tmp_path / "serving_vllm_stages_sim2real.csv", heads, [line, shared])
    cases = resolve(read(tmp_path).tables[0], certain)
    ((subject, rows),) = cases.groups()
    cal = certain.calibration(certain.machines["h100-sxm"], "vllm")
    held = dict(serving(cases, subject, rows, certain, cal))
    assert held["e2e"].predicted[1] < held["e2e"].predicted[0]  # cached prefixes are not computed


@pytest.mark.parametrize(
    ("flag", "counts", "noted"),
    [
        ({"flags": "kv_admission_waves; replicate"}, True, True),
        ({"flag_identical_prompts": "1"}, True, True),
        ({"trust": "medium"}, True, False),
        ({"exclude": "0"}, True, False),
        ({"flags": "early_eos; replicate"}, False, True),
        ({"trust": "low"}, False, False),
        ({"exclude_reason": "too fast"}, False, False),
        ({"include": "no"}, False, False),
        ({"l2_resident": "True"}, False, False),
    ],
)
def test_flags(tmp_path, flag, counts, noted):
    heads = ["hardware", "model", "batch", "isl", "osl", "latency_s", *flag]
    table(tmp_path / "x.csv", heads, [["H100", "llama-2-7b", 1, 9, 9, 1, *flag.values()]])
    (held,) = read(tmp_path).tables
    assert ((held.flags[0] == ""), bool(held.notes)) == (counts, noted)


@pytest.mark.parametrize(
    "headings",
    [
        "GPU Type,Num GPUs,Inference Engine,Model Name,Batch Size,Input Len,Output Len,Latency (s)",
        "hw,n_gpus,software,llm,bs,isl,osl,e2e_ms",
        "device,world_size,stack,model_id,num_sequences,prompt_tokens,generated_tokens,total_time_us",
        "accelerator,devices,backend,checkpoint,n_seqs,mean_prompt_len,mean_output_len,latency_s",
        "sku,chips,library,hf_id,sequences,in_len,out_len,wall_time",
    ],
)
def test_headings_in_many_styles(tmp_path, headings):
    (tmp_path / "x.csv").write_text(headings + "\nH100,2,vLLM,llama-2-7b,4,100,10,2\n")
    (held,) = read(tmp_path).tables
    assert held.kind.name == "static"
    assert {"hardware", "devices", "engine", "model", "batch", "input_tokens", "output_tokens"} <= {
        *held.text, *held.number
    }  # fmt: skip
    assert ("e2e", "mean") in {*held.measured, *held.unitless}


def test_physics_settles_a_unit_or_says_it_does_not():
    light = np.full(9, 0.01)
    for name, factor in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        for slow in (1.0, 3.0, 100.0, 600.0):
            told = unit(light * slow / factor, light)
            assert told is not None and told[0] == name
    assert unit(light[:2], light[:2]) is None
    assert unit(light * 1e-4, light) is None  # faster than light in any unit
