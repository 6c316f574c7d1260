"""Depths of buffers: least by exhaustive search, and enough, and not too many, by simulation."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.errors import InputError
from maquette.space.engine import Channel, Network, Node, simulate
from maquette.space.mapping.buffers import Edge, fifo_depths, starts


@st.composite
def streams(draw):
    """Edges of a small graph without cycles, every node but the first with one to read."""
    count = draw(st.integers(2, 5))
    made = {}
    for sink in range(1, count):
        for source in draw(st.sets(st.integers(0, sink - 1), min_size=1)):
            made[source, sink] = draw(st.integers(1, 9))
    return [Edge(str(a), str(b), width) for (a, b), width in made.items()]


@settings(max_examples=40, deadline=None)
@given(streams())
def test_no_starts_need_less_memory(edges):
    def need(at):
        return sum(e.width * (at[e.sink] - at[e.source]) for e in edges)

    found = starts(edges)
    names = sorted(found)
    assert all(found[e.sink] - found[e.source] >= 1 - 1e-9 for e in edges)
    every = (dict(zip(names, t, strict=True)) for t in product(range(5), repeat=len(names)))
    legal = [t for t in every if all(t[e.sink] - t[e.source] >= 1 for e in edges)]
    assert need(found) == pytest.approx(min(map(need, legal)))


def test_streams_that_go_round_are_refused():
    with pytest.raises(InputError, match="go round"):
        starts([Edge("a", "b", 1), Edge("b", "a", 1)])


def diamond(interval, long, depth, count=64):
    """A fork, a long way and a short one, and where they meet."""
    middle = Node("long", "map", ("a",), ("b",), interval, long)
    nodes = (
        Node("in", "source", (), ("go",), interval, interval, count),
        Node("fork", "map", ("go",), ("a", "short"), interval, interval),
        middle,
        Node("join", "map", ("b", "short"), ("out",), interval, interval),
        Node("end", "sink", ("out",), (), interval, interval),
    )
    names = ("go", "a", "b", "out")
    channels = (*(Channel(n, 2) for n in names), Channel("short", depth))
    return Network("diamond", nodes, channels)


@pytest.mark.parametrize("interval, long", [(1, 9), (4, 30), (10, 35)])
def test_reconvergent_paths_run_at_full_rate_with_these_depths(interval, long):
    edges = [
        Edge("fork", "long", 1, interval),
        Edge("long", "join", 1, long),
        Edge("fork", "join", 1, interval),
    ]
    depth = fifo_depths(edges, interval)["fork", "join"]
    assert depth == -(-long // interval) + 1
    full = simulate(diamond(interval, long, 999)).cycles
    assert simulate(diamond(interval, long, depth)).cycles == full
    assert simulate(diamond(interval, long, max(1, depth - 3))).cycles > full
