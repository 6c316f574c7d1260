"""The one language: parallel patterns over named axes.

Write programs with `build`, print them with `show`, read them with `parse`, prove them sound with
`check`, give them meaning with `evaluate`, and count them with `flops` and `section_traffic`.
"""

from maquette.ir.axes import Axis, axis, points
from maquette.ir.dtypes import DTYPES, DType, dtype
from maquette.ir.facts import (
    Contraction,
    Move,
    SectionTraffic,
    Work,
    by_section,
    contraction,
    flops,
    footprint,
    parameters,
    section_traffic,
    state_size,
    work,
)
from maquette.ir.graph import Graph, Program, walk
from maquette.ir.interpret import evaluate, run
from maquette.ir.monoids import MONOIDS, Monoid
from maquette.ir.parse import parse, parse_program
from maquette.ir.patterns import (
    FlatMap,
    GroupBy,
    Input,
    Map,
    Reduce,
    Scan,
    Value,
    View,
    make,
    section,
)
from maquette.ir.sizes import Size, size, sym
from maquette.ir.text import show, show_program
from maquette.ir.verify import check, check_program, verify, verify_program

__all__ = [
    "DTYPES",
    "MONOIDS",
    "Axis",
    "Contraction",
    "DType",
    "FlatMap",
    "Graph",
    "GroupBy",
    "Input",
    "Map",
    "Monoid",
    "Move",
    "Program",
    "Reduce",
    "Scan",
    "SectionTraffic",
    "Size",
    "Value",
    "View",
    "Work",
    "axis",
    "by_section",
    "check",
    "check_program",
    "contraction",
    "dtype",
    "evaluate",
    "flops",
    "footprint",
    "make",
    "parameters",
    "parse",
    "parse_program",
    "points",
    "run",
    "section",
    "section_traffic",
    "show",
    "show_program",
    "size",
    "state_size",
    "sym",
    "verify",
    "verify_program",
    "walk",
    "work",
]
