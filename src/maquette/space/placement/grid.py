"""The cells of a fabric: where compute units, memory units and generators are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maquette.machines.types import Fabric
from maquette.space.netlist import UnitKind

Floats = NDArray[np.float64]
Cell = tuple[int, int]  # row and column; columns -1 and `columns` are the generators' sides


@dataclass(frozen=True)
class Grid:
    """The cells of every kind of unit, in a fixed order; each holds one unit.

    Generators outnumber the rows of their side on some chips: several share a position.
    """

    rows: int
    columns: int
    cells: Mapping[UnitKind, tuple[Cell, ...]]

    def positions(self, kind: UnitKind) -> Floats:
        """Rows and columns of the cells of a kind, (cells, 2)."""
        return np.array(self.cells[kind], dtype=float).reshape(-1, 2)


def grid(fabric: Fabric) -> Grid:
    """The checkerboard of a fabric, walked row by row there and back.

    Where one kind outnumbers the other it is spread evenly; cells beyond both counts stay empty.

    >>> from maquette.catalogue.machines import machine
    >>> small = grid(machine("plasticine").fabric)
    >>> small.cells["compute"][:3], small.cells["memory"][:3], small.cells["generator"][-1]
    (((0, 0), (0, 2), (0, 4)), ((0, 1), (0, 3), (0, 5)), (15, 8))
    """
    rows, columns = fabric.rows.value, fabric.columns.value
    compute, memory = fabric.compute.value, fabric.memory.value
    found: dict[UnitKind, list[Cell]] = {"compute": [], "memory": [], "generator": []}
    for at in range(compute + memory):
        row, along = divmod(at, columns)
        cell = (row, along if row % 2 == 0 else columns - 1 - along)
        before, after = (-(-(at + i) * compute // (compute + memory)) for i in (0, 1))
        found["compute" if after > before else "memory"].append(cell)
    found["generator"] = _sides(fabric.generators.value, rows, columns)
    return Grid(rows, columns, {kind: tuple(cells) for kind, cells in found.items()})


def _sides(count: int, rows: int, columns: int) -> list[Cell]:
    """Generators, half on either side, spread over the rows."""
    cells: list[Cell] = []
    for side, share in ((-1, count - count // 2), (columns, count // 2)):
        cells += [(i * rows // share, side) for i in range(share)]
    return cells
