"""A campaign on an engine with other constants: what was not fitted is predicted better."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from maquette import api
from maquette.measure.client import Answers
from maquette.measure.halves import _alternate, _lighter, judge, kind, weight
from maquette.measure.record import document
from maquette.measure.trials import trials
from maquette.price.calibration import NAMES
from maquette.report import measured as report
from maquette.report.document import dumps
from maquette.report.tables import write
from maquette.serve.simulate import simulate
from maquette.validate.runs.folder import read
from maquette.validate.runs.forward import points
from maquette.validate.runs.types import Said
from maquette.validate.shelf import shelf

SHIFT = {"matrix": -0.4, "memory": -0.1, "step": 1.0, "seq": 0.7, "attention": -0.4}
NOISE = 0.02
KEPT = ("rate 0.2", "rate 0.4", "rate 0.6", "rate 1.1", "clients 2", "clients 4")  # for speed
SAID = Said(
    model="llama-3.2-1b",
    on="h100",
    engine="vllm",
    version="0.32.0",
    tp=1,
    max_batched_tokens=512,
    max_seqs=32,
)


def answered(deployment, cal, trial, rng):
    """What a client of an engine with constants `cal` would see."""
    fleet = deployment.fleet(cal)
    trace = simulate(trial.stream(), fleet.replicas, deployment.plan.policy)
    noise = np.exp(rng.normal(0, NOISE))
    ttft = (trace.first_token_ns - trace.arrival_ns) / 1e9 * noise
    e2e = (trace.finish_ns - trace.arrival_ns) / 1e9 * noise
    many = trace.output_tokens > 1
    gaps = ((e2e - ttft)[many] / (trace.output_tokens[many] - 1)).repeat(
        trace.output_tokens[many] - 1
    )
    return Answers(
        trace.arrival_ns / 1e9, ttft, e2e, trace.input_tokens, trace.output_tokens, gaps,
        np.zeros(len(ttft)), float(trace.finish_ns.max() / 1e9), (),
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    policy = {"max_batched_tokens": 512, "max_seqs": 32}
    deployment = api.deployment(
        "llama-3.2-1b", "h100", engine="vllm", tp=1, replicas=1, policy=policy
    )
    moved = np.array([SHIFT.get(n, 0.0) for n in NAMES])
    truth = deployment.calibration.at(deployment.calibration.vector + moved)
    rng = np.random.default_rng(7)
    for trial in trials(30_000.0, 1.0):
        if not trial.name.startswith(KEPT):
            continue
        smaller = replace(trial, requests=min(trial.requests, 60))
        data = document(smaller, answered(deployment, truth, smaller, rng), "2026-01-01")
        (folder / f"{trial.name.replace(' ', '-')}.json").write_text(json.dumps(data))
    return read(folder, SAID).runs


@pytest.fixture(scope="module")
def judged(runs):
    return judge(runs, api.deployment, shelf(), "2026-01-01")


def test_both_ways_of_dealing_leave_whole_loads_out(runs):
    held = points(runs, api.deployment, shelf())
    for chosen in (_alternate(held), _lighter(held)):
        assert 0.35 * len(held) <= len(chosen) <= 0.65 * len(held)
        fitted = {held[i].condition for i in chosen}
        assert not fitted & {p.condition for i, p in enumerate(held) if i not in chosen}
        assert {kind(held[i]) for i in chosen} == {kind(p) for p in held}
    light = _lighter(held)
    for each in {kind(p) for p in held}:
        own = [i for i, p in enumerate(held) if kind(p) == each]
        mine = [weight(held[i]) for i in own if i in light]
        assert max(mine) < min(weight(held[i]) for i in own if i not in light)


def test_what_was_not_fitted_is_predicted(judged):
    for half in judged.halves:
        lines = {x.key: x for x in report.lines(half, judged.floors)}
        for key in (("e2e", "mean"), ("tpot", "mean")):
            assert lines[key].told.ape_p50 < 0.05
            assert lines[key].told.ape_p50 < lines[key].before.ape_p50
        assert lines["ttft", "mean"].told.ape_p50 < 0.12
        assert 0.5 <= np.mean([x.coverage for x in lines.values()]) <= 1.0
    heavier = {x.key: x for x in report.lines(judged.halves[1], judged.floors)}
    assert heavier["e2e", "mean"].told.ape_p90 < heavier["e2e", "mean"].between.ape_p90


def test_the_floor_is_of_loads_that_were_repeated(judged):
    assert set(judged.floors) >= {("ttft", "mean"), ("e2e", "mean")}
    assert all(0 <= f < 5 * NOISE for f in judged.floors.values())


def test_everything_can_be_shown(judged, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    data = json.loads(dumps(report.document(judged, "measured")))
    assert len(data["runs"]) == 8 and [h["split"] for h in data["halves"]] == [
        "alternate", "heavier",
    ]  # fmt: skip
    fitted, predicted = (set(data["halves"][0][k]) for k in ("fitted", "predicted"))
    assert not fitted & predicted and len(fitted | predicted) == 8
    write(report.tables(judged))
    text = capsys.readouterr().out
    assert "Absolute errors, heavier" in text and "rate-0.60-again" in text
    assert report.picture(judged).count("<svg") == 1
    assert judged.calibrations[0].date == "2026-01-01"
