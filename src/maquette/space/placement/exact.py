"""The shortest placement of a small netlist, by constraint programming (CP-SAT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from maquette.errors import Fault, NotYet
from maquette.machines.types import Fabric
from maquette.space.netlist import Netlist
from maquette.space.placement.grid import grid
from maquette.space.placement.wires import wires

SCALE = 1000  # activities as whole numbers


@dataclass(frozen=True)
class Optimum:
    """The shortest placement that was found, and what no placement is shorter than."""

    length: float
    bound: float


def optimum(netlist: Netlist, fabric: Fabric, seconds: float = 60.0) -> Optimum:
    """The shortest placement that CP-SAT finds in the time given, and how far it is proven.

    For up to some 16 units.  Raises NotYet without OR-Tools.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError:
        fault = Fault("ortools", "is not installed", 'pip install "maquette[ortools]"')
        raise NotYet(fault) from None
    model: Any = cp_model.CpModel()
    where = _positions(model, netlist, fabric)
    wired = wires(netlist)
    terms = []
    for net in range(wired.nets):
        pins = wired.pins[wired.starts[net] : wired.starts[net + 1]].tolist()
        weight = round(wired.weights[net] * SCALE)
        for axis in (0, 1):
            low, high = (model.new_int_var(-1, 1 << 12, "") for _ in range(2))
            model.add_min_equality(low, [where[p][axis] for p in pins])
            model.add_max_equality(high, [where[p][axis] for p in pins])
            terms.append(weight * (high - low))
    model.minimize(sum(terms))
    solver: Any = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Optimum(float("inf"), float(solver.best_objective_bound) / SCALE)
    return Optimum(solver.objective_value / SCALE, solver.best_objective_bound / SCALE)


def _positions(model: Any, netlist: Netlist, fabric: Fabric) -> list[tuple[Any, Any]]:
    """Row and column variables of every unit, on different cells of its kind."""
    board = grid(fabric)
    where, chosen = [], dict[str, list[Any]]()
    for unit in netlist.units:
        cells = board.cells[unit.kind]
        cell = model.new_int_var(0, len(cells) - 1, unit.name)
        chosen.setdefault(unit.kind, []).append(cell)
        pair = []
        for axis in (0, 1):
            at = model.new_int_var(-1, 1 << 12, "")
            model.add_element(cell, [c[axis] for c in cells], at)
            pair.append(at)
        where.append((pair[0], pair[1]))
    for cells_of_kind in chosen.values():
        model.add_all_different(cells_of_kind)
    return where
