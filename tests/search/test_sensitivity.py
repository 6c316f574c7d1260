"""Facts nobody vouches for: which a deployment depends on, and by how much."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import maquette as mq
from maquette.catalogue.machines import machine, names
from maquette.machines.checks import facts
from maquette.machines.doubts import doubtful, scaled, sentence
from maquette.search.sensitivity import doubts, step_figures, swings


@pytest.fixture(scope="module")
def corsair():
    return mq.deployment("llama-3.1-8b", "corsair-server")


def test_claims_that_a_price_uses_are_named(corsair):
    found = doubts(corsair)
    assert {f.kind for f in found.values()} == {"claim"}
    assert {"compute.matrix.mxint8", "tiers.sram.capacity", "tiers.sram.bandwidth"} <= set(found)
    unused = {"compute.matrix.mxint4", "tiers.lpddr.bandwidth", "links.scale_out.latency"}
    assert not unused & set(found) and unused <= set(doubtful(corsair.system.machine))


def test_weights_in_the_cold_tier_depend_on_it():
    assert "tiers.lpddr.bandwidth" in doubts(mq.deployment("llama-3.1-70b", "corsair"))


def test_a_gpu_that_was_measured_is_not_doubted():
    assert doubts(mq.deployment("llama-3.1-8b", "h100")) == {}


def test_a_fifth_less_bandwidth_is_what_it_says(corsair):
    """Against the price of a machine whose file says so."""
    found = {s.path: s for s in swings(corsair, step_figures(4, 1000))}
    value = machine("corsair").tiers["sram"].bandwidth.value * 0.8
    slower = mq.deployment(
        "llama-3.1-8b", "corsair-server",
        overrides=[f"machine.sram.bandwidth={value:.0f} B/s"],
    )  # fmt: skip
    measure = step_figures(4, 1000)
    expected = measure(slower)["decode_s"] / measure(corsair)["decode_s"]
    assert found["tiers.sram.bandwidth"].less["decode_s"] == pytest.approx(expected)
    assert found["tiers.sram.bandwidth"].more["decode_s"] < 1 < expected


def test_a_model_that_no_longer_fits_is_told():
    tight = mq.deployment("gemma-2-27b", "sn50")
    found = {s.path: s for s in swings(tight, step_figures(1, 1000))}
    assert np.isnan(found["tiers.hbm.capacity"].less["decode_s"])
    assert found["tiers.hbm.capacity"].more["decode_s"] == 1.0
    assert next(iter(found)) == "tiers.hbm.capacity"  # what matters most comes first


@pytest.mark.parametrize("name", ["corsair", "sn40l", "sn10"])
@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.5, 2.0))
def test_scaling_changes_one_fact_only(name, factor):
    before = dict(facts(machine(name)))
    for path in doubtful(machine(name)):
        after = dict(facts(scaled(machine(name), path, factor)))
        assert {p for p in before if after[p] != before[p]} <= {path}
        assert np.isclose(after[path].value, before[path].value * factor)


def test_every_doubt_of_the_catalogue_can_be_said():
    for name in names():
        found = doubtful(machine(name))
        assert all(path in sentence(found) for path in found)


def test_simulations_tell_it_too():
    found = mq.simulate(
        "llama-3.1-8b", "sn40lx16", traffic=mq.requests("chat", rate=1, requests=60),
        draws=0, sensitivity=True,
    )  # fmt: skip
    by = {s.path: s for s in found.swings}
    assert by["links.scale_up.bandwidth"].less["ttft_s"] > 1.05
    assert by["links.scale_up.latency"].more["tpot_s"] > 1.0
