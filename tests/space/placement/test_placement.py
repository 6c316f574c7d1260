"""Placement against the optimum, and what must hold of any placement."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.machines import machine
from maquette.plans.types import Infeasible
from maquette.space.netlist import Net, Netlist, Unit
from maquette.space.placement import Placed, grid, optimum, place

PLASTICINE = machine("plasticine").fabric
SN40L = machine("sn40l").fabric
assert PLASTICINE is not None and SN40L is not None
KINDS = ("compute", "memory", "generator")


def random_netlist(seed: int, units: int, nets: int) -> Netlist:
    random = Random(seed)
    made = [Unit(f"u{i}", random.choice(KINDS[:2] if i else KINDS[2:])) for i in range(units)]
    names = [u.name for u in made]
    found = []
    for _ in range(nets):
        source, *sinks = random.sample(names, min(units, random.choice((2, 2, 2, 3, 4))))
        found.append(Net(source, tuple(sinks), activity=random.choice((0.1, 0.5, 1.0))))
    return Netlist(f"random{seed}", tuple(made), tuple(found))


def placed(netlist: Netlist, fabric=PLASTICINE, **options) -> Placed:
    found = place(netlist, fabric, **options)
    assert isinstance(found, Placed)
    return found


@pytest.mark.parametrize(("fabric", "cells"), [(PLASTICINE, 128), (SN40L, 2080)])
def test_kinds_alternate_like_a_checkerboard(fabric, cells) -> None:
    board = grid(fabric)
    compute, memory = (set(board.cells[k]) for k in KINDS[:2])
    assert len(compute | memory) == cells == len(compute) + len(memory)
    assert all((r + c) % 2 == 0 for r, c in compute) and all((r + c) % 2 for r, c in memory)
    assert len(board.cells["generator"]) == fabric.generators.value
    assert {c for _, c in board.cells["generator"]} == {-1, board.columns}


def test_an_array_of_twice_as_many_memory_units_is_spread_evenly() -> None:
    counts = {"rows": 24, "columns": 24, "compute": 192, "memory": 384}
    fabric = replace(
        PLASTICINE, **{k: replace(getattr(PLASTICINE, k), value=v) for k, v in counts.items()}
    )
    per_row = Counter(r for r, _ in grid(fabric).cells["compute"])
    assert set(per_row.values()) == {8}


@pytest.mark.parametrize("seed", range(4))
def test_small_netlists_are_within_five_percent_of_the_optimum(seed: int) -> None:
    pytest.importorskip("ortools")
    netlist = random_netlist(seed, units=10 + 2 * seed, nets=12)
    small = replace(
        PLASTICINE,
        **{
            k: replace(getattr(PLASTICINE, k), value=v)
            for k, v in {"rows": 4, "columns": 6, "compute": 12, "memory": 12}.items()
        },
    )
    best = optimum(netlist, small, seconds=4)
    found = placed(netlist, small)
    assert best.bound - 1e-6 <= found.length <= 1.05 * best.length


@given(st.integers(0, 10_000), st.integers(2, 40))
@settings(max_examples=15, deadline=None)
def test_units_have_cells_of_their_own_kind_and_annealing_never_lengthens(seed, units) -> None:
    netlist = random_netlist(seed, units, nets=units)
    found = placed(netlist, moves=300, seed=seed)
    cells = found.grid.cells
    for unit, cell in zip(netlist.units, found.cells, strict=True):
        assert cell in cells[unit.kind]
    fixed = [c for u, c in zip(netlist.units, found.cells, strict=True) if u.kind != "generator"]
    assert len(set(fixed)) == len(fixed)
    assert found.length <= found.first + 1e-9


def test_the_same_seed_places_alike() -> None:
    netlist = random_netlist(3, 30, 40)
    assert placed(netlist, seed=5).cells == placed(netlist, seed=5).cells


def test_annealing_beats_the_start_where_it_can() -> None:
    netlist = random_netlist(1, 60, 80)
    found = placed(netlist)
    assert found.length < 0.9 * found.first


def test_too_many_units_of_a_kind() -> None:
    netlist = Netlist("crowd", tuple(Unit(f"m{i}", "memory") for i in range(70)), ())
    found = place(netlist, PLASTICINE)
    assert isinstance(found, Infeasible)
    assert (found.short_by, found.unit) == (6.0, "memory units")
    assert "crowd has 70 memory units on a fabric of 64" in found.reason
