"""What follows from a machine's facts, against arithmetic done by hand."""

from __future__ import annotations

import pytest

from maquette.catalogue.machines import machine, names, system
from maquette.errors import InputError, UnknownName
from maquette.machines.checks import facts
from maquette.machines.describe import describe
from maquette.machines.facts import (
    bandwidth,
    capacity,
    link,
    native,
    peak,
    ridge,
    tier,
    totals,
    width,
)


def test_peak_and_ceiling() -> None:
    h100 = machine("h100")
    assert peak(h100, "bf16") == 989e12
    assert peak(h100, "bf16", "ceiling") == 794e12
    with pytest.raises(InputError, match=r"has no nvfp4 matrix rate.*bf16, f16, tf32, fp8, int8"):
        peak(h100, "nvfp4")
    with pytest.raises(InputError, match=r"no measured int8 ceiling.*bf16, fp8"):
        peak(h100, "int8", "ceiling")
    with pytest.raises(InputError, match="none published"):
        peak(machine("matx-one"), "bf16")
    with pytest.raises(InputError, match="mxint8, mxint4, mxint16"):
        peak(machine("corsair"), "bf16")


def test_ridge_of_other_formats_and_tiers() -> None:
    h100 = machine("h100")
    assert ridge(h100, "fp8") == pytest.approx(1979 / (2 * 3.35))
    assert ridge(h100, "bf16", "l2") == pytest.approx(989 / 6.2)
    assert ridge(machine("groq"), "int8") == pytest.approx(4.7, rel=0.01)
    assert ridge(machine("sn40l"), "bf16", "ddr") == pytest.approx(3190)


@pytest.mark.parametrize(
    ("fmt", "size"),
    [("f32", 4), ("tf32", 4), ("bf16", 2), ("fp8", 1), ("bfp8", 1), ("mxfp6", 0.75), ("int4", 0.5)],
)
def test_width(fmt: str, size: float) -> None:
    assert width(fmt) == size


def test_width_of_nonsense() -> None:
    with pytest.raises(InputError):
        width("bool")


def test_native_format() -> None:
    found = {n: native(machine(n)) for n in ("h100", "corsair", "groq", "matx-one")}
    assert found == {"h100": "bf16", "corsair": "mxint8", "groq": "f16", "matx-one": ""}


def test_tier_capacity_and_bandwidth() -> None:
    h100 = machine("h100")
    assert capacity(h100) == 81559 * 2**20  # what software sees, not the label
    assert capacity(machine("gb200")) == 186e9  # the label, where nothing else is known
    assert bandwidth(machine("sn40l"), "ddr") == 200e9
    with pytest.raises(UnknownName, match="did you mean hbm"):
        tier(h100, "hbn")
    with pytest.raises(InputError, match=r"matx-one: tiers\.hbm: its bandwidth is not published"):
        bandwidth(machine("matx-one"), "hbm")


def test_totals_of_a_node() -> None:
    assert totals(system("h100x8"))["hbm"] == (640e9, pytest.approx(26.8e12))
    assert totals(system("sn40l-node"))["sram"] == (pytest.approx(4.16e9), None)


def test_the_link_of_a_group() -> None:
    h100, pcie = machine("h100"), machine("h100-pcie")
    assert link(h100, 1) is None
    assert link(h100, 2) is link(h100, 8) is h100.links["scale_up"]
    assert link(h100, 9) is h100.links["scale_out"]
    assert link(pcie, 2) is pcie.links["bridge"]
    assert link(pcie, 3) is pcie.links["scale_up"]
    gb200 = machine("gb200")
    assert link(gb200, 72) is gb200.links["scale_up"]
    assert link(gb200, 73) is gb200.links["scale_out"]
    with pytest.raises(InputError, match="no link of it joins 2 devices"):
        link(machine("sn50"), 2)


@pytest.mark.parametrize("name", names())
def test_a_description_shows_every_fact_with_its_unit(name: str) -> None:
    found = machine(name)
    rows = describe(found)
    sourced = [r for r in rows if r.source]
    shown = [f for path, f in facts(found) if not path.startswith("systems.")]
    assert len(sourced) == len(shown)
    assert {(r.kind, r.source, r.note) for r in sourced} == {
        (f.kind, f.source, f.note) for f in shown
    }
    for row in sourced:
        if row.name != "units" and row.section != "fabric":  # counts
            assert row.value[-1].isalpha(), f"{row.name} has no unit: {row.value}"


def test_a_description_reads_well() -> None:
    rows = {(r.section, r.name): r for r in describe(machine("h100"))}
    assert rows["memory", "hbm bandwidth"].value == "3.35 TB/s"
    assert rows["compute", "matrix int8"].value.endswith("OP/s")
    assert "FLOP" not in rows["compute", "matrix int8"].value
    assert rows["links", "scale_up domain"].value == "8"
    assert rows["price", "low"].value == "1.38 USD/h"
    assert rows["serial", "launch"].value == "3 us"
    assert rows["derived", "node hbm"].value == "640 GB, 26.8 TB/s"
    assert rows["derived", "ridge bf16"].value == "batch 295"
    changed = machine("h100", ["machine.hbm.bandwidth=4 TB/s"])
    row = next(r for r in describe(changed) if r.name == "hbm bandwidth")
    assert (row.value, row.kind, row.source) == ("4 TB/s", "what-if", "--set")
