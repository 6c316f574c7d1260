"""What every kind of node does to tokens, beside NumPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from maquette.errors import ProgramError
from maquette.ir.monoids import ADD, AFFINE, MAX
from maquette.ir.scalar import Apply, Arg, Lit
from maquette.space.engine import Channel, Network, Node, Stop, simulate


def run(*nodes: Node, depth: int = 64, functions=None, **inputs):
    """Outputs of a network whose channels are those its nodes name, in a list for every sink."""
    names = dict.fromkeys(c for n in nodes for c in (*n.inputs, *n.outputs))
    network = Network("test", nodes, tuple(Channel(c, depth) for c in names))
    found = simulate(network, inputs, functions, values=True)
    assert found.deadlock is None
    return found.outputs


def source(channel: str, count: int) -> Node:
    return Node(channel, "source", (), (channel,), count=count)


def through(node: Node, data, expected):
    out = run(source("x", len(data)), node, Node("out", "sink", ("y",)), x=data)["out"]
    assert len(out) == len(expected)
    for got, want in zip(out, expected, strict=True):
        np.testing.assert_allclose(got, want)


X = np.arange(12.0)


def test_maps_and_zips():
    square = Apply("mul", (Arg(0), Arg(0)))
    through(Node("n", "map", ("x",), ("y",), body=(square,)), X, X**2)
    nodes = (
        source("a", 12), source("b", 12),
        Node("n", "map", ("a", "b"), ("s", "d"),
             body=(Apply("add", (Arg(0), Arg(1))), Apply("sub", (Arg(0), Arg(1))))),
        Node("sum", "sink", ("s",)), Node("difference", "sink", ("d",)),
    )  # fmt: skip
    out = run(*nodes, a=X, b=X[::-1])
    np.testing.assert_allclose(out["sum"], X + X[::-1])
    np.testing.assert_allclose(out["difference"], X - X[::-1])


def test_tokens_may_be_tiles_and_tuples():
    tiles = np.random.default_rng(0).standard_normal((4, 3, 3))
    nodes = (
        source("a", 4), source("b", 4),
        Node("n", "map", ("a", "b"), ("p",), call="product"),
        Node("pair", "map", ("p",), ("q",), body=()),
        Node("out", "sink", ("q",)),
    )  # fmt: skip
    out = run(*nodes, a=tiles, b=tiles, functions={"product": np.matmul})["out"]
    np.testing.assert_allclose(out, tiles @ tiles)


def test_folds_and_scans():
    rows = X.reshape(3, 4)
    through(Node("n", "fold", ("x",), ("y",), monoid=MAX, count=4), X, rows.max(axis=1))
    through(Node("n", "scan", ("x",), ("y",), monoid=ADD, count=4), X, rows.cumsum(axis=1).ravel())


def test_a_recurrence_as_a_scan():
    a, b = np.random.default_rng(0).standard_normal((2, 20))
    nodes = (
        source("a", 20), source("b", 20),
        Node("n", "scan", ("a", "b"), ("h",), monoid=AFFINE, count=20),
        Node("second", "map", ("h",), ("y",), body=(Arg(1),)),
        Node("out", "sink", ("y",)),
    )  # fmt: skip
    expected = list(itertools.accumulate(zip(a, b, strict=True), lambda h, ab: ab[0] * h + ab[1],
                                         initial=0.0))[1:]  # fmt: skip
    np.testing.assert_allclose(run(*nodes, a=a, b=b)["out"], expected)


def test_repeats_flattens_and_packs():
    through(Node("n", "repeat", ("x",), ("y",), count=3), X, np.repeat(X, 3))
    through(Node("n", "flatten", ("x",), ("y",), count=4), X.reshape(3, 4), X)
    through(Node("n", "pack", ("x",), ("y",), count=4), X, X.reshape(3, 4))


def test_a_buffer_transposes():
    order = tuple(np.arange(6).reshape(2, 3).T.ravel().tolist())
    expected = X.reshape(2, 2, 3).transpose(0, 2, 1).ravel()
    for blocks in (1, 2):
        node = Node("n", "buffer", ("x",), ("y",), order=order, count=blocks)
        through(node, X, expected)


def test_partitions_and_merges_by_order():
    order = (0, 1, 1, 0, 1, 1)
    nodes = (
        source("x", 12),
        Node("part", "partition", ("x",), ("a", "b"), order=order),
        Node("double", "map", ("b",), ("c",), body=(Apply("mul", (Arg(0), Lit(2.0))),)),
        Node("join", "merge", ("a", "c"), ("y",), order=order),
        Node("out", "sink", ("y",)),
    )
    np.testing.assert_allclose(run(*nodes, x=X)["out"], X * (1 + np.tile(order, 2)))


def test_partitions_and_merges_by_tokens():
    """Three experts; every token to the one that a router chose, and back in order."""
    chosen = np.random.default_rng(1).integers(0, 3, 12)
    experts = [
        Node(f"e{i}", "map", (f"i{i}",), (f"o{i}",), i + 1, 3 * i + 1,
             body=(Apply("add", (Arg(0), Lit(100.0 * i))),))
        for i in range(3)
    ]  # fmt: skip
    nodes = (
        source("x", 12), source("router", 12),
        Node("fork", "map", ("router",), ("there", "back")),
        Node("part", "partition", ("there", "x"), ("i0", "i1", "i2")),
        *experts,
        Node("join", "merge", ("back", "o0", "o1", "o2"), ("y",)),
        Node("out", "sink", ("y",)),
    )  # fmt: skip
    np.testing.assert_allclose(run(*nodes, x=X, router=chosen)["out"], X + 100 * chosen)


def test_a_selector_out_of_range_is_told():
    nodes = (
        source("x", 1), source("s", 1),
        Node("part", "partition", ("s", "x"), ("a", "b")),
        Node("one", "sink", ("a",)), Node("two", "sink", ("b",)),
    )  # fmt: skip
    with pytest.raises(ProgramError, match="the selector says 2; expected 0 … 1"):
        run(*nodes, x=[1.0], s=[2])


ROWS = [[3.0, 1.0], [], [4.0, 1.0, 5.0], [9.0]]
RAGGED = [t for row in ROWS for t in (*row, Stop())]


def test_rows_of_lengths_that_tokens_tell():
    through(Node("n", "fold", ("x",), ("y",), monoid=ADD, count=0), RAGGED, [4, 0, 10, 9])
    through(Node("n", "pack", ("x",), ("y",), count=0), RAGGED, ROWS)


def test_normalised_ragged_rows():
    """Rows over their totals: the total is repeated for as many tokens as its row has."""
    n = len(RAGGED)
    nodes = (
        source("x", n),
        Node("fork", "map", ("x",), ("a", "b", "c")),
        Node("total", "fold", ("a",), ("t",), monoid=ADD, count=0),
        Node("again", "repeat", ("t", "b"), ("r",), count=0),
        Node("divide", "map", ("c", "r"), ("y",), body=(Apply("div", (Arg(0), Arg(1))),)),
        Node("rows", "pack", ("y",), ("z",), count=0),
        Node("out", "sink", ("z",)),
    )
    out = run(*nodes, x=RAGGED)["out"]
    for got, row in zip(out, ROWS, strict=True):
        np.testing.assert_allclose(got, np.array(row) / sum(row) if row else [])


def test_rows_of_rows():
    data = [1.0, 2.0, Stop(1), 3.0, Stop(2), 4.0, Stop(2)]
    nodes = (
        source("x", len(data)),
        Node("inner", "fold", ("x",), ("t",), monoid=ADD, count=0),
        Node("outer", "fold", ("t",), ("y",), monoid=MAX, count=0),
        Node("out", "sink", ("y",)),
    )
    np.testing.assert_allclose(run(*nodes, x=data)["out"], [3.0, 4.0])


def test_rows_that_end_apart_are_told():
    nodes = (
        source("a", 2), source("b", 2),
        Node("zip", "map", ("a", "b"), ("y",)), Node("out", "sink", ("y",)),
    )  # fmt: skip
    with pytest.raises(ProgramError, match="rows end apart"):
        run(*nodes, a=[1.0, Stop()], b=[1.0, 2.0])
    with pytest.raises(ProgramError, match="a stop within a block of 2"):
        fold = Node("n", "fold", ("x",), ("y",), monoid=ADD, count=2)
        through(fold, [1.0, Stop()], [1.0])
