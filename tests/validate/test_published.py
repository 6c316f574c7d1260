"""What ships is what its own scripts make of the published figures."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from maquette.validate.cases import resolve
from maquette.validate.compare import compare
from maquette.validate.rows import read
from maquette.validate.validation import validate

HERE = Path(__file__).parents[2] / "validation"
sys.path.append(str(HERE))  # its scripts import each other


def script(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reconstruct():
    return script("reconstruct")


@pytest.mark.parametrize(
    ("file", "rows"),
    [("static_decode.csv", "decode_rows"), ("kernel_attention.csv", "attention_rows"),
     ("kernel_collectives.csv", "collective_rows")],
)  # fmt: skip
def test_reconstructed_rows_are_up_to_date(reconstruct, file, rows):
    made = getattr(reconstruct, rows)()
    with (HERE / "published" / file).open(newline="") as stream:
        held = list(csv.DictReader(stream))
    assert len(held) == len(made)
    for old, new in zip(held, made, strict=True):
        assert set(old) == set(new)
        for key in old:
            try:
                assert float(old[key]) == pytest.approx(float(new[key]), rel=1e-3)
            except ValueError:
                assert old[key] == str(new[key])


def test_shipped_calibrations_explain_the_summaries_they_were_fitted_to(known):
    lines, _ = compare(HERE / "published", known, ("static",))
    decode = [x for x in lines if x.file == "static_decode.csv"]
    assert len(decode) > 60
    assert np.median([abs(x.error) for x in decode]) < 0.08


def test_shipped_calibrations_explain_the_runs_they_were_fitted_to(known):
    """Batches of all machines and engines, and some loops of clients."""
    static = validate(HERE / "served", known, ("static",))
    assert static.priced["static"] > 750
    fitted = static.fitted["static", "e2e"]
    assert fitted.n > 600 and fitted.ape_p50 < 0.12
    closed = validate(HERE / "served" / "nim_closed.csv", known, ("closed",), limit=24)
    assert closed.fitted["closed", "tpot"].ape_p50 < 0.15


def test_every_published_row_names_its_source():
    for path in sorted((HERE / "published").rglob("*.csv")) + sorted(
        (HERE / "served").glob("*.csv")
    ):
        with path.open(newline="") as stream:
            assert all(row["source"] for row in csv.DictReader(stream)), path.name


def test_published_runs_are_of_what_the_catalogue_knows(known):
    why = [
        str(w)
        for table in read(HERE / "served").tables
        for w in resolve(table, known).why
        if w and not w.startswith("flagged")
    ]
    assert len(why) < 40, sorted(set(why))


def test_the_page_of_validation_says_what_is_predicted_now():
    held = (HERE.parent / "docs" / "validation.md").read_text(encoding="utf-8")
    made = script("document").page()
    number = r"-?\d[\d,]*\.?\d*"
    assert re.sub(r"[+-]?" + number, "#", made) == re.sub(r"[+-]?" + number, "#", held)
    pairs = zip(re.findall(number, held), re.findall(number, made), strict=True)
    for old, new in ((float(a.replace(",", "")), float(b.replace(",", ""))) for a, b in pairs):
        assert new == pytest.approx(old, rel=0.02, abs=2), "run python validation/document.py"


def test_the_page_of_kernels_says_what_is_predicted_now(known):
    kernels = script("kernels")
    held = (HERE.parent / "docs" / "kernels.md").read_text(encoding="utf-8")
    reading = read(kernels.HERE)
    lines = [x for t in reading.tables for x in kernels.published(t, reading, known)]
    assert len(lines) == 60
    assert all(line in held for line in lines), "run python validation/kernels.py"
