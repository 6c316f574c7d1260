"""What is wrong with a network is told, all at once; what gets stuck is told by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from maquette.errors import InputError
from maquette.space.engine import Channel, Network, Node, Tier, parse, show, simulate, verify
from space.engine.networks import networks

IN = Node("in", "source", (), ("a",), count=4)
OUT = Node("out", "sink", ("a",))
A = Channel("a")


def faults(*nodes, channels=(A,), tiers=(), **how) -> str:
    with pytest.raises(InputError) as caught:
        verify(Network("n", nodes, channels, tiers), **how)
    return str(caught.value)


def test_dangling_and_doubled_channels():
    assert faults(IN, OUT, channels=(A, Channel("b"))) == (
        "n: b: nothing writes it; expected one node\nn: b: nothing reads it; expected one node"
    )
    said = faults(IN, replace(IN, name="in2"), OUT)
    assert said == "n: a: in and in2 write it; expected one node"
    assert "reads channel 'aa', which is not there (did you mean a?)" in faults(
        IN, replace(OUT, inputs=("aa",))
    )


def test_what_nodes_may_not_be():
    said = faults(
        replace(IN, interval=-1, tier="hbn", bytes=64),
        Node("x", "fuse", ("a",), ()),  # type: ignore[arg-type]
        tiers=(Tier("hbm", 0),),
    )
    assert "in: interval -1; expected a whole number, 0 or more" in said
    assert "in: tier 'hbn', which is not there (did you mean hbm?)" in said
    assert "x: unknown kind 'fuse'" in said
    assert "hbm: bandwidth 0; expected more than 0 bytes per cycle" in said


def test_ports_and_orders():
    b = (A, Channel("b"))
    assert "a permutation of 0 … n-1" in faults(
        IN, Node("x", "buffer", ("a",), ("b",), order=(0, 2)), Node("o", "sink", ("b",)), channels=b
    )
    assert "order has 1; expected 0 … 0" in faults(
        IN, Node("x", "partition", ("a",), ("b",), order=(0, 1)), Node("o", "sink", ("b",)),
        channels=b,
    )  # fmt: skip
    assert "without values" in faults(
        IN, Node("x", "merge", ("a", "b"), ("c",)), replace(IN, name="s", outputs=("b",)),
        Node("o", "sink", ("c",)), channels=(*b, Channel("c")),
    )  # fmt: skip
    assert "calls 'f', which is not supplied" in faults(
        IN, Node("x", "map", ("a",), ("b",), call="f"), Node("o", "sink", ("b",)), channels=b,
        values=True,
    )  # fmt: skip
    assert "a fold without a monoid" in faults(
        IN, Node("x", "fold", ("a",), ("b",)), Node("o", "sink", ("b",)), channels=b, values=True
    )


def test_times_are_whole_cycles():
    said = faults(replace(IN, interval=2.5), OUT, channels=(Channel("a", depth=0),))
    assert said == (
        "n: a: depth 0; expected a whole number, 1 or more\n"
        "n: in: interval 2.5; expected a whole number, 0 or more"
    )


def test_more_credits_than_room():
    said = faults(IN, OUT, channels=(Channel("a", depth=2, initial=3),))
    assert said == "n: a: 3 tokens at the start, depth 2; expected no more than fit"


def test_tokens_that_do_not_fit_the_count():
    with pytest.raises(InputError, match="inputs: in: 3 tokens; expected 4, its count"):
        simulate(Network("n", (IN, OUT), (A,)), {"in": [1, 2, 3]}, values=True)


def test_a_deadlock_names_its_channels():
    """Two forks that meet in the other order: each waits for the other's token."""
    nodes = (
        replace(IN, outputs=("a", "b")),
        Node("whole", "fold", ("a",), ("c",), count=4),
        Node("again", "repeat", ("c",), ("d",), count=4),
        Node("meet", "map", ("b", "d"), ("e",)),
        Node("out", "sink", ("e",)),
    )
    channels = tuple(Channel(c, 1 if c == "b" else 2) for c in "abcde")
    found = simulate(Network("n", nodes, channels)).deadlock
    assert found is not None
    assert found.cycle
    assert str(found) == (
        "deadlock: in waits: b is full; meet waits: d is empty; again waits: c is empty; "
        "whole waits: a is empty"
    )
    assert set(found.stuck) == {"in", "whole", "meet"}


def test_a_loop_without_credits_never_begins():
    nodes = (IN, Node("x", "map", ("a", "back"), ("back", "b")), Node("out", "sink", ("b",)))
    channels = (A, Channel("b"), Channel("back"))
    found = simulate(Network("n", nodes, channels)).deadlock
    assert found is not None
    assert [str(w) for w in found.waits] == ["x waits: back is empty"]
    channels = (A, Channel("b"), Channel("back", initial=1))
    assert simulate(Network("n", nodes, channels)).deadlock is None


def test_a_block_that_never_fills_is_starved():
    nodes = (IN, Node("x", "fold", ("a",), ("b",), count=3), Node("out", "sink", ("b",)))
    found = simulate(Network("n", nodes, (A, Channel("b")))).deadlock
    assert found is not None
    assert not found.cycle
    assert str(found) == "starved: x waits: a is empty"


@given(networks(tiers=True))
@settings(max_examples=30, deadline=None)
def test_every_network_reads_back(network):
    assert parse(show(network)) == network


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("channel a", "found no network"),
        ("network n\n channel a: depht 3", "a setting (did you mean depth?)"),
        ("network n\n node x = fuse(a)", "a kind of node"),
        ("network n\n node x = map(a) to (b) latncy 3", "expected to, "),
        ("network n\n tier t: latency 3", "bandwidth and a number"),
        ("network n\n node x = fold(a) to (b) monoid sum", "a monoid"),
    ],
)
def test_text_that_is_no_network(text, told):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert told in str(caught.value)
