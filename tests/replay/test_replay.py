"""A change that moves predictions says so, and shows which."""

from __future__ import annotations

import numpy as np

from replay.predictions import load, moved, predictions


def test_predictions_are_where_they_were():
    said = moved(load(), predictions())
    assert not said, f"\n{said}\nIf that is meant: python tests/replay/update.py"


def test_every_kind_of_prediction_is_there():
    held = load()
    assert 280 < len(held) < 400
    known = [v for v in held.values() if np.isfinite(v)]
    assert len(known) > 0.9 * len(held) and min(known) > 0


def test_what_moved_is_counted_and_named():
    before = {"a x_ms": 1.0, "b x_ms": 2.0, "c y_ms": 3.0, "d x_ms": np.nan, "e x_ms": 1.0}
    after = {"a x_ms": 1.0005, "b x_ms": 2.2, "c y_ms": 3.0, "d x_ms": np.nan, "f x_ms": 1.0}
    said = moved(before, after).splitlines()
    assert said[:2] == ["new: f x_ms", "gone: e x_ms"]
    assert said[2] == "x_ms: 1 of 4 moved, median +10.00%"
    assert "+10.00%  2 → 2.2  b x_ms" in said[3]
    assert moved(before, before) == ""
