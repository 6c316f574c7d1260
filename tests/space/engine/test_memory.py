"""Memories that several streams share."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings

from maquette.space.engine import Channel, Network, Node, Tier, simulate
from space.engine.networks import networks

LINE = 64


def streams(*counts: int, bandwidth: float | Fraction, latency: int = 0, depth: int = 64):
    nodes, channels = [], []
    for i, count in enumerate(counts):
        name = f"c{i}"
        nodes.append(Node(f"load{i}", "source", (), (name,), count=count, tier="m", bytes=LINE))
        nodes.append(Node(f"use{i}", "sink", (name,)))
        channels.append(Channel(name, depth))
    network = Network("m", tuple(nodes), tuple(channels), (Tier("m", bandwidth, latency),))
    return simulate(network, records=10_000)


@pytest.mark.parametrize("bandwidth", [16, 48, Fraction(64, 3), 51.2, 63.5])
def test_one_stream_has_all_the_bandwidth(bandwidth):
    found = streams(900, bandwidth=bandwidth)
    assert found.cycles == pytest.approx(900 * LINE / float(bandwidth), abs=4)
    assert found.bytes == {"m": 900 * LINE}


def test_an_interval_may_be_slower_than_the_memory():
    found = streams(900, bandwidth=1000)
    assert found.cycles == pytest.approx(900, abs=4)
    assert found.nodes["load0"].memory == 0


def test_equal_streams_share_equally_and_the_rest_is_not_wasted():
    """Two streams of 600 and 300 lines: both at half the rate until the shorter one ends."""
    found = streams(600, 300, bandwidth=32)
    ends = {n: max(r.end for r in found.records if r.node == n) for n in ("load0", "load1")}
    assert ends["load1"] == pytest.approx(300 * LINE / 16, rel=0.01)
    assert ends["load0"] == pytest.approx(900 * LINE / 32, rel=0.01)
    assert found.nodes["load0"].memory > 600  # it could have asked in every cycle


@given(networks(tiers=True, lengths=(1, 41)))
@settings(max_examples=30, deadline=None)
def test_requests_are_served_in_the_order_they_are_made(network):
    """Every firing ends when a queue of exact fractions says so.

    Where a cycle passes between cause and effect: of one cycle the order is that of nodes.
    """
    network = replace(
        network,
        nodes=tuple(replace(n, latency=n.latency + 1) for n in network.nodes),
        channels=tuple(replace(c, response=c.response + 1) for c in network.channels),
    )
    found = simulate(network, steady=False, records=10**5)
    tiers = {t.name: t for t in network.tiers}
    free = dict.fromkeys(tiers, Fraction(0))
    nodes = {n.name: (i, n) for i, n in enumerate(network.nodes)}
    asked = sorted(
        (r.start, nodes[r.node.removesuffix(".in")][0], r.end)
        for r in found.records
        if not r.node.endswith(".out")
    )
    for start, index, end in asked:
        node = network.nodes[index]
        if not node.tier:
            assert end == start + node.latency
            continue
        tier = tiers[node.tier]
        free[tier.name] = max(free[tier.name], Fraction(start)) + node.bytes / tier.rate
        assert end == ceil(free[tier.name]) + tier.latency + node.latency
    assert sum(found.bytes.values()) == sum(
        found.nodes[f"{n.name}.in" if n.kind == "buffer" else n.name].firings * n.bytes
        for n in network.nodes
    )


def test_latency_is_hidden_by_depth():
    """Little's law: a queue of d lines keeps d lines per latency on their way."""
    for depth in (8, 16, 200):
        found = streams(2000, bandwidth=64, latency=100, depth=depth)
        rate = min(1.0, (depth + 1) / 101)  # the register of the load holds one more
        assert 2000 / found.cycles == pytest.approx(rate, rel=0.07)
