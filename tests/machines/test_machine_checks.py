"""Every check of a machine description finds what it is for, and only that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from maquette.machines.checks import check, facts
from maquette.machines.types import (
    Assembly,
    Compute,
    Fact,
    Link,
    Machine,
    Power,
    Price,
    Tier,
)


def fact(value: Any, kind: Any = "datasheet") -> Fact[Any]:
    return Fact(value, kind, "a test")


GOOD = Machine(
    name="m",
    title="M",
    vendor="V",
    style="kernel",
    compute=Compute(matrix={"bf16": fact(1e15), "fp8": fact(2e15)}, ceiling={"bf16": fact(0.8e15)}),
    tiers={
        "l2": Tier(fact(50e6), bandwidth=fact(7e12)),
        "hbm": Tier(fact(80e9), fact(81559 * 2**20), fact(3e12), ("weights",)),
    },
    main="hbm",
    links={"scale_up": Link("switch", fact(450e9), 8, pair_bandwidth=fact(450e9))},
    node=8,
    power=Power(fact(700.0)),
    price=Price(fact(2.0), "2026-05", 1.0, 3.0),  # type: ignore[arg-type]
    systems={"box": Assembly(8, {"hbm": fact(640e9)})},
)


def tiers(**changes: Tier) -> dict[str, Tier]:
    return {**GOOD.tiers, **changes}


def matrix(**rates: float) -> Compute:
    return replace(GOOD.compute, matrix={k: fact(v) for k, v in rates.items()}, ceiling={})


def test_a_good_machine_has_no_faults() -> None:
    assert check(GOOD) == ()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"compute": matrix(bf16=1e15, fp8=4e15)}, "compute.matrix.fp8"),
        ({"compute": matrix(bf16=-1e15)}, "compute.matrix.bf16"),
        ({"compute": matrix(bf16=float("inf"))}, "compute.matrix.bf16"),
        ({"compute": matrix(bf16=1e16)}, "compute.matrix.bf16"),  # ridge 3333
        ({"compute": matrix(bf16=1e13)}, "compute.matrix.bf16"),  # ridge 3
        (
            {"compute": replace(GOOD.compute, ceiling={"bf16": fact(1.1e15)})},
            "compute.ceiling.bf16",
        ),
        ({"compute": replace(GOOD.compute, ceiling={"bf61": fact(1e14)})}, "compute.ceiling.bf61"),
        ({"tiers": tiers(l2=Tier(bandwidth=fact(1e12)))}, "tiers.hbm.bandwidth"),
        ({"tiers": tiers(l2=Tier(fact(0.0)))}, "tiers.l2.capacity"),
        (
            {"tiers": tiers(hbm=replace(GOOD.tiers["hbm"], visible=fact(40e9)))},
            "tiers.hbm.visible",
        ),
        ({"main": "hbn"}, "main"),
        ({"node": 0}, "node"),
        ({"node": 16}, "links.scale_up.domain"),
        ({"links": {"host": Link("host", fact(31e9), 0)}}, "links.host.domain"),
        (
            {"links": {"up": Link("mesh", fact(31e9), 8, pair_bandwidth=fact(32e9))}},
            "links.up.pair_bandwidth",
        ),
        ({"price": Price(fact(0.5), "2026-05", 1.0, 3.0)}, "price.per_hour"),  # type: ignore[arg-type]
        ({"price": Price(fact(3.5), "2026-05", 1.0, 3.0)}, "price.per_hour"),  # type: ignore[arg-type]
        ({"price": Price(fact(2.0), "May 2026")}, "price.date"),
        ({"price": Price(fact(2.0), "2026-13")}, "price.date"),
        ({"price": Price(fact(2.0))}, "price.date"),
        ({"systems": {"box": Assembly(8, {"hbm": fact(512e9)})}}, "systems.box.totals.hbm"),
        ({"systems": {"box": Assembly(8, {"hbn": fact(640e9)})}}, "systems.box.totals.hbn"),
        ({"systems": {"box": Assembly(0)}}, "systems.box.devices"),
        ({"power": Power(Fact(700.0, "datasheet", " "))}, "power.tdp"),  # type: ignore[arg-type]
    ],
)
def test_each_check_finds_its_fault(changes: dict[str, Any], where: str) -> None:
    assert where in {f.where for f in check(replace(GOOD, **changes))}


def test_all_faults_at_once() -> None:
    broken = replace(GOOD, node=16, main="nope", compute=matrix(bf16=1e15, fp8=4e15))
    assert {f.where for f in check(broken)} == {
        "compute.matrix.fp8",
        "main",
        "links.scale_up.domain",
    }


def test_what_ifs_may_be_implausible_but_not_contradictory() -> None:
    fast = replace(
        GOOD.tiers["hbm"], bandwidth=fact(1e15, "what-if"), capacity=fact(1e12, "what-if")
    )
    fast = replace(fast, visible=None)
    assert check(replace(GOOD, tiers=tiers(hbm=fast))) == ()
    ceiling = {"bf16": fact(2e15, "what-if")}
    assert check(replace(GOOD, compute=replace(GOOD.compute, ceiling=ceiling)))


def test_a_machine_about_which_nothing_is_published_is_consistent() -> None:
    bare = replace(GOOD, compute=Compute({}), tiers={"sram": Tier()}, main="sram", links={})
    assert check(replace(bare, node=1, power=None, price=None, systems={})) == ()


def test_facts_are_found_with_their_paths() -> None:
    paths = [path for path, _ in facts(GOOD)]
    assert "tiers.hbm.bandwidth" in paths and "systems.box.totals.hbm" in paths
    assert len(paths) == len(set(paths)) == 13
