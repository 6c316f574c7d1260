"""Kernel tables of a package laid out as aiconfigurator-core's are; made here, none of theirs."""

from __future__ import annotations

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
