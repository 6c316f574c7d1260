"""Kernel tables of a package laid out as aiconfigurator-core's are; made here, none of theirs."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from maquette.cli.main import main
from maquette.errors import InputError
from maquette.validate import packaged
from maquette.validate.calibrate import calibrate
from maquette.validate.evidence import measured
from maquette.validate.rows import Reading
from validate.synthetic import rows, write

COMMON = {"version": "x", "device": "NVIDIA H100 80GB HBM3", "op_name": "op", "kernel_source": "s"}


def table(path, columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    n = len(columns["latency"])
    framework = {"framework": path.parts[-3].upper()}
    held = {**{k: [v] * n for k, v in (framework | COMMON).items()}, **columns}
    pq.write_table(pa.table(held), path)


def gemm(m, took):
    return {"gemm_dtype": ["bfloat16"] * len(m), "m": m, "n": [8192] * len(m),
            "k": [8192] * len(m), "latency": took}  # fmt: skip


def attention(step, took, window=0):
    n = len(took)
    return {
        "batch_size": [8] * n, "isl": [1] * n, "num_heads": [32] * n,
        "num_key_value_heads": [8] * n, "head_dim": [128] * n, "beam_width": [1] * n,
        "attn_dtype": ["bfloat16"] * n, "kv_cache_dtype": ["bfloat16"] * n, "step": step,
        "window_size": [window] * n, "latency": took,
    }  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A package of that name on the path, with a few tables."""
    home = tmp_path / "packages" / packaged.PACKAGE
    data = home / "systems" / "data"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("")
    flops = 2 * 8192 * 8192
    ms = [2048, 4096, 8192, 16384]
    for version, rate in (("0.9.0", 400e12), ("0.24.0", 500e12), ("0.24.0rc1", 450e12)):
        took = [m * flops / rate * 1e3 for m in ms]
        table(data / "h100_sxm" / "gemm" / "vllm" / version / "gemm_perf.parquet", gemm(ms, took))
    attn = data / "h100_sxm" / "attention"
    table(attn / "vllm" / "0.24.0" / "generation_attention_perf.parquet",
          attention([16383, 32767], [0.3, 0.6]))  # fmt: skip
    table(attn / "trtllm" / "1.3" / "generation_attention_perf.parquet",
          attention([16383], [9.0]))  # fmt: skip
    nccl = {"nccl_dtype": ["half"], "num_gpus": [8], "message_size": [2**28], "latency": [2.0]}
    table(data / "h100_sxm" / "comm" / "nccl" / "2.27.3" / "nccl_perf.parquet",
          nccl | {"op_name": ["all_reduce"]})  # fmt: skip
    table(data / "l40s" / "gemm" / "vllm" / "0.24.0" / "gemm_perf.parquet", gemm([4096], [9.0]))
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    return data


def held(root, known, engine="vllm", version=""):
    found = packaged.tables(root, known, "h100-sxm", engine, version)
    reading = Reading(str(root), tuple(found), ())
    return {m.sort.what: m for m in measured(reading, known, "h100-sxm", engine)}


def test_tables_of_the_machine_and_its_engine_at_the_newest_version(known, root):
    found = held(root, known)
    assert set(found) == {"products", "decode attention", "all-reduce"}
    assert found["products"].seconds[0] == pytest.approx(2048 * 2 * 8192**2 / 500e12)
    assert found["decode attention"].seconds.tolist() == [0.3e-3, 0.6e-3]
    assert found["all-reduce"].sort.bytes[0] == pytest.approx(2 * 7 / 8 * 2**29 / 450e9)
    older = held(root, known, version="0.9.0")["products"]
    assert older.seconds[0] == pytest.approx(2048 * 2 * 8192**2 / 400e12)
    other = held(root, known, engine="tensorrt-llm")["decode attention"]
    assert other.seconds == pytest.approx([9e-3])


def test_attention_to_a_window_is_another_kernel(known, root):
    path = root / "h100_sxm" / "attention" / "vllm" / "0.24.0" / "generation_attention_perf.parquet"
    table(path, attention([16383], [0.3], window=4096))
    assert "decode attention" not in held(root, known)


