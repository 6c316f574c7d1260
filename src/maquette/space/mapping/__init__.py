"""Mapping: a program becomes sections of metapipelines on the units of a fabric.

part      a graph at fixed sizes on one socket: kernels, and the axes that tiles follow
stages    the work of every pattern on one tile
balance   the shortest interval that the units of the chip allow
section   buffers, traffic and cycles of what is on the chip at once
sections  where a program that is more than one section is cut in time
netlist   what placement is given
"""

from maquette.space.mapping.netlist import netlist
from maquette.space.mapping.network import Simulated, simulate_section
from maquette.space.mapping.part import Part, of_flow, part
from maquette.space.mapping.section import section
from maquette.space.mapping.sections import Options, mapped
from maquette.space.mapping.stages import stages
from maquette.space.mapping.text import show_mapped, show_section, show_units
from maquette.space.mapping.types import Buffer, Mapped, Section, Share, Stage, Stream, Traffic
from maquette.space.mapping.values import simulate_values

__all__ = [
    "Buffer",
    "Mapped",
    "Options",
    "Part",
    "Section",
    "Share",
    "Simulated",
    "Stage",
    "Stream",
    "Traffic",
    "mapped",
    "netlist",
    "of_flow",
    "part",
    "section",
    "show_mapped",
    "show_section",
    "show_units",
    "simulate_section",
    "simulate_values",
    "stages",
]
