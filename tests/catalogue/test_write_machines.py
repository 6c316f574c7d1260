"""What is written of a machine reads back as that machine."""

from __future__ import annotations

import tomllib

import pytest

from maquette.catalogue.loader import structure
from maquette.catalogue.machines import machine, names
from maquette.catalogue.write_machines import text
from maquette.machines.types import Machine


@pytest.mark.parametrize("name", names())
def test_every_machine_of_the_catalogue_survives_the_round_trip(name):
    held = machine(name)
    assert structure(Machine, tomllib.loads(text(held))) == held


def test_quantities_have_no_more_digits_than_they_need():
    assert '"3.35 TB/s"' in text(machine("h100-sxm"))
