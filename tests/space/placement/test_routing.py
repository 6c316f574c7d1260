"""Routes reach every sink, and no track of a static network carries two streams."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.plans.types import Infeasible
from maquette.space.netlist import Net, Netlist, Unit
from maquette.space.placement import Routed, route
from space.placement.test_placement import PLASTICINE, placed, random_netlist

PACKET = replace(PLASTICINE, network="packet")


def routed(netlist: Netlist, fabric=PLASTICINE) -> Routed:
    found = route(placed(netlist, fabric, moves=200), fabric)
    assert isinstance(found, Routed)
    return found


def switch(found: Routed, unit: str) -> int:
    row, column = found.placed.at(unit)
    return row * found.placed.grid.columns + min(max(column, 0), found.placed.grid.columns - 1)


@given(st.integers(0, 1000), st.integers(2, 60))
@settings(max_examples=15, deadline=None)
def test_every_tree_joins_its_source_with_every_sink(seed: int, units: int) -> None:
    found = routed(random_netlist(seed, units, nets=units))
    columns = found.placed.grid.columns
    streams = Counter(link for tree in found.trees for link in tree)
    assert max(streams.values(), default=0) <= PLASTICINE.tracks.value
    assert {k: float(v) for k, v in streams.items()} == found.load
    for net, tree, hops in zip(found.placed.netlist.nets, found.trees, found.hops, strict=True):
        reached = {switch(found, net.source): 0}
        left = set(tree)
        while ready := [link for link in left if link[0] in reached]:
            for a, b in ready:
                assert abs(a // columns - b // columns) + abs(a % columns - b % columns) == 1
                assert b not in reached, "a tree has one way to each switch"
                reached[b] = reached[a] + 1
            left -= set(ready)
        assert not left
        assert hops == max(reached[switch(found, sink)] for sink in net.sinks)


def test_a_netlist_with_more_streams_than_tracks_cannot_be_routed() -> None:
    units = (*(Unit(f"c{i}", "compute") for i in range(60)), Unit("m", "memory"))
    netlist = Netlist("knot", units, tuple(Net(f"c{i}", ("m",)) for i in range(60)))
    found = route(placed(netlist, moves=100), PLASTICINE)
    assert isinstance(found, Infeasible)
    assert found.short_by > 0 and "knot cannot be routed" in found.reason


def test_a_packet_network_slows_down_instead() -> None:
    units = (*(Unit(f"c{i}", "compute") for i in range(60)), Unit("m", "memory"))
    nets = tuple(Net(f"c{i}", ("m",), activity=0.5) for i in range(60))
    found = route(placed(Netlist("knot", units, nets), PACKET, moves=100), PACKET)
    assert isinstance(found, Routed)
    # 60 half-idle streams into one switch of four neighbours with four tracks each; one of the
    # compute units may share that switch's side at best.
    assert found.slowdown == pytest.approx(60 * 0.5 / 16, rel=0.15)


def test_negotiation_spreads_what_the_shortest_way_would_stack() -> None:
    few = replace(PLASTICINE, tracks=replace(PLASTICINE.tracks, value=2))
    netlist = random_netlist(7, 60, 60)
    found = routed(netlist, few)
    assert found.rounds > 1
    assert max(found.load.values()) <= 2


def test_slower_switches_make_ways_longer() -> None:
    netlist = random_netlist(1, 20, nets=20)
    slow = replace(PLASTICINE, hop=replace(PLASTICINE.hop, value=3))
    plain, late = routed(netlist), routed(netlist, slow)
    assert plain.delay == max(plain.hops) > 0
    assert late.delay == 3 * plain.delay
    assert plain.tracks == PLASTICINE.tracks.value
