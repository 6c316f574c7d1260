"""docs/measured.md says what the kept runs give now."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from maquette.measure.halves import _alternate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "measured.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")


def test_the_page_is_of_the_runs_that_are_kept():
    """The half that is predicted from between; the whole page takes a minute to make."""
    made = runpy.run_path(str(ROOT / "validation" / "measured.py"))
    held = made["campaign"]("tiny")
    dealt = made["half"]("alternate", held, _alternate(held))
    text = made["section"]("`tiny`, alternate", dealt, made["floors"](held))
    there = PAGE[PAGE.index("### `tiny`, alternate") :].split("\n\n### ")[0]
    assert NUMBER.sub("#", text) == NUMBER.sub("#", there), "run python validation/measured.py"
    for new, old in zip(NUMBER.findall(text), NUMBER.findall(there), strict=True):
        assert float(new) == pytest.approx(float(old), rel=0.1, abs=1.5)


def test_nothing_kept_tells_of_the_machine_it_was_measured_on():
    for path in (ROOT / "validation" / "measured").rglob("*"):
        if path.is_file():
            assert not re.search(r"/(home|root|tmp|work|Users)/", path.read_text()), path
