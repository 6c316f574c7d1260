"""Nests of controllers take exactly the cycles of their closed forms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.space.engine import simulate
from maquette.space.engine.controllers import (
    Leaf,
    Nest,
    Parallel,
    Pipeline,
    Sequential,
    Stream,
    network,
)

TIMES = st.integers(1, 5)


def expected(nest: Nest) -> int:
    """DHDL §IV-B, written down again."""
    if isinstance(nest, Leaf):
        return nest.time
    if isinstance(nest, Stream):
        return max(i for i, _ in nest.stages) * (nest.times - 1) + sum(n for _, n in nest.stages)
    inner = [expected(s) for s in nest.stages]
    if isinstance(nest, Parallel):
        return max(inner)
    if isinstance(nest, Sequential):
        return nest.times * sum(inner)
    return max(inner) * (nest.times - 1) + sum(inner)


def nests() -> st.SearchStrategy[Nest]:
    stage = st.tuples(st.integers(1, 4), st.integers(0, 9)).map(lambda s: (s[0], sum(s)))
    stages = st.lists(stage, min_size=1, max_size=3).map(tuple)
    leaves = st.builds(Leaf, st.integers(1, 9)) | st.builds(Stream, TIMES, stages)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
            lambda found: st.one_of(
                st.builds(Sequential, TIMES, st.just(tuple(found))),
                st.builds(Parallel, st.just(tuple(found))),
                st.builds(Pipeline, TIMES, st.just(tuple(found)), st.integers(2, 3)),
            )
        ),
        max_leaves=6,
    )


@given(nests())
@settings(max_examples=60, deadline=None)
def test_random_nests(nest):
    found = simulate(network(nest))
    assert found.deadlock is None
    assert found.cycles == expected(nest)


@pytest.mark.parametrize("times", [1, 2, 7])
def test_one_buffer_makes_neighbours_take_turns(times):
    """With a single buffer the stage before may not write while the stage after reads."""
    found = simulate(network(Pipeline(times, (Leaf(4), Leaf(6)), buffers=1)))
    assert found.cycles == times * 10


def test_the_longest_stage_is_always_busy():
    found = simulate(network(Pipeline(50, (Leaf(3), Leaf(8), Leaf(5)))))
    assert found.nodes["top.1"].busy == 50 * 8
    assert found.nodes["top.1"].starved == 3  # until the first tile
    assert found.nodes["top.1"].idle == 5  # while the last one leaves
