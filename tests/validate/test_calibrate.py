"""A fit finds the constants that made its rows, and knows how well."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.catalogue.calibrations import load
from maquette.catalogue.write_calibrations import write as write_calibrations
from maquette.errors import InputError
from maquette.price.calibration import NAMES, PARAMETERS, first_principles
from maquette.validate.calibrate import calibrate
from maquette.validate.fit import (
    Observed,
    Prior,
    _Group,
    _Offsets,
    _offsets,
    _scatter,
    maximise,
    prior,
)
from maquette.validate.static import prepare, seconds
from maquette.validate.validation import validate
from validate.synthetic import HEADINGS, SHAPES, TRUTH, grid, rows, truth, write


@pytest.fixture(scope="module")
def fits(known, folder):
    return calibrate(folder, known, date="2026-01")


def test_finds_the_truth_within_its_posterior(fits):
    (fit,) = fits.fits
    cal = fit.calibration
    assert (cal.machine, cal.engine, cal.version, cal.basis) == (
        "h100-sxm", "vllm-0.6", "0.6.1", "fitted",
    )  # fmt: skip
    sd = dict(zip(NAMES, np.sqrt(np.diag(cal.covariance)), strict=True))
    for name, value in TRUTH.items():
        assert abs(np.log(cal[name] / value)) < 3.5 * sd[name], name
    for name in ("matrix", "memory", "kv"):  # what these rows pin down
        assert sd[name] < 0.12, name
    # Rows scatter by 3 %; four models alike do not prove that a fifth will be.
    assert 0.02 < cal.of("llama-3-8b").residual < 0.04 < cal.residual < 0.08


def test_rows_held_out_do_as_well_as_rows_fitted(fits):
    (fit,) = fits.fits
    assert fit.held_out is not None and fit.held_out.n + fit.fitted.n > 100
    assert fit.fitted.ape_p50 < 0.03 and fit.held_out.ape_p50 < 0.03
    assert abs(fit.held_out.bias) < 0.015


def test_a_few_absurd_rows_do_not_rule(known, tmp_path):
    """They move nothing by more than leaving them out would, and cost nothing held out."""
    lines = rows(known)
    found = []
    for name, factor in (("absurd", 20), ("missing", np.nan)):
        (tmp_path / name).mkdir()
        odd = [
            [*x[:10], x[10] / factor if i % 15 == 0 else x[10], x[11]] for i, x in enumerate(lines)
        ]
        write(tmp_path / name / "x.csv", odd)
        found.append(calibrate(tmp_path / name, known).fits[0])
    absurd, missing = (f.calibration for f in found)
    sd = np.sqrt(np.diag(missing.covariance))
    assert np.all(np.abs(absurd.vector - missing.vector) < 0.6 * sd)
    assert absurd["step"] == pytest.approx(TRUTH["step"], rel=0.25)
    assert absurd["memory"] == pytest.approx(TRUTH["memory"], rel=0.15)
    assert absurd.residual < 1.3 * missing.residual


def test_rows_of_a_model_err_together_and_intervals_know(known, tmp_path):
    """Every model is off by a few percent of its own: a model not among the rows is foreseen."""
    off = {"llama-2-7b": 1.04, "llama-3-8b": 0.96, "qwen2-7b": 1.03, "llama-3-70b": 0.95}
    lines = [
        [*x[:9], x[9] * off[x[3]], x[10] * off[x[3]], "", "heldout" if "70b" in x[3] else "calib"]
        for x in rows(known, noise=0.01)
    ]
    write(tmp_path / "x.csv", lines, (*HEADINGS, "split"))
    fit = calibrate(tmp_path, known).fits[0]
    assert fit.held_out is not None and fit.held_out.ape_p50 < 0.09
    assert 0.03 < fit.calibration.residual < 0.09
    shelf = replace(known, calibration=lambda machine, engine: fit.calibration)
    found = validate(tmp_path, shelf)
    assert all(g.coverage_80 > 0.5 for g in found.groups)


def test_rows_of_a_version_err_together_and_who_names_it_has_its_price(known, tmp_path):
    """A later version is a tenth faster: its rows say so, and those of no version widen."""
    speed = {"0.6": 1.06, "0.7": 0.96}
    lines = []
    for i, x in enumerate(rows(known, noise=0.01)):
        version = "0.7.1" if i % 3 else "0.6.4"
        off = speed[version[:3]]
        lines.append([*x[:2], version, *x[3:9], x[9] * off, x[10] * off, ""])
    write(tmp_path / "x.csv", lines)
    (fit,) = calibrate(tmp_path, known).fits
    cal = fit.calibration
    assert set(cal.offsets["version"]) == {"0.6", "0.7"}
    (old, _), (new, _) = (cal.offsets["version"][v] for v in ("0.6", "0.7"))
    assert old - new == pytest.approx(np.log(1.06 / 0.96), abs=0.02)
    assert cal.of(version="0.7.1").residual < cal.residual
    assert fit.held_out is not None and fit.held_out.ape_p50 < 0.015


def test_a_model_of_one_version_and_that_version_share_what_rows_say():
    """Two models, each of a version of its own, 0.2 to either side: who is odd nobody knows."""
    rows = [np.arange(100), np.arange(100, 200)]
    groups = [_Group(kind, f"{i}", r) for kind in ("model", "version") for i, r in enumerate(rows)]
    gaps = np.repeat([0.2, -0.2], 100)
    wide = _Offsets(np.zeros(4), np.array([0.10, 0.10, 0.05, 0.05]) ** 2)
    found = _offsets(gaps, np.full(200, 0.05), groups, wide)
    np.testing.assert_allclose(found.mean, [0.16, -0.16, 0.04, -0.04], atol=0.002)
    # What both say together is known, and neither alone.
    np.testing.assert_allclose(np.sqrt(found.variance), 0.045, atol=0.002)


def test_rows_that_state_much_say_little_of_the_scatter():
    rng = np.random.default_rng(0)
    gaps = rng.normal(0, 0.1, 200)
    stated = np.concatenate([gaps, rng.normal(0, 0.1, 2000)])
    sigma = np.concatenate([np.zeros(200), np.full(2000, 0.5)])
    assert _scatter(stated, sigma) == pytest.approx(_scatter(gaps, np.zeros(200)), rel=0.25)


def test_a_version_moves_every_time_by_one_factor(known):
    offsets = {"version": {"0.7": (0.05, 0.01)}}
    cal = replace(truth(), spreads={"version": 0.08}, offsets=offsets, residual=0.1)
    steps = prepare(grid(known, "h100-sxm", "vllm-0.6", "llama-3-8b", SHAPES))
    any_version, named = seconds(steps, cal), seconds(steps, cal.of(version="0.7.3"))
    for name in ("ttft", "tpot"):
        ratio = getattr(named, name) / getattr(any_version, name)
        np.testing.assert_allclose(ratio, np.exp(0.05), rtol=0.01)
    assert cal.of(version="0.7.3").residual == pytest.approx((0.1**2 - 0.08**2 + 0.01**2) ** 0.5)
    assert cal.of(version="0.8") is cal


def test_a_handful_of_rows_corrects_what_is_known(known, tmp_path):
    """Of machines as far from the known one as its covariance says."""
    start = known.calibration(known.machines["h100-sxm"], "vllm-0.6")
    before = Prior.of(start)
    steps = prepare(grid(known, "h100-sxm", "vllm-0.6", "llama-3-8b", SHAPES))
    most = np.where([p[2] for p in PARAMETERS.values()], 0.0, np.inf)
    gaps = []
    for seed in range(4):
        drawn = np.random.default_rng(seed).multivariate_normal(before.mean, before.covariance)
        true = start.at(np.minimum(drawn, most))
        seen = true.of("llama-3-8b", "0.6")
        write(tmp_path / "x.csv", rows(known, models=("llama-3-8b",), true=seen)[::4])
        (fit,) = calibrate(tmp_path, known, everything=True, update=True).fits
        assert fit.held_out is None
        assert np.all(np.sqrt(np.diag(fit.calibration.covariance)) <= before.sd * 1.001)
        took, *said = (
            seconds(steps, c.of("llama-3-8b", "0.6")).e2e for c in (true, start, fit.calibration)
        )
        gaps.append([np.median(np.abs(np.log(x / took))) for x in said])
    first, last = np.mean(gaps, axis=0)
    assert last < 0.6 * first


def test_what_is_known_of_models_and_versions_is_a_prior_of_an_update():
    """Rows about one model: in closed form, as nothing else moves; others stay as they were."""
    known = {"model": {"a": (0.2, 0.05), "b": (-0.1, 0.02)}, "version": {"0.7": (0.1, 0.03)}}
    still = replace(
        Prior.of(truth()), covariance=np.eye(len(NAMES)) * 1e-12, spreads={"model": 0.1},
        offsets=known,
    )  # fmt: skip
    rows = Observed(np.full(9, np.exp(0.3)), lambda cal: np.ones(9), np.zeros(9), "x", model="a")
    found = maximise([rows], still)
    mean, sd = found.offsets["model"]["a"]
    assert 0.2 < mean < 0.3 and sd < 0.05
    weight = sd**2 / 0.05**2  # of what was known
    assert mean == pytest.approx(weight * 0.2 + (1 - weight) * 0.3, rel=1e-3)
    assert found.offsets["model"]["b"] == known["model"]["b"]
    assert found.offsets["version"] == known["version"]
    fresh = maximise([rows], replace(still, offsets={}, spreads={})).offsets["model"]
    assert set(fresh) == {"a"} and fresh["a"][0] > mean


def test_what_rows_do_not_tell_stays_prior_and_is_said(fits):
    cal = fits.calibrations[0]
    before = prior_of("grouped")  # none of the models has experts
    assert cal["grouped"] == pytest.approx(before, rel=0.02)
    assert any("grouped" in note for note in cal.notes)


def prior_of(name):
    return first_principles("", "")[name]


def test_a_products_ceiling_centres_its_share(known):
    at = NAMES.index("matrix")
    slow, fast = (prior(known.machines[m]).mean[at] for m in ("mi300x", "a100-80gb"))
    assert slow < fast < 0


def test_rows_state_scatter_once():
    gaps = np.random.default_rng(0).normal(0, 0.1, 4000)
    assert _scatter(gaps, np.zeros(4000)) == pytest.approx(0.1, rel=0.05)
    assert _scatter(gaps, np.full(4000, 0.08)) == pytest.approx(0.06, rel=0.15)
    wild = np.append(gaps, [50.0] * 3)
    assert _scatter(wild, np.zeros(4003)) == pytest.approx(0.1, rel=0.1)


def test_too_few_rows(known, tmp_path):
    write(tmp_path / "x.csv", rows(known, models=("llama-3-8b",))[:1])
    with pytest.raises(InputError, match="fewer than 4 rows"):
        calibrate(tmp_path, known)
    lines = rows(known, models=("llama-3-8b",))
    write(tmp_path / "x.csv", [["Abacus", *line[1:]] for line in lines])
    with pytest.raises(InputError, match="unknown machine 'Abacus'"):
        calibrate(tmp_path, known)


def test_written_and_read_it_prices_the_same(fits, known, tmp_path):
    cal = fits.calibrations[0]
    write_calibrations([cal], tmp_path / "c.toml")
    (back,) = load(tmp_path / "c.toml")
    rounded = {n: getattr(back, n) for n in ("residual", "spreads", "offsets")}
    assert replace(back, covariance=(), values={}) == replace(
        cal, covariance=(), values={}, **rounded
    )
    assert back.of("llama-3-8b").vector == pytest.approx(cal.of("llama-3-8b").vector, rel=1e-4)
    assert back.values == pytest.approx(dict(cal.values), rel=1e-5)
