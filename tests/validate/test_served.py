"""Serving rows can be fitted to: simulations find the constants that made them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.price.calibration import CLIENT, NAMES, first_principles, stacked
from maquette.validate.calibrate import calibrate
from maquette.validate.cases import resolve
from maquette.validate.rows import read
from maquette.validate.served import served
from maquette.validate.serving import run_of, seen
from maquette.validate.static import prepare, seconds
from validate.synthetic import SHAPES, grid, truth

CLOSED = (
    "hardware,engine,version,model,tp,concurrency,requests,input_tokens,output_tokens,"
    "ttft_mean_s,tpot_mean_s\n"
)
OFFLINE = (
    "hardware,engine,model,tp,devices,requests,input_tokens,output_tokens,lengths,"
    "output_tokens_per_s\n"
)
LOADS = [(c, i, o) for c in (1, 8, 48) for i, o in ((256, 128), (1500, 200))]


def measured(known, tmp_path, name, text, lines, true=None):
    """A folder of rows whose values are what a client of the true machine sees."""
    path = tmp_path / name
    path.write_text(text + "".join(line.format(1, 1) for line in lines))
    cases = resolve(read(tmp_path).tables[0], known)
    done = []
    for i, line in enumerate(lines):
        run = run_of(cases, cases.subject[i], i, known)
        told = seen(run, known, true or truth(engine="vllm"))
        if name.startswith("closed"):
            done.append(line.format(told["ttft", "mean"], told["tpot", "mean"]))
        else:
            done.append(line.format(told["rate", "mean"]))
    path.write_text(text + "".join(done))
    return tmp_path


def closed(known, tmp_path):
    lines = [
        f"H100,vllm,0.10,{model},1,{c},{6 * c},{i},{o},{{}},{{}}\n"
        for model in ("llama-3-8b", "qwen2-7b")
        for c, i, o in LOADS
    ]
    return measured(known, tmp_path, "closed.csv", CLOSED, lines)


def test_a_loop_of_clients_tells_the_constants(known, tmp_path):
    """Of more than a tenth some percent remain, with priors still at work."""
    folder = closed(known, tmp_path)
    (fit,) = calibrate(folder, known, everything=True).fits
    cases = resolve(read(folder).tables[0], known)
    before = _gaps(cases, known, first_principles("h100-sxm", "vllm"))
    assert np.median(before) > 0.10
    assert np.median(_gaps(cases, known, fit.calibration)) < 0.02
    assert fit.fitted.ape_p50 < 0.02


def test_a_rate_below_and_a_time_above_say_the_same_of_a_model(known, tmp_path):
    """Offsets are of times: a model that is slow all at once has a positive one."""
    lines = [
        f"H100,vllm,{model},1,1,{n},256,{out},pinned,{{}}\n"
        for model in ("llama-3-8b", "qwen2-7b", "mistral-7b")
        for n, out in ((16, 64), (32, 64), (64, 128))
    ]
    folder = measured(known, tmp_path, "offline.csv", OFFLINE, lines)
    text = (folder / "offline.csv").read_text().splitlines()
    for i, line in enumerate(text):
        *head, rate = line.split(",")
        if "qwen2-7b" in line:
            text[i] = ",".join([*head, str(float(rate) / 1.15)])
    (folder / "offline.csv").write_text("\n".join(text) + "\n")
    (fit,) = calibrate(folder, known, everything=True).fits
    off = {name: mean for name, (mean, _) in fit.calibration.offsets["model"].items()}
    others = (off["llama-3-8b"] + off["mistral-7b"]) / 2
    assert off["qwen2-7b"] - others == pytest.approx(np.log(1.15), abs=0.04)


def test_what_requests_take_outside_the_engine_is_told_by_first_tokens(known, tmp_path):
    """Time per token knows nothing of it; other constants are the prior's here."""
    slow = first_principles("h100-sxm", "vllm")
    slow = replace(slow, values={**slow.values, "request": 0.04})
    lines = [
        f"H100,vllm,0.10,llama-3-8b,1,{c},{6 * c},{i},{o},{{}},{{}}\n" for c, i, o in LOADS[:4]
    ]
    folder = measured(known, tmp_path, "closed.csv", CLOSED, lines, slow)
    (fit,) = calibrate(folder, known, everything=True).fits
    assert fit.calibration["request"] == pytest.approx(0.04, rel=0.25)
    assert fit.calibration["step"] == pytest.approx(slow["step"], rel=0.25)
    at = NAMES.index("request")  # of another client and server nobody knows it better than this
    assert np.sqrt(fit.calibration.covariance[at][at]) == pytest.approx(CLIENT)


