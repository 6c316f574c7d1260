"""What-ifs: --set machine.hbm.bandwidth="4 TB/s"."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maquette.catalogue.machines import machine, system
from maquette.errors import InputError
from maquette.machines.facts import bandwidth, capacity, peak
from maquette.machines.types import Fact

BASE = machine("h100-sxm")


@pytest.mark.parametrize(
    "text",
    [
        "machine.hbm.bandwidth=4 TB/s",
        'machine.hbm.bandwidth="4 TB/s"',
        "machine.hbm.bandwidth = '4TB/s'",
        "machine.tiers.hbm.bandwidth=4000 GB/s",
    ],
)
def test_one_number_changes_and_nothing_else(text: str) -> None:
    changed = machine("h100", [text])
    assert bandwidth(changed) == 4e12
    new = changed.tiers["hbm"].bandwidth
    assert new is not None and (new.kind, new.source) == ("what-if", "--set")
    assert "datasheet" in new.note, "it remembers what it stands for"
    hbm = replace(changed.tiers["hbm"], bandwidth=BASE.tiers["hbm"].bandwidth)
    assert replace(changed, tiers={**changed.tiers, "hbm": hbm}) == BASE
    assert bandwidth(machine("h100")) == 3.35e12, "the catalogue's machine is untouched"


def test_many_kinds_of_path() -> None:
    changed = system(
        "h100x16",
        [
            "machine.links.scale_up.bandwidth=900 GB/s",
            "machine.links.scale_up.latency=2 us",
            "machine.links.scale_up.domain=16",
            "machine.node=16",
            "machine.compute.matrix.mxfp4=3 PFLOP/s",
            "machine.compute.units=264",
            "machine.serial.launch=1 us",
            "machine.power.tdp=1 kW",
            "machine.style=spatial",
            "machine.title=Twice",
        ],
    ).machine
    up = changed.links["scale_up"]
    assert (up.bandwidth.value, up.domain, changed.node) == (9e11, 16, 16)
    assert up.latency is not None and up.latency.value == pytest.approx(2e-6)
    assert peak(changed, "mxfp4") == 3e15
    assert changed.compute.units == Fact(
        264,
        "what-if",
        "--set",
        BASE.compute.units and "instead of datasheet: " + BASE.compute.units.source,
    )
    assert changed.power is not None and changed.power.tdp.value == 1000
    assert (changed.style, changed.title) == ("spatial", "Twice")


def test_what_was_measured_scales_with_the_peak() -> None:
    changed = machine("h100", ["machine.compute.matrix.bf16=1978 TFLOP/s"])
    ratio = peak(changed, "bf16", "ceiling") / peak(BASE, "bf16", "ceiling")
    assert ratio == pytest.approx(2)
    assert peak(changed, "fp8", "ceiling") == peak(BASE, "fp8", "ceiling")
    mesh = machine("mi300x", ["machine.links.scale_up.bandwidth=896 GB/s"]).links["scale_up"]
    assert mesh.pair_bandwidth is not None and mesh.pair_bandwidth.value == pytest.approx(128e9)


def test_a_capacity_that_is_set_is_the_one_that_counts() -> None:
    assert capacity(BASE) == 81559 * 2**20
    assert capacity(machine("h100", ["machine.hbm.capacity=160 GB"])) == 160e9


def test_a_price_that_is_set_has_no_market_range() -> None:
    price = machine("h100", ["machine.price.per_hour=9 USD/h"]).price
    assert price is not None
    assert (price.per_hour.value, price.low, price.high) == (9, None, None)
    assert machine("a40").price is None
    price = machine("a40", ["machine.price.per_hour=0.4 USD/h"]).price
    assert price is not None and price.per_hour.value == 0.4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("machine.hbm.bandwith=4 TB/s", "did you mean bandwidth?"),
        ("machine.hbn.bandwidth=4 TB/s", "did you mean hbm?"),
        ("machine.tiers.hbn.bandwidth=4 TB/s", "did you mean hbm?"),
        ("machine.links.scaleup.bandwidth=4 TB/s", "did you mean scale_up"),
        ("machine.compute.matrix.fp9=4 TFLOP/s", "did you mean fp8?"),
        ("machine.nodes=4", "did you mean node"),
        ("machine.hbm.bandwidth=4", "has no unit"),
        ("machine.hbm.bandwidth=4 Tb/s", "bits where bytes belong"),
        ("machine.hbm.bandwidth=fast", "is not a quantity"),
        ("machine.hbm.bandwidth=", "is not a quantity"),
        ("machine.hbm=4 TB/s", "is not one number; expected a path on to one of capacity"),
        ("machine.hbm.bandwidth.value=4 TB/s", "goes past a number"),
        ("machine.node.x=4", "goes past a value"),
        ("machine.node=four", "expected an integer"),
        ("machine.node=16", "links.scale_up.domain: joins 8 devices but a node has 16"),
        ("machine.hbm.bandwidth=-4 TB/s", "expected a positive number"),
        ("machine.main=l4", "'l4' is not a tier"),
        ("machine.power.idle=0 W", "expected a positive number"),
        ("machine.hbm.bandwidth", "is not a path and a value"),
        ("hbm.bandwidth=4 TB/s", "is not a path and a value"),
        ("machine.=4", "is not a path and a value"),
        ("machine=4", "is not a path and a value"),
    ],
)
def test_refuses_and_says_why(text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        machine("h100", [text])
    assert says in str(caught.value) and "--set" in str(caught.value)


def test_all_faults_of_all_overrides() -> None:
    with pytest.raises(InputError) as caught:
        machine("h100", ["machine.nodes=1", "machine.hbm.bandwidth=4", "machine.node=8"])
    assert len(caught.value.faults) == 2


def test_bold_what_ifs_are_allowed() -> None:
    bold = machine(
        "h100", ["machine.hbm.bandwidth=400 TB/s", "machine.compute.matrix.fp8=9 PFLOP/s"]
    )
    assert bandwidth(bold) == 400e12


def test_a_part_without_its_necessary_number() -> None:
    with pytest.raises(InputError, match="'tdp' to be set first"):
        machine("inferentia2", ["machine.power.idle=50 W"])
    both = machine("inferentia2", ["machine.power.tdp=200 W", "machine.power.idle=50 W"])
    assert both.power is not None and both.power.idle is not None
