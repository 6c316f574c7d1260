"""Measured rates are kept beside the kernels, and anything that is not such a file is ignored."""

from __future__ import annotations

import json

import pytest

from maquette.catalogue.machines import machine as from_file
from maquette.catalogue.write_machines import text
from maquette.machines.checks import check
from maquette.price.seconds import priceable
from maquette.run import host, measured
from maquette.run.ceilings import Ceiling, Ceilings
from maquette.run.ceilings_machine import machine
from maquette.run.timing import Spread


def fact(name: str, value: float, unit: str) -> Ceiling:
    return Ceiling(name, host.processor().threads, Spread(value, value, value, 5), unit)


@pytest.fixture
def found() -> Ceilings:
    streams = {"l1": 600e9, "l2": 200e9, "l3": 50e9, "memory": 25e9}
    ceilings = [fact("fma", 300e9, "FlopPerSecond"), fact("vector", 150e9, "FlopPerSecond")]
    ceilings += [
        fact(f"{kind} {tier}", rate, "BytesPerSecond")
        for tier, rate in streams.items()
        for kind in ("read", "write", "copy")
    ]
    ceilings += [fact("launch", 2e-6, "Seconds"), fact("matmul 512", 310e9, "FlopPerSecond")]
    return Ceilings(host.processor(), tuple(ceilings), "a library", "2026-11-21")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MAQUETTE_CACHE", str(tmp_path))


def test_rates_go_by_rule_until_some_are_kept(found):
    assert measured.processor() == host.processor()
    assert measured.kept() == ""
    measured.keep(found)
    assert measured.processor().fma == 300e9
    assert measured.processor().launch == 2e-6
    assert measured.processor().l2 == host.processor().l2
    assert measured.kept() == "2026-11-21"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"fma": 1.0}', '{"fma": "fast"}'])
def test_a_spoilt_file_is_no_file(found, content):
    measured.keep(found).write_text(content)
    assert measured.processor() == host.processor()


def test_a_rate_that_cannot_be_is_refused(found):
    path = measured.keep(found)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fma": -1.0}))
    assert measured.processor() == host.processor()


def test_the_machine_file_loads_strictly_and_can_be_priced(found, tmp_path):
    made = machine(found, "mine")
    assert not check(made)
    path = tmp_path / "mine.toml"
    path.write_text(text(made, "heading"))
    assert from_file(str(path)) == made
    priceable(made)


def test_a_library_that_beat_the_peak_is_the_peak(found):
    made = machine(found)
    assert made.compute.matrix["f32"].value == made.compute.ceiling["f32"].value == 310e9


def test_a_slow_spell_in_a_near_tier_makes_no_contradiction(found):
    slow = tuple(fact(c.name, 10e9, c.unit) if c.name.endswith(" l3") else c for c in found.found)
    made = machine(Ceilings(found.processor, slow, "a library", "2026-11-21"), "mine")
    assert not check(made)
    assert next(iter(made.tiers)) == "l1"
    near, far = (made.tiers[t].bandwidth for t in ("l3", "memory"))
    assert near is not None and far is not None
    assert near.value == far.value == 25e9
