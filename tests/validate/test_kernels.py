"""Kernel rows: read in all their spellings, priced by the surfaces of steps, fitted back."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from maquette.price.calibration import first_principles
from maquette.price.network import collective, exchange
from maquette.price.scans import DELTA, LINEAR, Shape, chunked, recurrent
from maquette.price.surfaces import joined
from maquette.price.surfaces import product as surface
from maquette.validate.evidence import SCATTER, measured, observe
from maquette.validate.fit import maximise, prior
from maquette.validate.rows import read

TRUE = {"matrix": 0.55, "rows": 60.0, "memory": 0.7, "attention": 0.6, "kv": 0.55, "link": 0.6,
        "draw": 3e-5, "keys": 300.0, "launch": 4e-6}  # fmt: skip
CAL = replace(first_principles("", ""), values={**first_principles("", "").values, **TRUE})
PEAK, STREAM = 989e12, 3.35e12


def product(known, m, n, k, groups=None, moved=None):
    """Seconds with a cache that was cleared."""
    weights = n * k * (groups or 1.0)
    nbytes = 2.0 * (weights + (m * (n + k) if moved is None else moved))
    pair = surface(known.machines["h100-sxm"], CAL, PEAK, m, n, k, nbytes, groups)
    return float(pair.longest) + TRUE["launch"]


def table(path, headings, lines):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([headings, *lines])


def fitted(known, folder, version=""):
    found = observe(read(folder), known, "h100-sxm", "vllm", version)
    held = maximise(found, prior(known.machines["h100-sxm"]))
    return {o.what: len(o.measured) for o in found}, CAL.at(held.logs), found


MS = (32, 256, 1000, 4096, 16384)


@pytest.mark.parametrize("unit", ["latency_us", "latency"])
def test_products(known, tmp_path, unit):
    shapes = [(m, n, k) for m in MS for n in (1280, 4096, 28672) for k in (1024, 8192)]
    lines = [
        ["h100_sxm", "trtllm" if i % 2 else "vllm", "bfloat16", *shape, "flushed",
         product(known, *shape) * 1e6]
        for i, shape in enumerate(shapes)
    ]  # fmt: skip
    lines.append(["h100_sxm", "vllm", "fp8_block", 16384, 8192, 8192, "flushed", 1e9])
    table(
        tmp_path / "kernel_gemm.csv",
        ["system", "framework", "gemm_dtype", "m", "n", "k", "cache", unit],
        lines,
    )
    count, cal, found = fitted(known, tmp_path)
    long = sum(line[-1] > 20 for line in lines[:-1])  # of any engine, in 16 bits
    assert count == {"products": long} and long < len(lines) - 1
    for o in found:
        assert np.allclose(o.measured, o.predict(CAL), rtol=1e-9)
    assert cal["matrix"] == pytest.approx(TRUE["matrix"], rel=0.05)


def test_linear_layers_have_the_sizes_of_their_model(known, tmp_path):
    lines = []
    for m in MS:
        for tp in (1, 4):
            for op, n, k in (
                ("attn_pre_proj", (64 + 16) * 128 / tp, 8192),
                ("mlp_up_proj", 2 * 28672 / tp, 8192),
                ("mlp_down_proj", 8192, 28672 / tp), ("attn_post_proj", 8192, 8192 / tp),
            ):  # fmt: skip
                took = product(known, m, n, k) * 1e3
                lines.append(["h100", "Llama-2-70b-hf", op, m, tp, "cold", took, 0.01])
    lines.append(["h100", "Llama-2-70b-hf", "rms_norm", 4096, 1, "cold", 1, 0.01])
    heads = ["device", "model", "op", "num_tokens", "tp", "cache", "time_mean_ms", "time_std_ms"]
    table(tmp_path / "kernel_vidur_linear_ops.csv", heads, lines)
    count, cal, found = fitted(known, tmp_path)
    assert len(count) == 4
    for o in found:
        assert np.allclose(o.measured, o.predict(CAL), rtol=1e-9), o.what
    assert cal["matrix"] == pytest.approx(TRUE["matrix"], rel=0.05)
    assert cal["memory"] == pytest.approx(TRUE["memory"], rel=0.05)


def test_fused_experts(known, tmp_path):
    lines = []
    for tokens in (1, 16, 128, 1024, 16384):
        hit = 128 * (1 - (1 - 8 / 128) ** tokens)
        chosen = tokens * 8
        up = product(known, chosen / hit, 3072, 4096, hit, chosen * (4096 + 3072))
        down = product(known, chosen / hit, 4096, 1536, hit, chosen * (1536 + 4096))
        gate = 2.0 * (chosen * (3 * 1536 + 4096) + tokens * 4096) / (STREAM * TRUE["memory"])
        took = up + down + gate + 3 * TRUE["launch"]
        lines.append(["h100_sxm", "vllm", "float16", tokens, 4096, 1536, 8, 128, 1, 1, took * 1e3])
    heads = ["system", "framework", "moe_dtype", "num_tokens", "hidden_size", "inter_size", "topk",
             "num_experts", "moe_tp_size", "moe_ep_size", "latency_ms"]  # fmt: skip
    table(tmp_path / "kernel_moe.csv", heads, lines)
    count, _, (one,) = fitted(known, tmp_path)
    assert count == {"fused experts": 5}
    assert np.allclose(
        one.measured, one.predict(CAL), rtol=0.02
    )  # one expert's weights fit a cache


def test_attention_and_collectives(known, tmp_path):
    heads = ["system", "phase", "batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim",
             "attn_dtype", "kv_cache_dtype", "step", "latency_ms"]  # fmt: skip
    pairs = 4 * 8192 * 8193 / 2 + TRUE["keys"] * 4 * 8192
    softmax = 1 / (67e12 / 8 * CAL["vector"])  # of the stated arithmetic, an exponential
    prefill = 32 * pairs * (4 * 128 / (PEAK * TRUE["attention"]) + softmax)
    stream = 2 * 64 * 8192 * 8 * 128 / (STREAM * TRUE["kv"])
    beside = 2 * TRUE["launch"] + 0.125 * TRUE["draw"]
    lines = [
        ["h100", "context", 4, 8192, 32, 8, 128, "bf16", "bf16", 0, (prefill + beside) * 1e3],
        ["h100", "generation", 64, 1, 32, 8, 128, "bf16", "fp8", 8191, (stream + beside) * 1e3],
    ]
    table(tmp_path / "kernel_attention.csv", heads, lines)
    heads = ["device", "op_name", "nccl_dtype", "num_gpus", "message_size", "latency_ms"]
    lines = [["h100", f"all_{what}", "half", 8, 2**28, x] for what, x in
             (("reduce", 2.0), ("gather", 1.0), ("to_all", 1.0))]  # fmt: skip
    table(tmp_path / "kernel_collectives.csv", heads, lines)
    count, _, found = fitted(known, tmp_path)
    assert count == {
        "prefill attention": 1, "decode attention": 1, "all-reduce": 1, "all-gather": 1,
        "all-to-all": 1,
    }  # fmt: skip
    for o in found[:2]:
        assert np.allclose(o.measured, o.predict(CAL), rtol=1e-9)
    chip = known.machines["h100-sxm"]
    for o in found[2:]:
        took = collective(chip, o.what, 2.0**29, 8, TRUE["link"], CAL["collective"])
        assert float(o.predict(CAL)[0]) == pytest.approx(float(took))


def test_rows_of_another_version_count_less(known, tmp_path):
    heads = ["system", "framework", "version", "phase", "batch_size", "isl", "num_heads",
             "num_key_value_heads", "head_dim", "attn_dtype", "latency_ms"]  # fmt: skip
    lines = [["h100", "vllm", v, "context", 4, 8192, 32, 8, 128, "bf16", 5.0]
             for v in ("0.15", "0.24", "")]  # fmt: skip
    table(tmp_path / "kernel_attention.csv", heads, lines)
    _, _, (one,) = fitted(known, tmp_path, "0.24")
    shape, version = SCATTER["attention"]
    assert one.sigma == pytest.approx([np.hypot(shape, version), shape, shape])


def one_sort(known, folder, what):
    found = [m for m in measured(read(folder), known, "h100-sxm", least=0.0) if m.sort.what == what]
    assert len(found) == 1 and int(found[0].rows.sum()) == 1, what
    return found[0].sort.predict(CAL)[found[0].rows][0], found[0]


def test_latent_attention_reads_one_cache_for_all_heads(known, tmp_path):
    """Decoding over latents, 16 heads of a device; prompts over what the latents expand to."""
    heads = ["system", "phase", "batch_size", "isl", "num_heads", "kv_lora_rank",
             "qk_rope_head_dim", "mla_dtype", "kv_cache_dtype", "step", "latency_ms"]  # fmt: skip
    lines = [
        ["h100", "generation", 64, 1, 16, 512, 64, "bfloat16", "bfloat16", 16383, 1.0],
        ["h100", "context", 2, 8192, 16, 512, 64, "bfloat16", "bfloat16", 0, 1.0],
    ]
    table(tmp_path / "kernel_mla.csv", heads, lines)
    took, found = one_sort(known, tmp_path, "latent decode")
    chip = known.machines["h100-sxm"]
    moved = 2.0 * 64 * (16384 * 576 + 16 * 1088)
    beside = joined(chip, CAL, 64.0, 16.0, 512.0) + 0.125 * TRUE["draw"] + 2 * TRUE["launch"]
    assert took == pytest.approx(moved / (STREAM * TRUE["kv"]) + float(beside))
    assert found.sort.bytes[0] == pytest.approx(moved / STREAM)
    took, found = one_sort(known, tmp_path, "latent prefill")
    pairs = 2 * 8192 * 8193 / 2 + TRUE["keys"] * 2 * 8192
    softmax = 1 / (67e12 / 8 * CAL["vector"])
    each = 2 * (192 + 128) / (PEAK * TRUE["attention"]) + softmax
    beside = 2 * TRUE["launch"] + 0.125 * TRUE["draw"]
    assert took == pytest.approx(16 * pairs * each + beside)


def test_scans_by_rule_and_by_phase(known, tmp_path):
    heads = ["system", "rule", "phase", "fused", "batch", "input_tokens", "num_k_heads",
             "num_v_heads", "head_k_dim", "head_v_dim", "chunk", "latency_ms"]  # fmt: skip
    lines = [
        ["h100", "gated delta", "context", "", 4, 8192, 16, 64, 128, 128, 64, 1.0],
        ["h100", "gated delta", "context", "yes", 4, 8192, 16, 64, 128, 128, 64, 1.0],
        ["h100", "ssd", "context", "", 4, 8192, 8, 128, 128, 64, 256, 1.0],
        ["h100", "gated delta", "generation", "", 512, 1, 16, 32, 128, 128, 64, 1.0],
    ]
    table(tmp_path / "kernel_scan.csv", heads, lines)
    chip = known.machines["h100-sxm"]
    for what, launches, shape, fused, asked in (
        ("gated delta scan", 6, Shape(64, 128, 128, 64, DELTA), False, 16),
        ("gated delta scan, one kernel", 1, Shape(64, 128, 128, 64, DELTA), True, 16),
        ("ssd scan", 6, Shape(128, 128, 64, 256, LINEAR), False, 8),
    ):
        moved = 2.0 * 32768 * 2 * (asked * shape.keys + shape.heads * shape.values)
        pair = chunked(chip, CAL, PEAK, shape, 32768.0, moved, 8192.0, fused)
        took, _ = one_sort(known, tmp_path, what)
        assert took == pytest.approx(float(pair.longest) + launches * TRUE["launch"]), what
    took, _ = one_sort(known, tmp_path, "gated delta decode")
    total = 2.0 * 2 * 512 * 32 * 128**2 + 2.0 * 512 * 2 * (16 + 32) * 128
    assert took == pytest.approx(float(recurrent(chip, CAL, total)) + TRUE["launch"])
    assert not observe(read(tmp_path), known, "h100-sxm", "vllm")  # their constants are not fitted


def test_exchanges_of_both_modes(known, tmp_path):
    heads = ["system", "op_name", "moe_ep_size", "ranks", "num_tokens", "hidden_size", "topk",
             "num_experts", "precision", "latency_us"]  # fmt: skip
    lines = [
        ["h100", "low_latency_dispatch", 16, 16, 128, 7168, 8, 256, "fp8", 100.0],
        ["h100", "combine", 16, 16, 4096, 7168, 8, 256, "bf16", 100.0],
    ]
    table(tmp_path / "kernel_exchange.csv", heads, lines)
    chip = known.machines["h100-sxm"]
    for what, size, direct in (
        ("dispatch", 128 * 8 * 7168 * (1 + 4 / 128), True), ("combine", 4096 * 8 * 14336, False),
    ):  # fmt: skip
        took, _ = one_sort(known, tmp_path, what)
        whole = exchange(chip, size, 16, 8, TRUE["link"], CAL["collective"], direct)
        assert took == pytest.approx(float(whole))
