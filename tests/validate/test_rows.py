"""Readers take what is tidy, and say what they did not take."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.validate import schema
from maquette.validate.rows import is_calibration, read

STATIC = "gpu,engine,model,batch,isl,osl,tp,{}\nH100,vLLM,llama-2-7b,1,10,20,1,{}\n"


def one(tmp_path, text, name="x.csv"):
    (tmp_path / name).write_text(text)
    return read(tmp_path).tables[0]


@pytest.mark.parametrize(
    ("heading", "quantity", "value"),
    [
        ("latency_s", "e2e", 2.0), ("e2e_latency_ms", "e2e", 2e-3), ("e2e_s", "e2e", 2.0),
        ("total_time_us", "e2e", 2e-6), ("TTFT (ms)", "ttft", 2e-3),
        ("prompt_time_ms", "ttft", 2e-3),
        ("itl_mean_s", "tpot", 2.0), ("mean_tpot_ms", "tpot", 2e-3),
        ("token_time_ms", "tpot", 2e-3),
        ("time_to_first_token_s", "ttft", 2.0), ("time_per_output_token_ms", "tpot", 2e-3),
        ("output_throughput", "output_rate", 2.0), ("total_throughput_tok_s", "total_rate", 2.0),
    ],
)  # fmt: skip
def test_units_are_in_headings(tmp_path, heading, quantity, value):
    table = one(tmp_path, STATIC.format(heading, 2))
    assert table.kind.name == "static"
    assert table.seconds(quantity)[0] == pytest.approx(value)


def test_spreads_and_predictions_are_not_measurements():
    for name in ("ttft_std_s", "tpot_min_ms", "latency_predicted_s", "e2e_error_s"):
        assert schema.quantity(name) is None


def test_a_derived_tpot_comes_before_what_a_client_counted(tmp_path):
    text = STATIC.format("tpot_mean_s,itl_mean_s,tpot_derived_mean_s", "1,2,3")
    assert one(tmp_path, text).seconds("tpot")[0] == 3
    assert one(tmp_path, STATIC.format("tpot_mean_s,itl_mean_s", "1,2")).seconds("tpot")[0] == 2


def test_files_are_known_by_name_else_by_columns(tmp_path):
    stage = "hardware,model,rate,input_tokens_mean,output_tokens_mean,ttft_mean_s\nH100,m,1,2,3,4\n"
    (tmp_path / "serving_vllm_stages_a.csv").write_text(stage)
    (tmp_path / "b.csv").write_text(stage)
    (tmp_path / "c.csv").write_text(
        "system,model,concurrency,isl,osl,ttft_ms,tpot_ms\nH100,m,1,2,3,4,5\n"
    )
    (tmp_path / "d.csv").write_text("gpu,m,n,k,latency_ms\nH100,1,2,3,4\n")
    kinds = [t.kind.name for t in read(tmp_path).tables]
    assert kinds == ["stages", "closed", "gemm", "stages"]


def test_every_file_not_read_is_named_with_its_reason(tmp_path):
    (tmp_path / "good.csv").write_text(STATIC.format("latency_s", 1))
    (tmp_path / "empty.csv").write_text("gpu,model,batch,isl,osl,latency_s\n")
    (tmp_path / "odd.csv").write_text("gpu,model,batch,isl,colour,latency\nH100,m,1,2,3,4\n")
    (tmp_path / "ragged.csv").write_text("gpu,model\nH100\n")
    (tmp_path / "baseline_x.csv").write_text("gpu,model,batch,isl,osl,latency_s\nH100,m,1,2,3,4\n")
    why = {s.file: s.why for s in read(tmp_path).skipped}
    assert why["empty.csv"] == "has no rows"
    assert "colour" in why["odd.csv"] and "output_tokens" in why["odd.csv"]
    assert "lacks output_tokens" in why["odd.csv"]
    assert "row 2 has 1 fields, the heading 2" in why["ragged.csv"]
    assert "other simulators" in why["baseline_x.csv"]


def test_nothing_to_read_is_an_error_that_says_what_would_do(tmp_path):
    with pytest.raises(InputError, match="holds no CSV, JSONL or parquet file"):
        read(tmp_path)
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    assert "columns a, b" in str(caught.value) and "static batch" in str(caught.value)
    with pytest.raises(InputError, match="not a folder"):
        read(tmp_path / "nowhere")


def test_a_file_that_is_named_itself_is_named_as_it_was(tmp_path):
    odd = tmp_path / "odd.csv"
    odd.write_text("a,b\n1,2\n")
    for asked in (odd, tmp_path):
        with pytest.raises(InputError) as caught:
            read(asked)
        assert [f.where for f in caught.value.faults] == [str(asked), str(odd)]


def test_a_number_that_is_none_flags_its_row(tmp_path):
    text = STATIC.format("latency_s", 1) + "H100,vLLM,llama-2-7b,many,10,20,1,1\n"
    table = one(tmp_path, text)
    assert list(table.flags) == ["", "batch is not a number: 'many'"]


def test_flag_columns_exclude_with_their_reason(tmp_path):
    text = "gpu,model,batch,isl,osl,latency_s,flag_eos,exclude_reason\n"
    text += "H100,m,1,2,3,4,0,\nH100,m,1,2,3,4,True,\nH100,m,1,2,3,4,,too fast\n"
    assert list(one(tmp_path, text).flags) == ["", "flag_eos", "too fast"]


def test_compressed_and_parquet(tmp_path):
    text = STATIC.format("latency_s", 3)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    held = {"gpu": ["H100"], "model": ["m"], "batch": [1], "isl": [2], "osl": [3]}
    pq.write_table(pa.table(held | {"latency_ms": [None]}), tmp_path / "b.parquet")
    first, second = read(tmp_path).tables
    assert first.seconds("e2e")[0] == 3 and np.isnan(second.seconds("e2e")[0])


def test_split_by_column_else_by_hash():
    assert is_calibration("calib", "x") and not is_calibration("heldout", "x")
    drawn = [is_calibration("", str(i)) for i in range(4000)]
    assert 0.36 < np.mean(drawn) < 0.44
    assert drawn == [is_calibration("", str(i)) for i in range(4000)]
