"""Every way a trace can be wrong, and what is said of it."""

import os
import sys

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.traffic import Prefixes, Requests, generate, read, synthetic, write

HEADER = "arrival_s,input_tokens,output_tokens\n"
ROW = '{"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [1, 2]}\n'


def fault_of(tmp_path, text, name="t.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        read(path, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        (" \n\n", "is empty"),
        (HEADER, "holds no requests, only a header"),
        (HEADER + "0,5\n", "t.csv: row 2: 2 fields where the header has 3"),
        (HEADER + "0,5,5\n0,5,5,5\n", "t.csv: row 3: 4 fields where the header has 3"),
        (HEADER + "0,5,0\n", "t.csv: row 2, output_tokens: 0 tokens; expected 1 or more (a failed"),
        (HEADER + "0,0,5\n", "t.csv: row 2, input_tokens: 0 tokens"),
        (HEADER + "0,-3,5\n", "t.csv: row 2, input_tokens: -3 tokens; expected 1 or more"),
        (HEADER + "0,12.5,5\n", "t.csv: row 2, input_tokens: '12.5' is not a whole number"),
        (HEADER + "0,nan,5\n", "t.csv: row 2, input_tokens: 'nan' is not a whole number"),
        (HEADER + "0,,5\n", "t.csv: row 2, input_tokens: is empty"),
        (HEADER + "0,5,5\n\n1,x,5\n", "t.csv: row 4, input_tokens: 'x' is not a whole number"),
        (HEADER + f"0,{10**30},5\n", "input_tokens: '1000000000000000000000000000000' is not a"),
        (HEADER + "nan,5,5\n", "t.csv: row 2, arrival_s: 'nan' is not a finite number"),
        (HEADER + "inf,5,5\n", "t.csv: row 2, arrival_s: 'inf' is not a finite number"),
        (HEADER + "soon,5,5\n", "t.csv: row 2, arrival_s: 'soon' is not a finite number"),
        (HEADER + "1e300,5,5\n", "t.csv: row 2, arrival_s: 1e+300 s is too late"),
        (HEADER + "-0.5,5,5\n", "t.csv: row 2, arrival_s: -0.5 s is negative"),
        (
            HEADER + "0,5,5\n2,5,5\n1.5,5,5\n3,5,5\n",
            "t.csv: row 4, arrival_s: 0.5 s before row 3; expected rows in order of time "
            "(sort the file by arrival_s, or in Python read it with sort=True)",
        ),
        (HEADER + "2,5,5\n1,5,5\n0,5,5\n", "1 s before row 2 (and 1 more such rows)"),
        (
            "arrival_s,input_token,output_tokens\n0,5,5\n",
            "t.csv: row 1: no column 'input_tokens'; expected the columns arrival_s,input_tokens,"
            "output_tokens (to be renamed? did you mean input_token?)",
        ),
        ("TIMESTAMP,ContextTokens\n0,5\n", "t.csv: row 1: no column 'GeneratedTokens'"),
        ("0.5,1,2\n0.7,2,3\n", "t.csv: row 1: no trace's header: '0.5', '1', '2'; expected plain:"),
        ("a,a,b\n1,2,3\n", "t.csv: row 1: column 'a' appears twice"),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n18:17,5,5\n",
            "t.csv: row 2, TIMESTAMP: '18:17' is not a UTC time such as 2023-11-16",
        ),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03+02:00,5,5\n",
            "TIMESTAMP: '2023-11-16 18:17:03+02:00' is not a UTC time",
        ),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n,5,5\n", "t.csv: row 2, TIMESTAMP: is empty"),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n0001-01-01 00:00:00,5,5\n",
            "'0001-01-01 00:00:00' is not a UTC time",
        ),
        (HEADER.encode() + b"0,5,\xff\xfe\n", "is not UTF-8 text (byte 41)"),
    ],
)
def test_csv(tmp_path, text, says):
    assert says in fault_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ROW + '{"timestamp": 0,\n', "t.jsonl: row 2: is not JSON"),
        (ROW + "[1, 2]\n", "t.jsonl: row 2: is not an object"),
        (ROW.replace("600", '"600 tokens"'), "row 1, input_length: '600 tokens' is not a whole"),
        (ROW.replace("600", "600.5"), "row 1, input_length: 600.5 is not a whole number"),
        (ROW.replace("600", "true"), "row 1, input_length: True is not a whole number"),
        (ROW.replace('"timestamp": 0, ', '"timestamp": null, '), "row 1, timestamp: is empty"),
        (ROW.replace('"timestamp": 0', '"timestamp": -7'), "row 1, timestamp: -7 ms is negative"),
        (ROW + ROW.replace(', "output_length": 2', ""), "row 2, output_length: is empty"),
        (ROW + ROW.replace(', "hash_ids": [1, 2]', ""), "row 2, hash_ids: is empty"),
        (ROW.replace("[1, 2]", "[1, 2.5]"), "row 1, hash_ids: is not a list of whole numbers"),
        (ROW.replace("[1, 2]", "7"), "row 1, hash_ids: is not a list of whole numbers"),
        (ROW.replace("[1, 2]", f"[{10**30}]"), "a hash does not fit in 64 bits"),
        (
            ROW.replace("[1, 2]", "[1, 2, 3]"),
            "row 1, hash_ids: 3 blocks for 600 tokens; expected at most one for every 512 tokens "
            "(is block_tokens right?)",
        ),
        ("{not json at all", "t.jsonl: row 1: is not JSON"),
    ],
)
def test_jsonl(tmp_path, text, says):
    assert says in fault_of(tmp_path, text, "t.jsonl")