def _gaps(cases, known, cal):
    found = []
    for subject, rows in cases.groups():
        own = cal.of(subject.model)
        now, _ = served(cases, subject, rows, known).settled(own)
        found.extend(np.abs(np.log(now.predict(own) / now.measured)))
    return np.array(found)


def test_where_rows_were_simulated_the_prediction_is_the_simulation(known, tmp_path):
    cases = resolve(read(closed(known, tmp_path)).tables[0], known)
    subject, rows = next(iter(cases.groups()))
    cal = truth(engine="vllm")
    now, _ = served(cases, subject, rows, known).settled(cal)
    assert now.predict(cal) == pytest.approx(now.measured, rel=1e-9)


def test_all_at_once_is_a_rate_of_the_devices_that_a_row_names(known, tmp_path):
    """Twice the devices at the same rate in all is half the rate of each."""
    lines = ["H100,vllm,llama-3-8b,1,1,64,256,64,pinned,{}\n"]
    folder = measured(known, tmp_path, "offline.csv", OFFLINE, lines)
    table = read(folder).tables[0]
    cases = resolve(table, known)
    ((subject, rows),) = cases.groups()
    one = served(cases, subject, rows, known)
    assert one.keys == [("rate", ("rate", "mean"))]
    assert one.settled(truth(engine="vllm"))[0].predict(truth(engine="vllm")) == pytest.approx(
        one.measured, rel=1e-9
    )


@pytest.mark.parametrize(("said", "spread"), [("pinned", 0.0), ("uniform_below", 1 / np.sqrt(3))])
def test_lengths_are_as_a_row_says(known, tmp_path, said, spread):
    (tmp_path / "x.csv").write_text(
        OFFLINE + f"H100,vllm,llama-3-8b,1,1,2000,400,100,{said},1000\n"
    )
    cases = resolve(read(tmp_path).tables[0], known)
    sent = run_of(cases, cases.subject[0], 0, known).requests.even[0]
    assert len(sent) == sent.concurrency == 2000
    assert sent.input_tokens.mean() == pytest.approx(400, rel=0.01)
    assert sent.input_tokens.std() / 400 == pytest.approx(spread, abs=0.02)


def test_requests_ahead_are_not_measured(known, tmp_path):
    """In a closed loop the wave in which all begin waits for its prompts; later ones wait less."""
    heads = CLOSED.replace("requests,", "requests,unmeasured_requests,", 1)
    text = heads + "".join(f"H100,vllm,0.10,llama-3-8b,1,32,96,{n},1500,200,1,1\n" for n in (0, 64))
    (tmp_path / "x.csv").write_text(text)
    cases = resolve(read(tmp_path).tables[0], known)
    with_all, later = (
        seen(run_of(cases, cases.subject[i], i, known), known, truth(engine="vllm")) for i in (0, 1)
    )
    assert later["ttft", "mean"] < 0.8 * with_all["ttft", "mean"]


def test_many_calibrations_in_one_walk_are_those_one_by_one(known):
    steps = prepare(grid(known, "h100-sxm", "vllm-0.6", "mixtral-8x7b", SHAPES))
    base = first_principles("h100-sxm", "vllm-0.6")
    cals = [base, *(base.at(base.vector - 0.1 * row) for row in np.eye(len(NAMES)))]
    together = seconds(steps, stacked(cals))
    for i, cal in enumerate(cals):
        alone = seconds(steps, cal)
        for name in ("ttft", "tpot", "e2e"):
            np.testing.assert_allclose(getattr(together, name)[i], getattr(alone, name), rtol=1e-12)


def test_fits_are_shared_where_nothing_of_them_is_held_out(known, folder):
    held = {}
    first = calibrate(folder, known, known=held)
    assert len(held) == len(first.fits)
    marked = {k: replace(v, held=replace(v.held, rows=-1, scatter=0.5)) for k, v in held.items()}
    again = calibrate(folder, known, known=marked)
    assert [f.calibration.residual for f in again.fits] == [0.5] * len(first.fits)
