"""The heads and states of a section that scans, read off its values.

A scan combines, along the positions, decays with what drives a state: the decays have as many
points a position as there are heads, what drives them as many as the states have elements.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from maquette.compiler.schedule import Section
from maquette.ir.axes import points
from maquette.ir.patterns import Scan
from maquette.ir.sizes import Size
from maquette.price.scans import Shape
from maquette.price.work import Env


class States(NamedTuple):
    """Of one position: heads, elements of their states, and outputs."""

    heads: Size
    elements: Size
    outputs: Size  # in bytes of activations

    def shape(self, env: Env) -> Shape:
        """The scan of a device: an output sums over keys, so that these are what is left."""
        heads, elements = self.heads(env), self.elements(env)
        outputs: Any = self.outputs({**env, "tokens": 1.0}) / env["ab"]
        return Shape(heads, keys=elements / outputs, values=outputs / heads)


@lru_cache(maxsize=4096)
def states(section: Section) -> States | None:
    """What a section scans; None where its scan has another form than one decay a head."""
    for value in section.stages:
        if isinstance(value, Scan) and len(value.args) == 2:
            along = {value.along, "b"}
            decays, driven = (
                points(a for a in arg.axes if a.name not in along) for arg in value.args
            )
            written = [m.bytes for m in section.writes if m.role == "activation"]
            if len(written) == 1 and len(value.args[1].axes) >= len(value.args[0].axes) + 2:
                return States(decays, driven, written[0])
    return None
