"""A product on Plasticine beside cycles that its own simulator logged.

stanford-ppl/pir, logs of the Tungsten simulator at 1 GHz, GEMM of 128³ in 32 bits.  First the right
operand is loaded, then tiles of rows pass through load, product and store at once.  The memory has
Plasticine's 51.2 GB/s (ISCA'17, Table 3), and 89 cycles of latency, which the logged runs of
DotProduct have beside their work.  Nothing is fitted to the products.
"""

from __future__ import annotations

import pytest

from maquette.space.engine import Channel, Network, Node, Tier, simulate
from space.engine.compiled import COMPILER

N, TILE, LINE = 128, 16, 64  # elements, rows of a tile, bytes of a burst
WORDS = LINE // 4
ROWS = N * 4 // LINE  # bursts of a row


def product(lanes: int, copies: int) -> Network:
    """Elements of the result by `copies` at a time, each `lanes` products per cycle."""
    tiles, steps = N // TILE, N // lanes
    dram = {"tier": "dram", "bytes": LINE}
    nodes = (
        Node("right", "source", (), ("right",), count=N * ROWS, **dram),
        Node("whole", "pack", ("right",), ("whole", "begin"), count=N * ROWS),
        Node("lines", "repeat", ("begin",), ("address",), count=N * ROWS),
        Node("left", "map", ("address",), ("left",), **dram),
        Node("again", "repeat", ("whole",), ("again",), count=tiles),
        Node("rows", "pack", ("left",), ("rows",), count=TILE * ROWS),
        Node("meet", "map", ("rows", "again"), ("tile",)),
        Node("count", "repeat", ("tile",), ("index",), count=TILE * N // copies * steps),
        Node("multiply", "map", ("index",), ("products",), latency=6),  # stages of a unit
        Node(
            "add", "fold", ("products",), ("element",), latency=5, count=steps
        ),  # 16 lanes, a tree
        Node("line", "pack", ("element",), ("line",), count=WORDS // copies),
        Node("store", "sink", ("line",), **dram),
    )
    deep = {"right": 128, "left": 128, "rows": 1, "tile": 1}
    channels = [Channel(c, deep.get(c, 4)) for n in nodes for c in n.outputs]
    return Network("product", nodes, tuple(channels), (Tier("dram", 51.2, 89),))


@pytest.mark.parametrize(
    ("lanes", "copies", "ideal", "logged"),
    [
        (16, 1, 131_072, 131_945),
        (16, 2, 65_536, 66_599),
        (1, 1, 2_097_152, 2_109_610),
        (16, 8, 16_384, 18_256),
    ],
)
def test_products_of_128(lanes, copies, ideal, logged):
    found = simulate(product(lanes, copies), compiler=COMPILER)
    assert found.deadlock is None
    assert found.cycles == pytest.approx(logged, rel=0.02)
    assert found.cycles > ideal
    assert found.bytes == {"dram": 3 * N * N * 4}
    assert found.nodes["multiply"].busy == ideal
