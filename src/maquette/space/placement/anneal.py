"""Annealing: units of one kind trade cells, or move to empty ones, while it is warm."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from maquette.space.netlist import Netlist, UnitKind
from maquette.space.placement.grid import Grid
from maquette.space.placement.start import Floats, Ints, located
from maquette.space.placement.wires import Wires, length

PROBES = 200  # moves that set the first temperature
COLD = 1e-3  # the last temperature, over the first
CLOSE = 2  # the reach of the last moves, in cells

Accept = Callable[[float], bool]


def anneal(
    netlist: Netlist, wired: Wires, grid: Grid, cells: Ints, moves: int, seed: int = 0,
    warmth: float = 0.5,
) -> Ints:  # fmt: skip
    """A placement after so many tried moves, never longer than the one given.

    The first temperature is `warmth` times the mean change of a random move (3 and more forget
    where it began); it falls geometrically (Kirkpatrick et al. 1983), and the reach of a move
    linearly from the whole grid to `CLOSE` cells.
    """
    if not wired.nets or moves < 1:
        return cells
    board = _Board(netlist, wired, grid, cells, Random(seed))
    widest = max(grid.rows, grid.columns)
    changes = [abs(board.move(widest, lambda change: False)) for _ in range(PROBES)]
    temperature = warmth * sum(changes) / PROBES
    cooling = COLD ** (1 / moves)
    for step in range(moves):
        board.move(max(CLOSE, round(widest * (1 - step / moves))), board.taken(temperature))
        temperature *= cooling
    at = located(netlist, grid, board.cells)
    return (
        board.cells if length(wired, at) < length(wired, located(netlist, grid, cells)) else cells
    )


class _Board:
    """Units on cells, the length of every net, and one move at a time."""

    def __init__(
        self, netlist: Netlist, wired: Wires, grid: Grid, cells: Ints, random: Random
    ) -> None:
        self.cells = cells.copy()
        self._random = random
        self._kinds: list[UnitKind] = [unit.kind for unit in netlist.units]
        self._places = grid.cells
        self._at = {kind: {c: i for i, c in enumerate(grid.cells[kind])} for kind in grid.cells}
        self._holder = {kind: [-1] * len(grid.cells[kind]) for kind in grid.cells}
        for unit, cell in enumerate(cells.tolist()):
            self._holder[self._kinds[unit]][cell] = unit
        at: Floats = located(netlist, grid, cells)
        self._rows: list[float] = at[:, 0].tolist()
        self._columns: list[float] = at[:, 1].tolist()
        self._nets = wired.of_unit
        bounds = zip(wired.starts[:-1].tolist(), wired.starts[1:].tolist(), strict=True)
        self._pins = [wired.pins[a:b].tolist() for a, b in bounds]
        self._weights: list[float] = wired.weights.tolist()
        self._lengths = [self._length(net) for net in range(wired.nets)]

    def taken(self, temperature: float) -> Accept:
        """Metropolis' rule at a temperature."""
        chance = self._random.random()
        return lambda change: change <= 0 or chance < math.exp(-change / max(temperature, 1e-12))

    def move(self, reach: int, accept: Accept) -> float:
        """Try one move within reach; the change of length it makes, or would have made."""
        unit = self._random.randrange(len(self._kinds))
        cell = self._target(unit, reach)
        home = int(self.cells[unit])
        if cell is None or cell == home:
            return 0.0
        other = self._holder[self._kinds[unit]][cell]
        nets = self._nets[unit] if other < 0 else {*self._nets[unit], *self._nets[other]}
        before = sum(self._lengths[net] for net in nets)
        self._trade(unit, other, home, cell)
        lengths = {net: self._length(net) for net in nets}
        change = sum(lengths.values()) - before
        if accept(change):
            for net, each in lengths.items():
                self._lengths[net] = each
        else:
            self._trade(unit, other, cell, home)
        return change

    def _target(self, unit: int, reach: int) -> int | None:
        """A cell of the unit's kind near it; generators share positions, so any of theirs."""
        kind = self._kinds[unit]
        if kind == "generator":
            return self._random.randrange(len(self._places[kind]))
        row = int(self._rows[unit]) + self._random.randint(-reach, reach)
        column = int(self._columns[unit]) + self._random.randint(-reach, reach)
        return self._at[kind].get((row, column))

    def _trade(self, unit: int, other: int, home: int, cell: int) -> None:
        """`unit` goes from cell `home` to `cell`, and `other`, if there is one, back."""
        self._put(unit, cell)
        self._holder[self._kinds[unit]][home] = -1
        if other >= 0:
            self._put(other, home)

    def _put(self, unit: int, cell: int) -> None:
        kind = self._kinds[unit]
        self.cells[unit] = cell
        self._holder[kind][cell] = unit
        self._rows[unit], self._columns[unit] = self._places[kind][cell]

    def _length(self, net: int) -> float:
        pins = self._pins[net]
        rows = [self._rows[p] for p in pins]
        columns = [self._columns[p] for p in pins]
        span: float = max(rows) - min(rows) + max(columns) - min(columns)
        return self._weights[net] * span
