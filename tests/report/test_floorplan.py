"""Pictures of sections: what is drawn as full is full."""

from __future__ import annotations

from dataclasses import replace

from maquette.catalogue.machines import machine
from maquette.ir.build import activation, dot, weight
from maquette.ir.graph import Graph
from maquette.report.floorplan import floorplan
from maquette.space.laid import Laid, lay
from maquette.space.mapping import part

FULL = 'class="f" d="M8 8'  # a link from the first switch, in the colour of full ones


def test_scalars_fill_no_vector_link() -> None:
    y = dot(activation("x", n="n", d=64), weight("w", d=64, f=32), "d")
    found = lay(part(Graph("product", {"y": y.value}), {"n": 64}), machine("plasticine"))
    assert isinstance(found, Laid)
    each = found.sections[0]
    assert each.routed.tracks > 1
    light = replace(each.routed, load={(0, 1): 1.0}, worst=1.0)  # of links of scalars
    assert FULL not in floorplan(replace(each, routed=light))
    assert FULL in floorplan(replace(each, routed=replace(light, tracks=1.0)))
