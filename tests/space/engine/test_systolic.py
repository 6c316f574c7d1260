"""Products on a systolic array: cycles as SCALE-Sim counts them, values as NumPy has them."""

from __future__ import annotations

import numpy as np
import pytest

from maquette.ir.scalar import Apply, Arg
from maquette.space.engine import Channel, Network, Node, simulate
from space.engine.compiled import COMPILER
from space.engine.systolic import Systolic


@pytest.mark.parametrize(
    ("shape", "cycles"),
    [((1024, 1024, 64), 7159), ((1024, 64, 1024), 7159), ((512, 1024, 512), 10223)],
)
def test_three_products_that_scale_sim_has_run(shape, cycles):
    """SCALE-Sim 3.0.0, weights stationary on 256 × 256; it numbers cycles from 0."""
    array = Systolic(*shape, 256, 256)
    found = simulate(array.network(), compiler=COMPILER)
    assert found.cycles - 1 == cycles == array.cycles - 1


@pytest.mark.parametrize("shape", [(5, 3, 4), (7, 9, 10), (1, 1, 1), (6, 4, 9)])
def test_products_are_products(shape):
    m, n, k = shape
    rng = np.random.default_rng(0)
    left, right = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    array = Systolic(m, n, k, 4, 3)
    found = simulate(array.network(), array.tokens(left), array.functions(right), values=True)
    assert np.allclose(array.product(found), left @ right)
    assert found.cycles == array.cycles


def cells(left: np.ndarray, right: np.ndarray) -> tuple[Network, dict[str, np.ndarray]]:
    """One block, cell by cell: operands go right, sums go down, nothing else is said."""
    (m, rows), columns = left.shape, right.shape[1]
    nodes, channels, tokens = [], [], {}

    def line(name: str) -> str:
        channels.append(Channel(name))
        return name

    add = Apply("add", (Arg(1), Apply("mul", (Arg(0), Arg(2)))))
    for i in range(rows):
        nodes.append(Node(f"a{i}", "source", (), (line(f"a{i}.0"),), 1, 0, m))
        tokens[f"a{i}"] = left[:, i]
    for j in range(columns):
        nodes.append(Node(f"z{j}", "source", (), (line(f"s0.{j}"),), 1, 0, m))
        tokens[f"z{j}"] = np.zeros(m)
    for i in range(rows):
        for j in range(columns):
            weight, cell = f"w{i}.{j}", f"cell{i}.{j}"
            nodes.append(Node(weight, "source", (), (line(f"{weight}.in"),), 1, rows))
            nodes.append(
                Node(f"{weight}.kept", "repeat", (f"{weight}.in",), (line(weight),), 1, 0, m)
            )
            tokens[weight] = right[i : i + 1, j]
            outs = (line(f"a{i}.{j + 1}"), line(f"s{i + 1}.{j}"))
            ins = (f"a{i}.{j}", f"s{i}.{j}", weight)
            nodes.append(Node(cell, "map", ins, outs, body=(Arg(0), add)))
    nodes += [Node(f"out{i}", "sink", (f"a{i}.{columns}",), (), 0, 0) for i in range(rows)]
    nodes += [Node(f"sum{j}", "sink", (f"s{rows}.{j}",), (), 0, 0) for j in range(columns)]
    return Network("cells", tuple(nodes), tuple(channels)), tokens


@pytest.mark.parametrize("shape", [(5, 4, 3), (9, 2, 6), (1, 3, 3)])
def test_the_closed_form_is_what_cells_do(shape):
    """2R + C + M - 2 is nobody's parameter: skew and drain come from who waits for whom."""
    m, rows, columns = shape
    rng = np.random.default_rng(2)
    left, right = rng.standard_normal((m, rows)), rng.standard_normal((rows, columns))
    network, tokens = cells(left, right)
    found = simulate(network, tokens, values=True)
    sums = np.array([found.outputs[f"sum{j}"] for j in range(columns)]).T
    assert np.allclose(sums, left @ right)
    assert found.cycles == 2 * rows + columns + m - 2
