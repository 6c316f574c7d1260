"""Whole groups held out: nothing of a group reaches the fit that scores it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.validate import score
from maquette.validate.goals import Goal, Summary, summaries
from maquette.validate.holdout import folds, held_out
from maquette.validate.rows import read
from validate.synthetic import rows, write

MODELS = ("llama-3-8b", "qwen2-7b")


@pytest.fixture(scope="module")
def few(known, tmp_path_factory):
    """Every third row; those of one model take three times as long as they should."""
    path = tmp_path_factory.mktemp("few")
    lines = [
        [*x[:9], x[9] * 3, x[10] * 3, x[11]] if x[3] == "qwen2-7b" else x
        for x in rows(known, models=MODELS)[::3]
    ]
    write(path / "mine.csv", lines)
    return path


@pytest.fixture(scope="module")
def held(few, known):
    return held_out(few, known, ("model", "machine"))


def test_every_group_is_held_out_once(few, known):
    reading = read(few)
    for way, names in (("model", MODELS), ("batch", ("1", "16", "64"))):
        found = [n for fold in folds(reading, known, way) for n in fold.names]
        assert sorted(found) == sorted(names)


def test_a_group_does_not_tell_on_itself(held):
    (e2e,) = (s for s in score.joined(held.scored["model"]) if s.quantity == "e2e")
    free = ~e2e.calibration
    odd = free & (e2e.family == "qwen2")
    assert np.median(e2e.measured[odd] / e2e.predicted[odd]) == pytest.approx(3.0, rel=0.2)
    # Each row was held out by one fold of two, and fitted in the other.
    assert free.sum() == e2e.calibration.sum()


def test_what_cannot_be_held_out_is_said(held):
    assert held.scored["machine"] == []
    assert held.skipped == ("machine: there are not two to hold one out",)


def test_null_models_and_goals_stand_beside(held):
    found = {s.quantity: s for s in summaries(held.scored["model"], "model")}
    e2e = found["e2e"]
    assert e2e.goal is not None and not e2e.met  # half of the rows are off by three
    assert e2e.constant is not None and e2e.roofline is not None and e2e.floor == 0.008
    assert e2e.covered is None  # of fewer than twenty rows


def test_coverage_is_judged_where_there_are_rows_enough():
    one = Summary("", "static", "e2e", "", score.Errors(40, 0, 0, 0), None, None, None, 0.8, None)
    assert one.covered and one.met is None
    assert not replace(one, coverage_80=0.95).covered and not replace(one, coverage_80=0.7).covered


def test_a_goal_is_met_when_all_of_it_is():
    goal = Goal(0.05, 0.15, 0.02)
    assert goal.met(score.Errors(9, 0.05, 0.15, -0.02))
    assert not goal.met(score.Errors(9, 0.04, 0.15, -0.03))
    assert not Goal(within_2=0.75).met(score.Errors(9, 0.0, 0.0, 0.0, 0.7))


def test_no_such_way(few, known):
    with pytest.raises(InputError, match="no way 'weekday'"):
        held_out(few, known, ("weekday",))
