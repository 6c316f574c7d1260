"""What clients saw beside simulations: how much of it is found again, and where it counts."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
from scipy.stats import norm

import maquette as mq
from maquette.catalogue.calibrations import load
from maquette.catalogue.write_calibrations import write
from maquette.errors import InputError
from maquette.price.calibration import OUTSIDE, first_principles
from maquette.price.interval import Z80
from maquette.search.evaluate import chance, doubt, figures, missed
from maquette.search.forecast import widened
from maquette.search.simulation import run
from maquette.search.types import Interval, Targets
from maquette.traffic import generate, synthetic
from maquette.validate.calibrate import calibrate
from maquette.validate.cases import resolve
from maquette.validate.rows import read
from maquette.validate.serving import run_of, seen, serving
from validate.test_served import CLOSED, measured

SPREAD = 0.6
KNOWN = {"closed ttft": 0.5, "open ttft": 0.2}


@pytest.fixture(scope="module")
def folder(known, tmp_path_factory):
    """Loops whose first tokens are late or early, as nothing of their rows says."""
    slow = first_principles("h100-sxm", "vllm")
    lines = [
        f"H100,vllm,0.10,{model},1,{c},{6 * c},{i},{o},{{}},{{}}\n"
        for model in ("llama-3-8b", "qwen2-7b", "mistral-7b", "qwen3-8b")
        for c, i, o in ((1, 300, 64), (4, 200, 64), (12, 900, 64), (24, 200, 100), (32, 900, 64))
    ]
    path = measured(known, tmp_path_factory.mktemp("rows"), "closed.csv", CLOSED, lines, slow)
    file = path / "closed.csv"
    head, *rows = file.read_text().splitlines()
    for i, line in enumerate(rows):
        *start, ttft, tpot = line.split(",")
        if start[5] != "1":
            rows[i] = ",".join([*start, f"{float(ttft) * np.exp(SPREAD * Z80 * (-1) ** i)}", tpot])
    file.write_text("\n".join([head, *rows]) + "\n")
    return path


def test_what_no_constant_explains_is_found(known, folder):
    """Part of it is scatter of the fit, which is of all its rows."""
    (fit,) = calibrate(folder, known, everything=True).fits
    cal, found = fit.calibration, fit.calibration.unexplained
    assert np.sqrt(cal.scatter + found["closed ttft"] ** 2) == pytest.approx(SPREAD, rel=0.15)
    assert found["closed ttft"] > 0.2 > 0.05 > found["closed tpot"]
    assert set(found) == {"closed ttft", "closed tpot"}


def test_it_widens_first_tokens_that_wait_and_no_others(known, folder):
    cases = resolve(read(folder).tables[0], known)
    subject, rows = next(iter(cases.groups()))
    cal = first_principles("h100-sxm", "vllm")
    more = replace(cal, unexplained=KNOWN)
    without, with_ = (dict(serving(cases, subject, rows, known, c)) for c in (cal, more))
    assert np.array_equal(without["tpot"].high, with_["tpot"].high)
    alone = cases.table.values("concurrency")[without["ttft"].rows] == 1
    low, high = (
        np.log(getattr(one["ttft"], side) / one["ttft"].predicted)
        for one, side in ((without, "high"), (with_, "high"))
    )
    assert np.allclose(high[alone], low[alone])
    assert np.allclose(high[~alone], np.hypot(low[~alone], Z80 * 0.5))


def test_a_file_keeps_it(tmp_path):
    cal = replace(first_principles("h100-sxm", "vllm"), unexplained=KNOWN)
    write([cal], tmp_path / "c.toml")
    (again,) = load(tmp_path / "c.toml")
    assert again.unexplained == KNOWN
    write([replace(cal, unexplained={"closed ttft": -1.0})], tmp_path / "c.toml")
    with pytest.raises(InputError, match=r"unexplained\.closed ttft"):
        load(tmp_path / "c.toml")


def test_the_chance_of_keeping_a_target_is_that_of_a_normal():
    held = mq.deployment("llama-3.1-8b", "h100-sxm")
    requests = generate(synthetic(rate=4, input_tokens=400, output_tokens=60), 60, seed=3)
    trace = run(held, requests).trace
    reached = figures(trace, 95.0)
    targets = Targets(reached["ttft_s"] * 1.3, reached["tpot_s"] * 1.01, 95.0)
    assert not missed(trace, targets) and chance(trace, targets, {}) == 1.0
    assert chance(trace, targets, KNOWN) == pytest.approx(norm.cdf(log(1.3) / 0.2))
    tight = replace(targets, tpot=reached["tpot_s"] * 0.99)
    assert missed(trace, tight) and chance(trace, tight, {}) == 0.0 == chance(trace, tight, KNOWN)


def test_an_interval_is_widened_about_its_point():
    told = widened(Interval(0.5, 3.0), 1.0, 0.4)
    assert log(told.high) == pytest.approx(np.hypot(log(3.0), 0.4 * Z80))
    assert log(told.low) == pytest.approx(-np.hypot(log(2.0), 0.4 * Z80))
    assert widened(Interval(0.5, 3.0), 1.0, 0.0) == Interval(0.5, 3.0)


def test_one_client_alone_waits_for_nobody():
    held = mq.deployment("llama-3.1-8b", "h100-sxm")
    few = generate(synthetic(rate=4, input_tokens=400, output_tokens=20), 20, seed=3)
    alone, two = (run(held, replace(few, concurrency=n)).trace for n in (1, 2))
    assert doubt(KNOWN, alone, "ttft_s") == 0.0
    assert doubt(KNOWN, two, "ttft_s") == KNOWN["closed ttft"]
    more = {**KNOWN, "closed tpot": 0.1, "closed rate": 0.07, "open rate": 0.1}
    assert doubt(more, alone, "tpot_s") == doubt(more, alone, "e2e_s") == 0.1
    assert doubt(more, alone, "output_tokens_per_s") == 0.07
    rate = run(held, generate(synthetic(rate=4, input_tokens=400, output_tokens=60), 60, seed=3))
    assert doubt(more, rate.trace, "output_tokens_per_s") == 0.0  # as many as are asked for


def test_rows_say_whether_a_server_stood_before_the_engine(known, tmp_path):
    head = CLOSED.replace("\n", ",http\n")
    line = "H100,vllm,0.10,llama-3-8b,1,16,96,300,64,1,1,{}\n"
    (tmp_path / "closed.csv").write_text(head + "".join(map(line.format, ("", "yes", "no", "?"))))
    cases = resolve(read(tmp_path).tables[0], known)
    runs = [run_of(cases, cases.subject[i], i, known) for i in range(4)]
    assert [r.streamed for r in runs[:3]] == [True, True, False]
    assert runs[3] == "http is neither yes nor no"
    cal = first_principles("h100-sxm", "vllm")
    first = [seen(r, known, cal)["tpot", "mean"] for r in runs[:3]]
    assert first[0] == first[1] != first[2]


def test_a_model_moves_no_server():
    cal = replace(
        first_principles("h100-sxm", "vllm"),
        spreads={"model": 0.2}, offsets={"model": {"m": (0.3, 0.1)}},
    )  # fmt: skip
    own = cal.of("m")
    assert own["step"] == pytest.approx(cal["step"] * np.exp(0.3))
    assert all(own[name] == pytest.approx(cal[name]) for name in OUTSIDE)
