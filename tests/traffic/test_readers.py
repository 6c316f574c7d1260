import csv
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pace
from maquette.traffic import Prefixes, Requests, generate, read, synthetic, write
from maquette.traffic.describe import describe

SPEC = synthetic(rate=5.0, input_tokens=1165, output_tokens=220, prefixes=Prefixes(512, 1, 512))

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,110,27
2023-11-16 18:17:04.0319601,3,1
"""
MOONCAKE = """{"timestamp": 0, "input_length": 1030, "output_length": 52, "hash_ids": [46, 47, 48]}
{"timestamp": 3052, "input_length": 600, "output_length": 26, "hash_ids": [46, 47]}

{"timestamp": 3052, "input_length": 40, "output_length": 3, "hash_ids": [46]}
"""


@pytest.fixture
def file(tmp_path):
    def make(text, name="trace.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return make


def test_azure(file):
    found = read(file(AZURE))
    assert found.arrival_ns.tolist() == [0, 52_000_000, 52_000_100]
    assert found.input_tokens.tolist() == [4808, 110, 3]
    assert found.output_tokens.tolist() == [10, 27, 1]
    assert found.source == "trace.csv (Azure CSV, 3 requests)"
    assert found.block_hash is None and found.priority is None


def test_azure_2024_with_a_zone_and_windows_line_ends(file):
    text = AZURE.replace("9799600,", "979960+00:00,").replace("\n", "\r\n")
    mixed = text.replace("04.0319600,", "04+00:00,").replace("04.0319601,", "04.031960+00:00,")
    assert read(file("\ufeff" + mixed)).arrival_ns.tolist() == [0, 20_040_000, 52_000_000]


def test_mooncake(file):
    found = read(file(MOONCAKE, "trace.jsonl"))
    assert found.arrival_ns.tolist() == [0, 3052 * 10**6, 3052 * 10**6]
    assert found.block_tokens == 512
    assert found.block_hash.tolist() == [46, 47, 48, 46, 47, 46]
    assert found.block_start.tolist() == [0, 3, 5, 6]
    assert describe(found).cacheable_share == pytest.approx(0.5)
    assert found.source == "trace.jsonl (Mooncake JSONL, 3 requests)"


def test_plain_with_priority_quotes_spaces_and_an_offset(file):
    text = (
        'input_tokens, arrival_s ,"output_tokens",priority,user\n\n"7",2.5, 3 ,1,a\n8,4e0,4,0,b\n'
    )
    found = read(file(text))
    assert found.arrival_ns.tolist() == [0, 1_500_000_000]
    assert found.input_tokens.tolist() == [7, 8]
    assert found.output_tokens.tolist() == [3, 4]
    assert found.priority.tolist() == [1, 0]
    assert found.notes == ("arrivals counted from the first, 2.500 s in the trace",)


def test_sort_and_drop_empty_keep_hashes_with_their_requests(file):
    lines = MOONCAKE.replace('"output_length": 26', '"output_length": 0').strip().split("\n")
    found = read(file("\n".join(reversed(lines)), "t.jsonl"), sort=True, drop_empty=True)
    assert found.input_tokens.tolist() == [1030, 40]
    assert found.block_hash.tolist() == [46, 47, 48, 46]
    assert found.notes == ("1 requests without input or output left out",)


def test_parquet_says_the_same_as_jsonl(file, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    records = [json.loads(line) for line in MOONCAKE.splitlines() if line]
    parquet.write_table(arrow.Table.from_pylist(records), tmp_path / "trace.parquet")
    one, two = read(tmp_path / "trace.parquet"), read(file(MOONCAKE, "trace.jsonl"))
    assert one.source == "trace.parquet (Mooncake parquet, 3 requests)"
    for name in ("arrival_ns", "input_tokens", "output_tokens", "block_hash", "block_start"):
        assert (getattr(one, name) == getattr(two, name)).all()


def test_parquet_with_the_columns_of_azure(file, tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = list(csv.DictReader(AZURE.splitlines()))
    times = np.array([r["TIMESTAMP"] for r in rows], "datetime64[us]")
    columns = {k: [int(r[k]) for r in rows] for k in ("ContextTokens", "GeneratedTokens")}
    parquet.write_table(
        arrow.table({"TIMESTAMP": arrow.array(times), **columns}), tmp_path / "a.parquet"
    )
    assert read(tmp_path / "a.parquet").arrival_ns.tolist() == [0, 52_000_000, 52_000_000]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**15), st.integers(1, 10**7), st.integers(1, 10**6), st.integers(-9, 9)
        ),
        min_size=1,
    ),
    st.booleans(),
)
def test_plain_csv_round_trip(tmp_path_factory, records, ranked):
    columns = np.array(sorted(records), np.int64).T
    made = Requests(
        columns[0] - columns[0][0], columns[1], columns[2], columns[3] if ranked else None
    )
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write(made, path)
    back = read(path)
    assert (back.arrival_ns == made.arrival_ns).all()
    assert (back.input_tokens == made.input_tokens).all()
    assert (back.output_tokens == made.output_tokens).all()
    assert (back.priority is None) if not ranked else (back.priority == made.priority).all()


def test_jsonl_round_trip(tmp_path):
    made = generate(SPEC, 300, seed=4)
    write(made, tmp_path / "t.jsonl")
    back = read(tmp_path / "t.jsonl")
    for name in ("arrival_ns", "input_tokens", "output_tokens", "block_hash", "block_start"):
        assert (getattr(back, name) == getattr(made, name)).all()


def test_reading_is_fast(tmp_path):
    made = generate(synthetic(rate=5.0, input_tokens=1165, output_tokens=220), 100_000)
    write(made, tmp_path / "plain.csv")
    start = np.datetime64("2023-11-16T18:15:46.680590000")
    with (tmp_path / "azure.csv").open("w") as out:
        out.write("TIMESTAMP,ContextTokens,GeneratedTokens\n")
        for i in range(19_366):
            when = str(start + made.arrival_ns[i]).replace("T", " ")[:-2]
            out.write(f"{when},{made.input_tokens[i]},{made.output_tokens[i]}\n")
    unit = pace.unit()
    for name, budget in (("azure.csv", 25), ("plain.csv", 40)):
        assert pace.cpu(lambda path=tmp_path / name: read(path), 3) < budget * unit, name
