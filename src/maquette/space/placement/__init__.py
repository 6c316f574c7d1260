"""Placement: the units of a netlist on the cells of a fabric, and its nets on the links.

grid     the cells: compute and memory units in a checkerboard, generators on two sides
start    a first placement: springs, then every kind of unit assigned to its cells
anneal   swaps that shorten the nets, weighed by how often they carry a word
exact    the optimum of small netlists, by constraint programming
route    a tree of links for every net, negotiated until no link carries more than it can
"""

from maquette.space.placement.anneal import anneal
from maquette.space.placement.exact import Optimum, optimum
from maquette.space.placement.grid import Grid, grid
from maquette.space.placement.place import Placed, place
from maquette.space.placement.route import Routed, route
from maquette.space.placement.wires import length, wires

__all__ = [
    "Grid", "Optimum", "Placed", "Routed", "anneal", "grid", "length", "optimum", "place", "route",
    "wires",
]  # fmt: skip
