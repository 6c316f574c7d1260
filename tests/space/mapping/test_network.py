"""Analytic cycles of a section against its simulation."""

from __future__ import annotations

import pytest

from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.models.decoder import program
from maquette.space.mapping import Options, mapped, part
from maquette.space.mapping.network import simulate_section


@pytest.fixture(scope="module")
def layer():
    return program(model("llama-3.1-8b")).parts["dense"]


@pytest.mark.parametrize(
    "sizes, sockets, cuts, tolerance",
    [
        ({"b": 1, "s": 1, "t": 4096}, 8, None, 0.001),
        ({"b": 16, "s": 1, "t": 4096}, 8, (), 0.001),
        ({"b": 1, "s": 2048, "t": 2048}, 8, (), 0.002),
        ({"b": 4, "s": 512, "t": 512}, 8, (), 0.002),
    ],
)
def test_cycles_are_those_of_the_simulation(layer, sizes, sockets, cuts, tolerance):
    chip = machine("sn40l")
    found = mapped(part(layer, sizes, sockets), chip, Options(cuts=cuts))
    for section in found.sections:
        run = simulate_section(section, chip)
        assert run.result.deadlock is None
        assert abs(run.error) < tolerance
        for tier, moved in section.traffic.items():
            assert run.result.bytes[tier] == pytest.approx(moved.total, rel=1e-3)


def test_the_slowest_stage_is_busy_and_the_others_wait(layer):
    chip = machine("sn40l")
    found = mapped(part(layer, {"b": 1, "s": 2048, "t": 2048}, 8), chip, Options(cuts=()))
    run = simulate_section(found.sections[0], chip)
    slowest = max(found.sections[0].shares, key=lambda s: s.cycles).stage.name
    assert run.utilisation[slowest] == max(run.utilisation.values()) > 0.9
    assert {"starved", "blocked"} & set(run.stalls.values())
