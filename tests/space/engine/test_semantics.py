"""The engine beside an oracle; its two loops and its skipping beside each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from unittest.mock import patch

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from maquette.space.engine import Channel, Network, Node, simulate, steady
from space.engine.compiled import COMPILER
from space.engine.networks import networks
from space.engine.oracle import run

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@given(
    networks(lengths=(1, 6, 41)).filter(lambda n: all(m.kind != "buffer" for m in n.nodes)),
    st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_every_firing_is_where_the_oracle_has_it(network, seed):
    cycles, clocks = run(network, seed)
    found = simulate(network, steady=False, records=10**6)
    assert found.cycles == cycles
    starts = {name: [] for name in clocks}
    for record in found.records:
        starts[record.node].append(record.start)
    assert starts == {name: clock.starts for name, clock in clocks.items()}


@given(networks(tiers=True, lengths=(400, 1500)))
@settings(max_examples=60, deadline=None)
def test_skipping_changes_nothing(network):
    full = simulate(network, steady=False, compiler=COMPILER)
    for pace in (16, 100):
        with patch.object(steady, "FIRINGS", pace):
            quick = simulate(network, compiler=COMPILER)
        event("skips" if quick.skipped else "does not skip")
        event("ends" if full.deadlock is None else "gets stuck")
        assert replace(quick, skipped=0) == full


@needs_compiler
@given(networks(tiers=True))
@settings(max_examples=60, deadline=None)
def test_both_loops_are_one(network):
    for skip in (False, True):
        with patch.object(steady, "FIRINGS", 300):
            python = simulate(network, records=8, steady=skip)
            assert simulate(network, records=8, steady=skip, compiler=COMPILER) == python


@given(networks(tiers=True))
@settings(max_examples=60, deadline=None)
def test_every_cycle_of_a_node_is_accounted_for(network):
    found = simulate(network)
    for spent in found.nodes.values():
        parts = (spent.busy, spent.starved, spent.blocked, spent.memory, spent.idle)
        assert min(parts) >= 0
        assert sum(parts) == found.cycles


@given(networks(), st.randoms())
@settings(max_examples=25, deadline=None)
def test_the_order_of_nodes_does_not_matter(network, random):
    nodes = list(network.nodes)
    random.shuffle(nodes)
    other = simulate(Network(network.name, tuple(nodes), network.channels))
    found = simulate(network)
    assert other.cycles == found.cycles
    assert dict(other.nodes) == dict(found.nodes)
    assert dict(other.high_water) == dict(found.high_water)


def test_what_fires_in_one_cycle_without_latency_is_in_one_order():
    sinks = [Node(f"sink.{c}", "sink", (c,), ()) for c in ("a", "b")]
    source = Node("source", "source", (), ("a", "b"), interval=0, latency=0, count=6)
    channels = (Channel("a", depth=1), Channel("b", depth=2))
    found = {
        tuple(simulate(Network("tie", nodes, channels)).high_water.items())
        for nodes in permutations((source, *sinks))
    }
    assert len(found) == 1
