"""What fits that never saw SN40L's figures say of them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "validation"))

import leave_out

KEPT = leave_out.kept()


def median(lines, which="error"):
    return np.median([abs(getattr(x, which)) for x in lines])


@pytest.mark.parametrize("name", leave_out.SPLITS)
def test_figures_that_no_fit_saw_are_within_ten_percent_at_the_median(name):
    assert median(KEPT[name]) <= 0.10
    assert median(KEPT[name]) < median(KEPT[name], "null_error") / 2


def test_the_file_says_what_fits_say_now():
    """Of all that is left out, and of a model: one fit, a second or two."""
    point = leave_out.figures()[0]
    rows = tuple(p for p in leave_out.figures() if p.model != point.model)
    ours = leave_out.said(point, leave_out.steps(point), leave_out.fitted(rows))
    assert KEPT["its model"][0].ours == pytest.approx(ours, rel=0.01)
    assert KEPT["its model"][0].null == pytest.approx(leave_out.null(point, rows), rel=0.01)
    for line, now in zip(KEPT["all figures"], leave_out.left_out("all figures"), strict=True):
        assert line.ours == pytest.approx(now.ours, rel=0.01)


def test_the_published_steps_leave_with_the_figures_they_were_made_from(monkeypatch):
    """A fit without a figure of batch 1 sees figures alone."""
    seen = []
    monkeypatch.setattr(leave_out, "maximise", lambda rows, before: seen.append(len(rows)) or 1)
    monkeypatch.setattr(leave_out, "calibration", lambda *_: None)
    for left in leave_out.figures():
        leave_out.fitted.__wrapped__(tuple(p for p in leave_out.figures() if p != left))
        assert seen[-1] == (4 if left.batch == 1 else 9)


@pytest.mark.parametrize(("name", "batch", "low", "high"), leave_out.BANDS)
def test_shares_of_the_roofline_are_those_measured(name, batch, low, high):
    machine = leave_out.figures()[0].where.machine
    shipped = leave_out.calibrations.find(machine, "vendor")
    found = leave_out.shares(shipped, name, batch)
    assert np.all((low - 0.01 <= found) & (found <= high + 0.01))
    assert np.all(np.diff(found) < 0) or batch == 1  # longer contexts take more than weights
