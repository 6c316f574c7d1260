"""The table of lowerings: every operator, written as patterns of the one language."""

from maquette.capture.lowerings import (
    activations,
    creation,
    elementwise,
    indexing,
    losses,
    norms,
    pieces,
    products,
    reductions,
    scatters,
    shapes,
    windows,
)
from maquette.capture.lowerings.table import LOWERINGS

__all__ = [
    "LOWERINGS",
    "activations",
    "creation",
    "elementwise",
    "indexing",
    "losses",
    "norms",
    "pieces",
    "products",
    "reductions",
    "scatters",
    "shapes",
    "windows",
]