def test_all_faults_at_once_in_order_of_rows_and_no_follow_ups(tmp_path):
    text = ROW.replace("600", "0") + ROW.replace('"timestamp": 0', '"timestamp": "x"') + "oops\n"
    said = fault_of(tmp_path, text, "t.jsonl").splitlines()
    assert [line.split(":")[1].split(",")[0].strip() for line in said] == [
        "row 1",
        "row 2",
        "row 3",
    ]


def test_twenty_faults_then_a_count(tmp_path):
    said = fault_of(tmp_path, HEADER + "0,0,5\n" * 1500).splitlines()
    assert len(said) == 21
    assert said[19].startswith("t.csv: row 21, input_tokens")
    assert said[20] == "t.csv: and 1,480 more faults like these"


def test_nothing_left_and_a_bad_block_size(tmp_path):
    said = fault_of(tmp_path, HEADER + "0,0,5\n", drop_empty=True)
    assert "holds no request with both input and output" in said
    assert "block_tokens: 0 is out of range" in fault_of(tmp_path, ROW, "a.jsonl", block_tokens=0)


def test_paths_that_cannot_be_read(tmp_path):
    (tmp_path / "requests.csv").write_text(HEADER + "0,5,5\n")
    with pytest.raises(
        InputError, match=r"cannot be read: No such file.*did you mean requests.csv"
    ):
        read(tmp_path / "request.csv")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read(tmp_path / "nowhere" / "request.csv")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read(tmp_path)
    if os.geteuid() != 0:
        (tmp_path / "requests.csv").chmod(0)
        with pytest.raises(InputError, match="cannot be read: Permission denied"):
            read(tmp_path / "requests.csv")


def test_broken_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    assert "t.csv: is not parquet" in fault_of(tmp_path, b"PAR1 but not really")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    said = fault_of(tmp_path, b"PAR1....PAR1", "t.parquet")
    assert "reading parquet needs pyarrow (pip install 'maquette[parquet]')" in said


def test_what_cannot_be_written(tmp_path):
    plain = synthetic(rate=1, input_tokens=99, output_tokens=9)
    made = generate(plain, 3)
    with pytest.raises(InputError, match=r"has an unknown ending; expected .csv or .jsonl"):
        write(made, tmp_path / "t.txt")
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        write(made, tmp_path / "nowhere" / "t.csv")
    hashed = synthetic(rate=1, input_tokens=99, output_tokens=9, prefixes=Prefixes(16))
    with pytest.raises(InputError, match=r"cannot hold block hashes; expected .jsonl"):
        write(generate(hashed, 3), tmp_path / "t.csv")
    loop = Requests(*[np.ones(3, np.int64)] * 3, concurrency=2)
    with pytest.raises(InputError, match="a closed loop has no arrivals to write"):
        write(loop, tmp_path / "t.csv")
