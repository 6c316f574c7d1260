"""Kernel rows made of known fractions give those fractions back."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from maquette.price.calibration import first_principles
from maquette.validate.fit import maximise, prior
from maquette.validate.evidence import observe
from maquette.validate.rows import read

TRUE = {"matrix": 0.55, "rows": 60.0, "memory": 0.7, "attention": 0.4, "kv": 0.55, "link": 0.6}
CAL = replace(first_principles("", ""), values={**first_principles("", "").values, **TRUE})
PEAK, STREAM = 989e12, 3.35e12


def product(m, n, k, nbytes=None):
    """Seconds by hand: an independent way to write the same roofline."""
    compute = 2 * m * n * k / (PEAK * TRUE["matrix"] * m / (m + TRUE["rows"]))
    moved = 2 * (m * n + n * k + m * k) if nbytes is None else nbytes
    return max(compute, moved / (STREAM * TRUE["memory"]))


def table(path, headings, lines):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([headings, *lines])


def fitted(known, folder):
    found = observe(read(folder), known, "h100-sxm", "vllm")
    held = maximise(found, prior(known.machines["h100-sxm"]))
    return {o.what: len(o.measured) for o in found}, CAL.at(held.logs), found


MS = (32, 256, 1024, 4096, 16384)


@pytest.mark.parametrize("unit", ["latency_us", "latency"])
def test_products(known, tmp_path, unit):
    lines = [
        ["h100_sxm", "trtllm" if i % 2 else "vllm", "bfloat16", m, n, k, product(m, n, k) * 1e6]
        for i, (m, n, k) in enumerate((m, n, k) for m in MS for n in (4096, 28672) for k in (8192,))
    ]
    lines.append(["h100_sxm", "vllm", "fp8_block", 16384, 8192, 8192, 1e9])
    table(
        tmp_path / "kernel_gemm.csv",
        ["system", "framework", "gemm_dtype", "m", "n", "k", unit],
        lines,
    )
    count, cal, found = fitted(known, tmp_path)
    long = sum(line[-1] > 50 for line in lines[:-1])  # of any engine, in 16 bits
    assert count == {"products": long} and long < len(lines) - 1
    for o in found:
        assert np.allclose(o.measured, o.predict(CAL), rtol=1e-9)
    assert cal["matrix"] == pytest.approx(TRUE["matrix"], rel=0.08)


def test_linear_layers_have_the_sizes_of_their_model(known, tmp_path):
    lines = []
    for m in MS:
        for tp in (1, 4):
            for op, n, k in (
                ("attn_pre_proj", (64 + 16) * 128 / tp, 8192),
                ("mlp_up_proj", 2 * 28672 / tp, 8192),
                ("mlp_down_proj", 8192, 28672 / tp), ("attn_post_proj", 8192, 8192 / tp),
            ):  # fmt: skip
                lines.append(["h100", "Llama-2-70b-hf", op, m, tp, product(m, n, k) * 1e3, 0.01])
    lines.append(["h100", "Llama-2-70b-hf", "rms_norm", 4096, 1, 1, 0.01])
    heads = ["device", "model", "op", "num_tokens", "tp", "time_mean_ms", "time_std_ms"]
    table(tmp_path / "kernel_vidur_linear_ops.csv", heads, lines)
    count, cal, found = fitted(known, tmp_path)
    assert len(count) == 4
    for o in found:
        assert np.allclose(o.measured, o.predict(CAL), rtol=1e-9), o.what
    assert cal["matrix"] == pytest.approx(TRUE["matrix"], rel=0.05)
    assert cal["memory"] == pytest.approx(TRUE["memory"], rel=0.10)


def test_fused_experts(known, tmp_path):
    lines = []
    for tokens in (1, 16, 128, 1024, 16384):
        hit = 128 * (1 - (1 - 8 / 128) ** tokens)
        weights = 3 * 4096 * 1536
        moved = 2 * (hit * weights + 2 * tokens * 8 * 4096)
        rows = tokens * 8 / hit
        compute = 2 * tokens * 8 * weights / (PEAK * TRUE["matrix"] * rows / (rows + TRUE["rows"]))
        took = max(compute, moved / (STREAM * TRUE["memory"]))
        lines.append(["h100_sxm", "vllm", "float16", tokens, 4096, 1536, 8, 128, 1, 1, took * 1e3])
    heads = ["system", "framework", "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk",
             "num_experts", "moe_tp_size", "moe_ep_size", "latency_ms"]  # fmt: skip
    table(tmp_path / "kernel_moe.csv", heads, lines)
    count, _, (one,) = fitted(known, tmp_path)
    assert count == {"fused experts": 5}
    assert np.allclose(one.measured, one.predict(CAL), rtol=1e-9)


def test_attention_and_collectives(known, tmp_path):
    heads = ["system", "phase", "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
             "attn_dtype", "kv_cache_dtype", "step", "latency_ms"]  # fmt: skip
    pairs = 4 * 8192 * 8193 / 2
    lines = [
        ["h100", "context", 4, 8192, 32, 8, 128, "bf16", "bf16", 0,
         4 * pairs * 32 * 128 / (PEAK * TRUE["attention"]) * 1e3],
        ["h100", "generation", 64, 1, 32, 8, 128, "bf16", "fp8", 8191,
         2 * 64 * 8192 * 8 * 128 / (STREAM * TRUE["kv"]) * 1e3],
    ]  # fmt: skip
    table(tmp_path / "kernel_attention.csv", heads, lines)
    heads = ["device", "op_name", "nccl_dtype", "num_gpus", "message_size", "latency_ms"]
    lines = [
        ["h100", "all_reduce", "half", 8, 2**28, 2.0],
        ["h100", "all_gather", "half", 8, 2**28, 1.0],
    ]
    table(tmp_path / "kernel_collectives.csv", heads, lines)
    count, _, found = fitted(known, tmp_path)
    assert count == {"prefill attention": 1, "decode attention": 1, "all-reduce": 1}
    for o in found[:2]:
        assert np.allclose(o.measured, o.predict(CAL), rtol=1e-9)
