"""Documents are strict JSON; numbers read as people write them; files appear whole."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.errors import InputError
from maquette.plans.types import Plan
from maquette.report import files, numbers
from maquette.report.document import dumps, milliseconds, plain


def test_plain_knows_numpy_dataclasses_and_mappings():
    found = plain({"a": np.float32(1.5), "b": np.arange(2), 3: Plan(), "d": (None, True)})
    assert found["a"] == 1.5 and found["b"] == [0, 1] and found["d"] == [None, True]
    assert found["3"]["mesh"] == {"tp": 1, "pp": 1, "dp": 1, "ep": 1}


def test_no_infinity_and_no_nan():
    text = dumps({"a": float("nan"), "b": [float("inf"), np.float64("-inf")], "c": np.nan})
    assert json.loads(text) == {"a": None, "b": [None, None], "c": None}


def test_what_is_no_data_is_refused():
    with pytest.raises(TypeError, match="object"):
        dumps({"a": object()})


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_three_digits_are_right_to_half_a_percent(value):
    shown = numbers.digits(value)
    back = float(shown.replace(",", ""))
    assert back == pytest.approx(value, rel=0.0051, abs=0)


@given(st.floats(1e-9, 1e6))
def test_durations_read_back(value):
    number, unit = numbers.seconds(value).split(" ")
    factor = {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert float(number.replace(",", "")) * factor == pytest.approx(value, rel=0.0051)


def test_intervals_share_the_unit_of_their_point():
    assert numbers.seconds(0.0312, (0.0289, 0.034)) == "31.2 ms [28.9, 34.0]"
    assert numbers.dollars(1.5, (1.0, 2.0)) == "$1.50 [1.00, 2.00]"
    assert numbers.seconds(None) == numbers.digits(float("nan")) == "–"


def test_milliseconds_of_nothing():
    assert milliseconds(None) is None and milliseconds(float("nan")) is None
    assert milliseconds(0.0125) == 12.5


def test_writing_replaces_whole_files(tmp_path):
    target = files.place(tmp_path / "a" / "b.txt")
    files.write(target, "one")
    files.write(target, "two")
    assert target.read_text() == "two" and [p.name for p in target.parent.iterdir()] == ["b.txt"]


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(InputError, match="is a file; expected a folder"):
        files.folder(tmp_path / "x", "--out")
    with pytest.raises(InputError, match="is a directory"):
        files.place(tmp_path)
