"""Tiers of the catalogue's machines, and which experts fit where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maquette.catalogue.machines import machine, system
from maquette.errors import InputError
from maquette.plans.types import Infeasible
from maquette.serve.composition.tiers import Host, Placement, Tiers, place, tiers
from maquette.serve.composition.types import Swapping

GB = 10**9


def test_a_cold_tier_of_its_own():
    node = tiers(system("sn40l-node"), Host())
    assert (node.fast, node.cold, node.copy_rate) == (512e9, 12e12, 1e12)
    assert node.path == "ddr to hbm"


def test_the_rack_copies_an_8b_expert_in_ten_milliseconds():
    # Hot Chips 2024: 0.01 s at 1600 GB/s, 16 sockets of 100 GB/s, stated of a rack.
    rack = tiers(system("sn40l-rack", ["machine.ddr.copy=100 GB/s"]), Host())
    assert 2 * 8.03e9 / rack.copy_rate == pytest.approx(0.01, rel=0.01)


def test_a_hosts_memory_over_its_links():
    one = tiers(system("h100x8"), Host(links=1, memory=2e12))
    every = tiers(system("h100x8"), Host(memory=2e12))
    link = machine("h100").links["host"].bandwidth.value
    assert (one.copy_rate, every.copy_rate) == (link, 8 * link)
    assert one.fast == 640e9 and one.cold == 2e12
    assert tiers(system("h100x8"), Host(2, 32e9)).copy_rate == 64e9


def test_main_memory_that_is_the_cold_tier():
    only = tiers(system("sn10"), Host())
    assert only.cold == 0 and only.path == "ddr only"


def test_the_cold_tier_of_a_superchip():
    chip = machine("gh200")
    found = tiers(system("gh200"), Host())
    rate = chip.tiers["grace"].bandwidth or chip.links["host"].bandwidth
    assert found.cold == 480e9 and found.copy_rate == rate.value


@pytest.mark.parametrize(
    ("name", "host", "said"),
    [
        ("sn40l", Host(memory=1e12), "has a cold tier of its own"),
        ("h100x8", Host(links=9), "9 links for 8 devices"),
        ("h100", Host(links=2), "2 links for 1 device;"),
    ],
)
def test_contradictions(name, host, said):
    with pytest.raises(InputError, match=said):
        tiers(system(name), host)


def test_a_machine_without_a_host_link():
    bare = next(
        m for m in map(machine, ("groq-lpu", "corsair", "cs-3", "etched-sohu", "matx-one"))
        if "host" not in m.links and not any("cold" in t.holds for t in m.tiers.values())
    )  # fmt: skip
    with pytest.raises(InputError, match="no host link is published"):
        tiers(system(bare.name), Host(memory=1e12))
    assert tiers(system(bare.name), Host(bandwidth=1e9)).copy_rate == 1e9


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)
ahead = Swapping(fast="pinned", overlap=True, prefetch="router", depth=2)
policies = st.sampled_from(
    [Swapping(), Swapping(warm=True), Swapping(fast="pinned", warm=True), ahead]
)


@given(sizes, st.integers(1, 60), st.integers(0, 60), st.integers(0, 9), policies)
def test_what_is_placed_fits(sizes_gb, fast, cold, reserve, policy):
    nbytes = {i: s * GB for i, s in enumerate(sizes_gb)}
    held = Tiers(fast * GB, cold * GB, 1e12, "")
    weights = [1.0 / (i + 1) for i in nbytes]
    found = place(nbytes, weights, held, reserve * GB, policy)
    if isinstance(found, Infeasible):
        assert found.short_by > 0 and found.unit == "GB"
        return
    assert isinstance(found, Placement)
    pinned = sum(nbytes[e] for e in found.pinned)
    assert pinned + found.room <= (fast - reserve) * GB and found.room >= 0
    others = {e: b for e, b in nbytes.items() if e not in found.pinned}
    if others:
        assert found.room >= max(others.values()) and sum(others.values()) <= cold * GB
    assert sum(nbytes[e] for e in found.warm) <= found.room and not {*found.warm} & found.pinned
    assert [weights[e] for e in found.warm] == sorted(weights[e] for e in found.warm)
    assert bool(found.warm) <= policy.warm
    if policy.fast == "pinned" and found.pinned and others:
        assert min(weights[e] for e in found.pinned) > max(weights[e] for e in others)


@given(sizes, st.integers(1, 60), st.integers(0, 60), st.integers(0, 9))
def test_short_by_is_what_is_short(sizes_gb, fast, cold, reserve):
    nbytes = {i: s * GB for i, s in enumerate(sizes_gb)}
    held = Tiers(fast * GB, cold * GB, 1e12, "")
    found = place(nbytes, [1.0] * len(nbytes), held, reserve * GB, Swapping())
    if isinstance(found, Infeasible):
        more = found.short_by * GB + 1
        part = "fast" if "fast tier" in found.reason else "cold"
        larger = Tiers(
            held.fast + more * (part == "fast"), held.cold + more * (part == "cold"), 1e12, ""
        )
        again = place(nbytes, [1.0] * len(nbytes), larger, reserve * GB, Swapping())
        assert not isinstance(again, Infeasible) or again.reason != found.reason