def test_a_fit_follows_the_tables(known, root, tmp_path):
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows" / "x.csv", rows(known)[:40])
    table(root / "h100_sxm" / "gemm" / "vllm-0.6" / "0.6.1" / "gemm_perf.parquet",
          gemm([8192, 16384] * 10, [8192 * 2 * 8192**2 / 250e12 * 1e3,
                                    16384 * 2 * 8192**2 / 250e12 * 1e3] * 10))  # fmt: skip
    alone, beside = (calibrate(tmp_path / "rows", known, measured=x).fits[0].calibration
                     for x in (None, root))  # fmt: skip
    assert beside["matrix"] < alone["matrix"]
    assert "kernel timings" in beside.source and "kernel timings" not in alone.source


def test_without_the_package_one_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(packaged, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(InputError, match=r"pip install 'maquette\[measured\]'"):
        packaged.folder()
    asked = ["calibrate", "--rows", str(tmp_path), "--measured", "--out", str(tmp_path / "x.toml")]
    found = CliRunner().invoke(main, asked)
    assert found.exit_code == 2 and "aiconfigurator-core is not installed" in found.stderr
    idle = ["calibrate", "--machine", "this", "--measured", "--out", str(tmp_path / "x.toml")]
    assert "has no meaning with --machine" in CliRunner().invoke(main, idle).stderr


def test_the_folder_of_an_installed_package(root):
    assert packaged.folder() == root
    assert packaged.release() == "aiconfigurator-core"


def test_versions_are_ordered_by_their_numbers():
    versions = ["0.24.0", "0.9.0", "1.3.0", "1.3.0rc20", "0.14.0"]
    ordered = ["0.9.0", "0.14.0", "0.24.0", "1.3.0rc20", "1.3.0"]
    assert sorted(versions, key=packaged._parts) == ordered


def test_latents_and_scans_are_read_and_convolutions_are_not(known, root):
    attn = root / "h100_sxm" / "attention" / "vllm" / "0.24.0"
    shape = {"mla_dtype": ["bfloat16"], "kv_cache_dtype": ["bfloat16"], "num_heads": [16],
             "batch_size": [64], "tp_size": [8]}  # fmt: skip
    table(
        attn / "generation_mla_perf.parquet", shape | {"isl": [1], "step": [4095], "latency": [0.1]}
    )
    table(attn / "context_mla_perf.parquet", shape | {"isl": [4096], "step": [0], "latency": [9.0]})
    heads = {"batch_size": 512, "seq_len": 1, "num_tokens": 512, "num_k_heads": 16,
             "head_k_dim": 128, "num_v_heads": 32, "head_v_dim": 128}  # fmt: skip
    gdn = {k: [v, v] for k, v in heads.items()} | {"latency": [0.2, 9.0]}
    gdn["phase"] = ["generation"] * 2
    path = root / "h100_sxm" / "scan" / "vllm" / "0.24.0" / "gdn_perf.parquet"
    kernels = {"kernel_source": ["fused_recurrent_gated_delta_rule", "causal_conv1d_update"]}
    table(path, gdn | kernels)
    found = held(root, known)
    assert found["latent decode"].seconds[0] == pytest.approx(1e-4)
    assert found["latent decode"].sort.bytes[0] == pytest.approx(
        2 * 64 * (4096 * 576 + 16 * 1088) / 3.35e12
    )
    assert found["latent prefill"].seconds[0] == pytest.approx(9e-3)
    scan = found["gated delta decode"]
    assert scan.rows.tolist() == [True, False] and scan.seconds[0] == pytest.approx(2e-4)


SHAPES = {"qkv": (6144, 4096), "o_proj": (4096, 4096), "up": (28672, 4096), "down": (4096, 14336)}
QUICK = 20e-6  # of each product of sixty-four rows, made up


@pytest.fixture
def measured_layers(root):
    """The products of a layer of Llama 3.1 8B for 64 tokens, and all-reduces of 64 of them."""
    path = root / "h100_sxm" / "gemm" / "vllm" / "0.24.0" / "gemm_perf.parquet"
    n, k = zip(*SHAPES.values(), strict=True)
    rows = {"gemm_dtype": ["bfloat16"] * 5, "m": [64] * 5, "n": [*n, n[0]], "k": [*k, k[0]],
            "latency": [QUICK * 1e3] * 4 + [1.0]}  # fmt: skip
    table(path, rows)
    nccl = {"nccl_dtype": ["half"], "num_gpus": [2], "message_size": [64 * 4096], "latency": [0.03]}
    table(root / "h100_sxm" / "comm" / "nccl" / "2.27.3" / "nccl_perf.parquet",
          nccl | {"op_name": ["all_reduce"]})  # fmt: skip
    return root


def explained(*options, on="h100"):
    asked = ["explain", "llama-3.1-8b", "--on", on, "--context", "1000", "--json", *options]
    found = CliRunner().invoke(main, asked)
    assert found.exit_code == 0, found.stderr
    document = json.loads(found.stdout)
    return document, {s["section"]: s for s in document["decode"]["sections"]}


def test_a_kernel_whose_shape_was_measured_takes_that_time(measured_layers):
    """Of 32 layers the four products, to the digit; batches of other sizes stay modelled."""
    document, sections = explained("--batch", "64", "--measured")
    plain, modelled = explained("--batch", "64")
    assert document["decode"]["measured_ms"] == pytest.approx(32 * 4 * QUICK * 1e3)
    assert plain["decode"]["measured_ms"] == 0.0
    exact = [n for n, s in sections.items() if s["total_ms"] == pytest.approx(32 * QUICK * 1e3)]
    assert len(exact) == 4
    same = [n for n in sections if n not in exact and n != "host"]
    assert same and all(
        sections[n]["total_ms"] == pytest.approx(modelled[n]["total_ms"]) for n in same
    )
    other, _ = explained("--batch", "63", "--measured", "--graphs", "none")
    assert other["decode"]["measured_ms"] == 0.0


def test_collectives_are_looked_up_too(measured_layers):
    document, _ = explained("--batch", "64", "--measured", "--tp", "2", on="h100x2")
    kinds = [c for c in document["decode"]["collectives"] if c["kind"] == "all-reduce"]
    reduced = [c for c in kinds if c["total_ms"] == pytest.approx(c["times"] * 0.03)]
    times = sum(c["times"] for c in reduced)
    assert times >= 64 and document["decode"]["measured_ms"] == pytest.approx(times * 0.03)


def test_what_was_measured_is_said(measured_layers):
    asked = ["explain", "llama-3.1-8b", "--on", "h100", "--batch", "64", "--measured"]
    found = CliRunner().invoke(main, asked)
    assert "2.56 ms of the decode" in found.stdout and "the rest is modelled" in found.stdout
    assert "kernels of aiconfigurator-core" in " ".join(found.stdout.split())
    asked = ["simulate", "llama-3.1-8b", "--on", "h100", "--input-tokens", "100",
             "--output-tokens", "20", "--concurrency", "64", "--requests", "128", "--draws", "0",
             "--graphs", "full", "--json"]  # fmt: skip
    took = [json.loads(CliRunner().invoke(main, [*asked, *more]).stdout)["tpot_p50_ms"]
            for more in ([], ["--measured"])]  # fmt: skip
    assert took[0] != took[1]
    other = CliRunner().invoke(main, ["explain", "llama-3.1-8b", "--on", "a100-80gb", "--measured"])
    assert other.exit_code == 2 and "no products or collectives" in other.stderr


def test_of_several_kernels_of_a_shape_the_quickest_counts(known, measured_layers):
    held = packaged.exact(measured_layers, known, known.machines["h100-sxm"], "vllm")
    assert held.product((2.0, 989e12), 64.0, 6144.0, 4096.0) == pytest.approx(QUICK)
    assert np.isnan(held.product((1.0, 1979e12), 64.0, 6144.0, 4096.0))
    assert held.collective("all-reduce", 2.0, 64 * 4096 * 2.0) == pytest.approx(3e-5)
    assert np.isnan(held.collective("all-gather", 2.0, 64 * 4096 * 2.0))
