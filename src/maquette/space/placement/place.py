"""Placing a netlist: what fits, a start, and annealing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from maquette.machines.types import Fabric
from maquette.plans.types import Infeasible
from maquette.space.netlist import Netlist, UnitKind
from maquette.space.placement.anneal import anneal
from maquette.space.placement.grid import Cell, Grid, grid
from maquette.space.placement.start import Ints, located, start
from maquette.space.placement.wires import length, wires

MOVES, LEAST = 100, 20_000  # tried per unit, and in all
SMALL, RUNS = 64, 5  # units of netlists that are annealed so often, from hot
WARM, HOT = 0.5, 3.0  # first temperatures, in mean changes of a move
KINDS: dict[UnitKind, str] = {
    "compute": "compute units", "memory": "memory units", "generator": "address generators",
}  # fmt: skip


@dataclass(frozen=True)
class Placed:
    """Where every unit is, in the order of the netlist's units."""

    netlist: Netlist
    grid: Grid
    cells: tuple[Cell, ...]
    length: float  # hops weighed by activity
    first: float  # that of the first placement

    def at(self, unit: str) -> Cell:
        """The cell of a unit."""
        return self.cells[[u.name for u in self.netlist.units].index(unit)]


def place(
    netlist: Netlist, fabric: Fabric, *, moves: int | None = None, seed: int = 0
) -> Placed | Infeasible:
    """A placement of a netlist; Infeasible where the fabric has too few units of a kind.

    `moves` are those that annealing tries; where not given, `MOVES` per unit and `LEAST` at least.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.space.netlist import Net, Unit
    >>> pair = Netlist("pair", (Unit("a", "compute"), Unit("b", "memory")), (Net("a", ("b",)),))
    >>> place(pair, machine("plasticine").fabric).length
    1.0
    """
    cells = grid(fabric)
    counts = Counter(unit.kind for unit in netlist.units)
    for kind, words in KINDS.items():
        have = len(cells.cells[kind])
        if counts[kind] > have:
            return Infeasible(
                f"section {netlist.name} has {counts[kind]} {words} on a fabric of {have}",
                float(counts[kind] - have), words,
            )  # fmt: skip
    wired = wires(netlist)
    first = start(netlist, wired, cells)
    small = len(netlist.units) <= SMALL
    tried = max(MOVES * len(netlist.units), LEAST) if moves is None else moves
    warmth, runs = (HOT, RUNS) if small and moves is None else (WARM, 1)
    finals = [anneal(netlist, wired, cells, first, tried, seed + i, warmth) for i in range(runs)]
    final = min(finals, key=lambda f: length(wired, located(netlist, cells, f)))
    return Placed(
        netlist, cells, _cells(netlist, cells, final),
        length(wired, located(netlist, cells, final)),
        length(wired, located(netlist, cells, first)),
    )  # fmt: skip


def _cells(netlist: Netlist, board: Grid, cells: Ints) -> tuple[Cell, ...]:
    return tuple(board.cells[u.kind][c] for u, c in zip(netlist.units, cells.tolist(), strict=True))
