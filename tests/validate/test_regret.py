"""Regret of choosing by prediction, by hand; and what counts as a choice."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.validate.goals import regret_met
from maquette.validate.regret import CHEAPEST, FASTEST, Choice, regrets
from maquette.validate.validation import validate
from validate.synthetic import HEADINGS, rows, write
from validate.test_validation import knowing


def choice(name, tp, measured, predicted, question="q"):
    return Choice("static", FASTEST, (question,), (name,), tp, measured, predicted)


def test_regret_and_its_null_models_by_hand():
    first = [choice("a", 1, 3.0, 1.0), choice("b", 2, 2.0, 1.1), choice("c", 4, 4.0, 9.0)]
    second = [choice("a", 1, 1.0, 1.0, "r"), choice("b", 2, 1.5, 2.0, "r")]
    lonely = [choice("a", 1, 5.0, 5.0, "s")]
    (found,) = regrets([*first, *second, *lonely])
    assert (found.n, found.configurations) == (2, 5)
    assert found.median == pytest.approx((0.5 + 0.0) / 2)
    assert found.best == 0.5
    assert found.random == pytest.approx(np.median([(0.5 + 0 + 1) / 3, 0.25]))
    assert found.largest_tp == pytest.approx(np.median([1.0, 0.5]))
    assert not regret_met(found)


def test_repeats_of_a_configuration_are_one():
    again = [choice("a", 1, x, 1.0) for x in (1.0, 1.1, 9.0)]
    (found,) = regrets([*again, choice("b", 2, 1.0, 2.0)])
    assert found.configurations == 2 and found.median == pytest.approx(0.1)


def test_the_right_machine_chooses_well_and_a_wrong_one_does_not(known, folder):
    fast, cheap = validate(folder, knowing(known)).regrets
    assert (fast.objective, cheap.objective) == (FASTEST, CHEAPEST)
    assert fast.n > 10 and fast.median < 0.02 < fast.random
    assert cheap.median < 0.02 < cheap.largest_tp
    slow_links = validate(folder, knowing(known, link=0.01, collective=5e-3)).regrets[0]
    assert slow_links.median > 0.1


def test_rows_that_were_fitted_are_no_choices(known, tmp_path):
    lines = [[*line, "calib"] for line in rows(known, models=("llama-3-8b",))]
    lines[0][-1] = "heldout"
    write(tmp_path / "x.csv", lines, (*HEADINGS, "split"))
    assert validate(tmp_path, knowing(known)).regrets == ()
