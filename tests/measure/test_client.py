"""The client sends what it should, when it should, and keeps the times of an engine it knows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maquette.errors import InputError, NotYet
from maquette.measure import client
from maquette.measure.client import SPECIAL, Server, drive
from maquette.measure.record import document
from maquette.measure.trials import Trial
from maquette.traffic.spec import generate, synthetic
from maquette.validate.runs.folder import read
from maquette.validate.runs.types import Said
from measure.fake_engine import fake_engine


def test_times_are_those_of_the_engine():
    spec = synthetic(input_tokens=12, output_tokens=5, concurrency=1, distribution="fixed")
    with fake_engine(first=0.06, gap=0.02) as (url, seen):
        got = drive(Server(url, "m", 1000), generate(spec, 4))
    # Sleeps are never short, events may come together, and how late is up to this machine.
    assert got.done.all() and not got.failures
    assert (got.ttft_s >= 0.06).all() and (got.e2e_s > got.ttft_s).all()
    assert (got.e2e_s >= 0.06 + 4 * 0.02 - 1e-3).all()
    assert len(got.gaps_s) == 4 * 4
    assert got.gaps_s.sum() == pytest.approx((got.e2e_s - got.ttft_s).sum())
    assert got.output_tokens.tolist() == [5] * 4
    assert got.seconds >= 4 * (0.06 + 4 * 0.02)
    prompts = [tuple(b["prompt"]) for b in seen.bodies]
    assert len(set(prompts)) == 4 and {len(p) for p in prompts} == {12}
    assert all(SPECIAL <= t < 1000 for p in prompts for t in p)
    assert all(b["ignore_eos"] and b["stream"] and b["max_tokens"] == 5 for b in seen.bodies)


def test_clients_of_a_closed_loop_wait_for_their_answers():
    spec = synthetic(input_tokens=8, output_tokens=3, concurrency=3, distribution="fixed")
    with fake_engine(gap=0.005) as (url, seen):
        got = drive(Server(url, "m", 1000), generate(spec, 9))
    assert seen.most == 3 and len(seen.bodies) == 9
    assert not got.late_s.any()


def test_an_open_loop_sends_at_its_times_whatever_the_engine_does():
    spec = synthetic(
        input_tokens=8, output_tokens=2, rate=50, distribution="fixed", process="constant"
    )
    requests = generate(spec, 8)
    with fake_engine(first=0.4) as (url, seen):
        got = drive(Server(url, "m", 1000), requests)
    assert seen.most == 8  # the first was still waiting when the last was sent
    np.testing.assert_allclose(got.sent_s, requests.arrival_ns / 1e9, atol=0.25)
    assert (got.late_s > -1e-3).all()


def test_failures_are_kept_apart():
    spec = synthetic(input_tokens=8, output_tokens=2, concurrency=1, distribution="fixed")
    with fake_engine(broken={1}) as (url, _):
        got = drive(Server(url, "m", 1000), generate(spec, 3))
    assert got.done.tolist() == [True, False, True]
    assert got.failures == ("HTTP 500: out of memory",)
    with fake_engine(silent=True) as (url, _), pytest.raises(InputError, match="without tokens"):
        drive(Server(url, "m", 1000), generate(spec, 2))
    with pytest.raises(InputError, match="none of 2 requests was answered"):
        drive(Server("http://127.0.0.1:9", "m", 1000), generate(spec, 2))


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "aiohttp", None)
    with pytest.raises(NotYet, match=r"maquette\[measure\]"):
        client.available()


def test_a_result_reads_back_as_the_benchmark_of_vllm(tmp_path):
    spec = synthetic(input_tokens=8, output_tokens=3, rate=40, cv=0.4)
    trial = Trial("rate", spec, 6, seed=5)
    with fake_engine(broken={2}) as (url, _):
        got = drive(Server(url, "m", 1000), trial.stream())
    data = document(trial, got, "2026-01-01") | {"num_prompts": 5}  # 1 of 20 may fail, not of 6
    (tmp_path / "run.json").write_text(json.dumps(data))
    (run,) = read(tmp_path, Said(model="llama-3.1-8b", on="h100", engine="vllm")).runs
    assert run.load.rate == 40
    assert run.measured["ttft", "mean"] == pytest.approx(np.nanmean(got.ttft_s), rel=1e-4)
    assert run.measured["e2e", "p99"] == pytest.approx(np.nanpercentile(got.e2e_s, 99), rel=1e-4)
    assert run.measured["itl", "mean"] == pytest.approx(got.gaps_s.mean(), rel=1e-4)
    inputs, outputs = run.load.listed
    assert inputs.tolist() == got.input_tokens[got.done].tolist()
    assert outputs.tolist() == got.output_tokens[got.done].tolist()
    sent = got.sent_s[got.done]
    np.testing.assert_allclose(run.load.sent_ns / 1e9, sent - sent.min(), atol=2e-6)
