"""A first placement: every net pulls its units together, then each takes the nearest free cell.

Springs between the pins of a net (a star around its source) and from generators to their sides
have one lowest energy, a linear system; cells are then assigned kind by kind at the least total
distance.  Hall's quadratic placement (1970), with an assignment in place of partitioning.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import spsolve

from maquette.space.netlist import Netlist
from maquette.space.placement.grid import Grid
from maquette.space.placement.wires import Wires

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ANCHOR = 1e-3  # of a spring to where a unit was spread to: keeps all from one point


def start(netlist: Netlist, wired: Wires, grid: Grid, rounds: int = 4) -> Ints:
    """The cell of every unit, a number in the order of its kind's cells.

    Springs pull, cells push back: between rounds every unit is anchored where it was assigned,
    ever harder.
    """
    spread = np.linspace(0, 1, len(netlist.units))
    goal = np.stack([spread * (grid.rows - 1), spread * (grid.columns - 1)], axis=1)
    laplacian = _springs(wired, len(netlist.units))
    anchor = ANCHOR
    for _ in range(rounds):
        pulled = _solve(laplacian, goal, anchor)
        cells = _assigned(netlist, grid, pulled)
        goal = located(netlist, grid, cells)
        anchor *= 10
    return cells


def located(netlist: Netlist, grid: Grid, cells: Ints) -> Floats:
    """Row and column of every unit, (units, 2)."""
    at = np.zeros((len(netlist.units), 2))
    for kind in grid.cells:
        of_kind = [i for i, unit in enumerate(netlist.units) if unit.kind == kind]
        at[of_kind] = grid.positions(kind)[cells[of_kind]]
    return at


def _springs(wired: Wires, units: int) -> coo_matrix:
    """The Laplacian of stars: source to every sink, weighed by activity over their number."""
    starts, sizes = wired.starts[:-1], np.diff(wired.starts)
    sources = np.repeat(wired.pins[starts], sizes - 1)
    sinks = np.delete(wired.pins, starts)
    weight = np.repeat(wired.weights / (sizes - 1), sizes - 1)
    joined = coo_matrix((weight, (sources, sinks)), shape=(units, units)).tocsr()
    joined = joined + joined.T
    return diags(np.asarray(joined.sum(axis=1)).ravel()) - joined


def _solve(laplacian: coo_matrix, goal: Floats, anchor: float) -> Floats:
    held = laplacian + anchor * diags(np.ones(len(goal)))
    return np.asarray(spsolve(held.tocsc(), anchor * goal)).reshape(goal.shape)


def _assigned(netlist: Netlist, grid: Grid, wish: Floats) -> Ints:
    """Units to cells of their kind, at the least total distance from where they wish to be.

    Wishes are ranked first: springs draw all units to the middle, and rank spreads them again.
    """
    cells = np.zeros(len(netlist.units), np.int64)
    ranked = np.stack([_ranked(wish[:, i], n) for i, n in enumerate((grid.rows, grid.columns))], 1)
    for kind in grid.cells:
        of_kind = np.array([i for i, u in enumerate(netlist.units) if u.kind == kind], np.int64)
        if not len(of_kind):
            continue
        away = ranked[of_kind][:, None, :] - grid.positions(kind)[None, :, :]
        chosen = linear_sum_assignment(np.abs(away).sum(axis=2))
        cells[of_kind[chosen[0]]] = chosen[1]
    return cells


def _ranked(values: Floats, extent: int) -> Floats:
    order = np.empty(len(values))
    order[np.argsort(values, kind="stable")] = np.linspace(0, extent - 1, len(values))
    return order
