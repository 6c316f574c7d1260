"""A campaign keeps each result as soon as it has it, and goes on where it was interrupted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maquette.catalogue.loader import structure
from maquette.measure import campaign as module
from maquette.measure.campaign import PROBED, campaign, deployment, pending
from maquette.measure.client import Answers, Server
from maquette.measure.trials import AGAIN, SHAPES, SHARES, capacity, trials
from maquette.validate.runs.types import Said
from measure.fake_engine import fake_engine


def answered(requests):
    """An engine that takes a second for everything."""
    n = len(requests)
    one = np.ones(n)
    return Answers(
        sent_s=requests.arrival_ns / 1e9, ttft_s=0.2 * one, e2e_s=one,
        input_tokens=requests.input_tokens, output_tokens=requests.output_tokens,
        gaps_s=0.05 * np.ones(3 * n), late_s=0 * one, seconds=float(n), failures=(),
    )  # fmt: skip


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder, how results get there, and the trials that were driven."""
    driven = []

    def drive(server, requests, progress):
        driven.append(len(requests))
        return answered(requests)

    monkeypatch.setattr(module, "drive", drive)
    return tmp_path, lambda name, text: (tmp_path / name).write_text(text), driven


def test_loads_reach_from_idle_to_beyond_capacity():
    found = trials(1600.0, 10.0)
    rates = [
        float(t.spec.rate) for t in found if t.name.startswith("rate") and "again" not in t.name
    ]
    np.testing.assert_allclose(rates, [s * 1600 / sum(SHAPES[0]) for s in SHARES])
    assert {t.name for t in found if "again" in t.name} == {f"{n} again" for n in AGAIN}
    assert len({t.name for t in found}) == len(found) == 14
    assert all(t.requests >= 20 for t in found)


def test_capacity_counts_what_was_answered():
    requests = trials(1000.0, 1.0)[0].stream()
    seen = answered(requests)
    tokens = int((requests.input_tokens + requests.output_tokens).sum())
    assert capacity(seen) == pytest.approx(tokens / len(requests))


def test_an_interrupted_campaign_goes_on_with_the_same_loads(kept):
    folder, keep, driven = kept
    server = Server("http://nowhere", "m", 1000)
    assert pending(folder, 2.0)
    campaign(server, 4, 2.0, folder, keep, "2026-01-01")
    names = sorted(p.name for p in folder.glob("*.json"))
    assert len(names) == 14 and len(driven) == 2 + 14 and not pending(folder, 2.0)
    before = {n: (folder / n).read_text() for n in names}
    for gone in names[3:5]:
        (folder / gone).unlink()
    assert pending(folder, 2.0)
    driven.clear()
    campaign(server, 4, 2.0, folder, keep, "2026-01-01")
    assert len(driven) == 1 + 2  # the warm-up, and what was missing
    assert {n: (folder / n).read_text() for n in names} == before
    assert float((folder / PROBED).read_text()) > 0


def test_a_crash_loses_the_trial_under_way_only(kept, monkeypatch):
    folder, keep, driven = kept
    inner = module.drive

    def failing(server, requests, progress):
        if len(driven) == 5:
            raise KeyboardInterrupt
        return inner(server, requests, progress)

    monkeypatch.setattr(module, "drive", failing)
    with pytest.raises(KeyboardInterrupt):
        campaign(Server("http://nowhere", "m", 1000), 4, 2.0, folder, keep, "2026-01-01")
    held = list(folder.glob("*.json"))
    assert len(held) == 3 and all(json.loads(p.read_text())["completed"] for p in held)


def test_a_whole_campaign_over_http(tmp_path):
    """Every trial against an engine that answers at once, however many there are."""
    with fake_engine(first=0.001, gap=0.0) as (url, seen):
        campaign(
            Server(url, "m", 1000), 2, 0.05, tmp_path,
            lambda name, text: (tmp_path / name).write_text(text), "2026-01-01",
        )  # fmt: skip
    assert len(list(tmp_path.glob("*.json"))) == 14
    assert len(seen.bodies) >= 14 * 20


def test_what_was_deployed_reads_back():
    import tomllib

    said = {"model": "a", "on": "./b.toml", "tp": 2, "kv_blocks": None, "prefix_caching": False}
    found = structure(Said, tomllib.loads(deployment(said)))
    assert found == Said(model="a", on="./b.toml", tp=2, prefix_caching=False)
