"""Products on a weight-stationary systolic array, row by row of the array.

A block of weights is shifted in, then the rows of the left operand pass; a token is what one of
them has summed up in all columns of a row of the array.  Columns are skewed by a cycle each, which
is made good at the bottom.  The next block waits until the last sum has left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.ir.monoids import ADD
from maquette.space.engine.result import Result
from maquette.space.engine.types import Channel, Network, Node

Array = NDArray[Any]


@dataclass(frozen=True)
class Systolic:
    """A product of ``m × k`` by ``k × n`` on an array of `rows` × `columns` cells.

    >>> Systolic(1024, 64, 1024, 256, 256).cycles
    7160
    """

    m: int
    n: int
    k: int
    rows: int
    columns: int

    @property
    def folds(self) -> int:
        """Blocks of weights, one after another."""
        return -(-self.k // self.rows) * -(-self.n // self.columns)

    @property
    def cycles(self) -> int:
        """The closed form; SCALE-Sim counts to the start of the last cycle, one less."""
        return self.folds * (2 * self.rows + self.columns + self.m - 2)

    def network(self) -> Network:
        """The array as a chain of its rows, and the control around it."""
        rows, m = self.rows, self.m
        names = [f"row{i}" for i in range(rows)]
        nodes = [
            Node("weights", "source", (), ("block",), 0, 0, self.folds),
            Node("shift", "map", ("block", "alone"), ("there",), rows, rows, call="block"),
            Node("pass", "repeat", ("there",), ("sums0",), 1, 0, m),
        ]
        channels = [
            Channel("block"), Channel("alone", 1, initial=1), Channel("there"), Channel("sums0"),
        ]  # fmt: skip
        for i, name in enumerate(names):
            nodes += [
                Node(f"left{i}", "source", (), (f"element{i}",), count=self.folds * m, latency=0),
                Node(name, "map", (f"sums{i}", f"element{i}"), (f"sums{i + 1}",), call=name),
            ]
            channels += [Channel(f"element{i}"), Channel(f"sums{i + 1}")]
        skew = self.columns - 1
        nodes += [
            Node("level", "map", (f"sums{rows}",), ("level",), 0, skew, call="level"),
            Node("left", "map", ("level",), ("kept", "counted"), 0, 0),
            Node("result", "sink", ("kept",), (), 0, 0),
            Node("last", "fold", ("counted",), ("alone",), 0, 0, m, monoid=ADD),
        ]
        channels += [Channel("level"), Channel("kept"), Channel("counted")]
        return Network("systolic", tuple(nodes), tuple(channels))

    def tokens(self, left: Array) -> dict[str, Array]:
        """What `network` reads of the left operand, ``[m, k]``: columns, once for every block."""
        across = -(-self.n // self.columns)
        whole = np.zeros((self.m, -(-self.k // self.rows) * self.rows))
        whole[:, : self.k] = left
        blocks = whole.reshape(self.m, -1, self.rows)
        return {
            f"left{i}": np.repeat(blocks[:, :, i].T, across, axis=0).ravel()
            for i in range(self.rows)
        }

    def functions(self, right: Array) -> Mapping[str, Callable[..., Any]]:
        """What the cells do; a token is a block of the right operand, ``[k, n]``, and sums."""
        across = -(-self.n // self.columns)
        whole = np.zeros((-(-self.k // self.rows) * self.rows, across * self.columns))
        whole[: self.k, : self.n] = right

        def block(number: int, _: Any) -> tuple[Array, Array]:
            down, along = divmod(number, across)
            rows, columns = down * self.rows, along * self.columns
            weights = whole[rows : rows + self.rows, columns : columns + self.columns]
            return weights, np.zeros(self.columns)

        def row(number: int, held: tuple[Array, Array], element: float) -> tuple[Array, Array]:
            weights, sums = held
            return weights, sums + element * weights[number]

        rows = {f"row{i}": partial(row, i) for i in range(self.rows)}
        return {"block": block, "level": lambda held: held[1], **rows}

    def product(self, result: Result) -> Array:
        """The product, from a simulation with values."""
        blocks: Array = np.array(result.outputs["result"]).reshape(
            -(-self.k // self.rows), -1, self.m, self.columns
        )
        whole: Array = blocks.sum(axis=0).transpose(1, 0, 2).reshape(self.m, -1)
        return whole[:, : self.n]
