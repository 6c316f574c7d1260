"""Units shared among stages: no sharing has a shorter interval, and what binds is named."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.catalogue.machines import machine
from maquette.plans.types import Infeasible
from maquette.space.engine import simulate
from maquette.space.engine.controllers import Leaf, Pipeline, cycles, network
from maquette.space.mapping.balance import balance, hurried, share
from maquette.space.mapping.types import Stage, Stream

FABRIC = machine("plasticine").fabric


def fabric(**changes):
    facts = {n: replace(getattr(FABRIC, n), value=v) for n, v in changes.items()}
    return replace(FABRIC, **facts)


def stage(name, work, port=0.0, depth=1, widest=10**6, chain=1):
    reads = (Stream("x", "dram", "tile", port, port, port),)
    return Stage(name, "k", "vector", work, widest, work, chain, reads, (), depth)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=3), st.integers(3, 9))
def test_the_slowest_stage_is_as_quick_as_any_sharing_allows(works, units):
    stages = [stage(f"s{i}", float(w)) for i, w in enumerate(works)]
    found = balance(stages, {}, fabric(compute=units))
    ways = product(range(1, units + 1), repeat=len(works))
    legal = [p for p in ways if sum(p) <= units]
    best = min(max(-(-w // n) for w, n in zip(works, p, strict=True)) for p in legal)
    assert found.interval == best + 1  # the pipeline's own depth
    assert sum(s.compute for s in found.shares) <= units


@pytest.mark.parametrize(
    "stages, limits, expected",
    [
        ([stage("a", 6400.0), stage("b", 640.0)], {}, "compute units"),
        ([stage("a", 64.0, port=1e6)], {}, "memory units"),
        ([stage("a", 6400.0, widest=2)], {}, "a, which spreads no further"),
    ],
)
def test_what_binds_is_named(stages, limits, expected):
    assert balance(stages, {}, fabric(**limits)).binding == expected


def test_more_of_what_binds_helps_and_of_what_does_not_does_not():
    stages = [stage("a", 5000.0, port=1000.0), stage("b", 3000.0, port=500.0)]
    base = balance(stages, {}, fabric(compute=16, memory=16))
    assert balance(stages, {}, fabric(compute=32, memory=16)).interval < base.interval
    assert balance(stages, {}, fabric(compute=16, memory=64)).interval == base.interval


def test_what_is_held_takes_memory_units():
    stages = [stage("a", 100.0)]
    (one,) = balance(stages, {"a": 3.5 * FABRIC.scratchpad.value}, FABRIC).shares
    assert one.memory == 4
    short = balance(stages, {"a": 70.5 * FABRIC.scratchpad.value}, FABRIC)
    assert isinstance(short, Infeasible) and short.short_by == pytest.approx(71 - 64)


def test_a_body_of_several_units_takes_as_many_of_each():
    assert share(stage("a", 100.0, chain=3), 0.0, 51, FABRIC).compute == 3
    assert share(stage("a", 100.0, chain=3), 0.0, 21, FABRIC).compute == 6


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=5), st.integers(1, 40))
def test_the_interval_is_that_of_the_metapipeline(works, tiles):
    """DHDL, ISCA 2016, §IV-B: (N - 1) max T + ΣT, and the engine takes as many cycles."""
    stages = [stage(f"s{i}", float(w)) for i, w in enumerate(works)]
    found = balance(stages, {}, FABRIC)
    nest = Pipeline(tiles, tuple(Leaf(s.cycles) for s in found.shares))
    times = [s.cycles for s in found.shares]
    assert cycles(nest) == (tiles - 1) * found.interval + sum(times)
    assert simulate(network(nest)).cycles == cycles(nest)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 2000), min_size=2, max_size=3), st.integers(4, 12))
def test_a_single_tile_hurries_through_all_stages(works, units):
    """Σ w / p of stages in a row, against every sharing there is."""
    stages = [stage(f"s{i}", float(w)) for i, w in enumerate(works)]
    small = fabric(compute=units)
    found = hurried(stages, {}, small, 1e9)
    assert sum(s.compute for s in found) <= units
    ways = product(range(1, units + 1), repeat=len(works))
    best = min(
        sum(1 + -(-w // n) for w, n in zip(works, p, strict=True)) for p in ways if sum(p) <= units
    )
    taken = sum(s.cycles for s in found)
    assert best <= taken <= 1.35 * best + len(works)
    assert taken <= sum(s.cycles for s in balance(stages, {}, small).shares) * 1.35
