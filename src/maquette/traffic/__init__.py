"""Requests: who asks what when, from a description with a seed or from a trace."""

from maquette.traffic.arrivals import Arrivals
from maquette.traffic.describe import Statistics, describe, head, scale
from maquette.traffic.lengths import Lengths, fixed, lognormal, quantiles, uniform
from maquette.traffic.prefixes import Prefixes
from maquette.traffic.readers import read
from maquette.traffic.spec import Preset, Priority, TrafficSpec, generate, synthetic
from maquette.traffic.types import Requests
from maquette.traffic.writers import write

__all__ = [
    "Arrivals",
    "Lengths",
    "Prefixes",
    "Preset",
    "Priority",
    "Requests",
    "Statistics",
    "TrafficSpec",
    "describe",
    "fixed",
    "generate",
    "head",
    "lognormal",
    "quantiles",
    "read",
    "scale",
    "synthetic",
    "uniform",
    "write",
]
