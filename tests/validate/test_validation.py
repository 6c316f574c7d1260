"""Scores are of rows held out, beside null models, with everything left out counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.errors import InputError
from maquette.price.calibration import NAMES
from maquette.validate import score
from maquette.validate.calibrate import calibrate
from maquette.validate.compare import compare
from maquette.validate.uncertainty import band
from maquette.validate.validation import validate
from validate.synthetic import HEADINGS, rows, truth, write

NOTHING = ((0.0,) * len(NAMES),) * len(NAMES)


def knowing(known, **changes):
    cal = replace(truth(), residual=0.03, basis="fitted", covariance=NOTHING)
    cal = replace(cal, values={**cal.values, **changes})
    return replace(known, calibration=lambda machine, engine: cal)


def test_the_right_machine_is_right_and_its_intervals_cover(known, folder):
    found = validate(folder, knowing(known))
    assert found.rows == found.priced and found.unpriced == {"static": {}}
    for group in found.groups:
        assert group.errors.ape_p50 < 0.03 and abs(group.errors.bias) < 0.02
        assert group.constant is not None
        # TTFT is nearly a constant share of the roofline; what decodes is not.
        if group.key.quantity == "e2e":
            assert group.errors.ape_p50 < 0.2 * group.constant.ape_p50 < group.ideal.ape_p50
    n = sum(g.errors.n for g in found.groups)
    inside = sum(g.coverage_80 * g.errors.n for g in found.groups) / n
    assert n > 80 and 0.70 < inside < 0.90
    assert sum(g.fitted.n for g in found.groups if g.fitted) + n == 2 * found.rows["static"]


def test_the_wrong_machine_is_wrong_and_says_so(known, folder):
    found = validate(folder, knowing(known, memory=0.44, step=8e-3, matrix=0.31))
    for group in found.groups:
        assert group.errors.ape_p50 > 0.3 and group.errors.bias > 0.3
        assert group.coverage_80 < 0.1


def test_rows_of_the_calibration_split_are_never_scored(known, tmp_path):
    lines = rows(known, models=("llama-3-8b",))
    for i, line in enumerate(lines):
        line.append("calib" if i % 2 else "heldout")
        if i % 2:
            line[9:11] = [x * 3 for x in line[9:11]]  # would show at once
    write(tmp_path / "x.csv", lines, (*HEADINGS, "split"))
    found = validate(tmp_path, knowing(known))
    for group in found.groups:
        assert group.errors.ape_p90 < 0.1
        assert group.fitted is not None and group.fitted.ape_p50 > 0.5


def test_a_calibration_fitted_to_all_rows_scores_none_of_them(known, folder):
    cal = calibrate(folder, known, everything=True).calibrations[0]
    found = validate(folder, replace(known, calibration=lambda machine, engine: cal))
    assert not found.groups and not found.pooled
    assert found.fitted["static", "e2e"].n == found.rows["static"]


def test_every_row_not_priced_is_counted_with_its_reason(known, tmp_path):
    good = rows(known, models=("llama-3-8b",))[0]
    at = {h: i for i, h in enumerate(HEADINGS)}

    def but(**changes):
        line = list(good)
        for name, value in changes.items():
            line[at[name]] = value
        return line

    write(
        tmp_path / "x.csv",
        [good, but(Device="Abacus"), but(Device="Abacus"), but(model="mine"), but(Device="SN40L"),
         but(framework="llama.cpp"), but(flag_reason="early stop"), but(input_len=0),
         but(model="llama-3-70b", tp_size=1), but(ttft_ms="", latency_s=""),
         but(dtype="roman")],
    )  # fmt: skip
    found = validate(tmp_path, knowing(known))
    reasons = found.unpriced["static"]
    assert found.rows["static"] == 11 and found.priced["static"] == 1
    assert reasons["unknown machine 'Abacus'"] == 2
    assert sum(reasons.values()) == 10
    said = " ".join(reasons)
    parts = (
        "'mine'", "does not run on sn40l", "'llama.cpp'", "flagged: early stop",
        "positive numbers", "does not fit", "no measured value", "precision 'roman'",
    )  # fmt: skip
    for part in parts:
        assert part in said


def test_as_data_it_has_everything_that_is_printed(known, folder):
    data = validate(folder, knowing(known)).as_dict()
    assert {"groups", "pooled", "rows", "priced", "unpriced", "skipped"} <= set(data)
    assert data["groups"][0]["lane"] == "static" and data["groups"][0]["errors"]["n"] > 0
    assert data["groups"][0]["floor"] and data["groups"][0]["floor_source"]


def test_lanes_that_are_not_there(known, folder):
    with pytest.raises(InputError, match="no lane 'dynamic'"):
        validate(folder, known, lanes=("dynamic",))
    with pytest.raises(InputError, match="has rows of static and none of stages"):
        validate(folder, known, lanes=("stages",))


def test_compare_lists_single_rows(known, folder):
    lines, why = compare(folder, knowing(known), ("static",))
    assert not why and len(lines) > 100
    assert all(x.low < x.predicted < x.high and abs(x.error) < 0.2 for x in lines)


def test_percentiles_of_errors_by_hand():
    measured, predicted = np.array([1.0, 2, 4, 5]), np.array([1.1, 1.0, 4, 10])
    found = score.errors(measured, predicted)
    assert found.ape_p50 == pytest.approx(0.3) and found.bias == pytest.approx(0.05)
    assert found.ape_p90 == pytest.approx(0.85)
    assert score.errors(np.array([]), np.array([])) is None


def test_an_interval_covers_its_share():
    rng = np.random.default_rng(0)
    measured = np.exp(rng.normal(0, 0.2, 20000))
    low, high = band(np.ones(20000), np.full(20000, 0.2))
    assert score.coverage(measured, low, high) == pytest.approx(0.8, abs=0.01)
