"""Layouts: what routing cannot do with all units it does with fewer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maquette.catalogue.machines import machine
from maquette.catalogue.models import model
from maquette.ir.build import activation, dot, weight
from maquette.ir.graph import Graph
from maquette.models.decoder import program
from maquette.plans.types import Infeasible
from maquette.space.laid import Laid, lay
from maquette.space.mapping import Mapped, mapped, part, simulate_section
from space.engine.compiled import COMPILER

PLASTICINE = machine("plasticine")
PRODUCT = part(
    Graph(
        "product", {"y": dot(activation("x", n="n", d=512), weight("w", d=512, f=256), "d").value}
    ),
    {"n": 256},
)


def with_tracks(tracks: int):
    fabric = PLASTICINE.fabric
    assert fabric is not None
    return replace(PLASTICINE, fabric=replace(fabric, tracks=replace(fabric.tracks, value=tracks)))


def test_fewer_tracks_leave_fewer_units_and_take_longer() -> None:
    wide, narrow = (lay(PRODUCT, with_tracks(n)) for n in (8, 1))
    assert isinstance(wide, Laid)
    if isinstance(narrow, Infeasible):
        assert narrow.short_by > 0
        return
    units = [max(s.section.compute for s in found.sections) for found in (wide, narrow)]
    assert units[1] <= units[0]
    assert narrow.seconds >= wide.seconds * (1 - 1e-9)


def test_the_clock_agrees_with_the_closed_forms() -> None:
    found = lay(PRODUCT, PLASTICINE)
    assert isinstance(found, Laid)
    for each in found.sections:
        assert abs(each.simulated.error) < 0.15  # the last tile is still to be written
        assert each.routed.worst <= 1.0


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_the_loop_in_cpp_says_what_the_loop_in_python_says() -> None:
    """Of every section: cycles, what stages waited for, bytes, and the firings of a timeline."""
    calls = []

    def counted(symbol: str, text: str):
        calls.append(symbol)
        return COMPILER(symbol, text)

    slow, fast = (lay(PRODUCT, PLASTICINE, compiler=c) for c in (None, counted))
    assert isinstance(slow, Laid) and isinstance(fast, Laid) and calls
    assert [s.simulated.result for s in slow.sections] == [
        s.simulated.result for s in fast.sections
    ]
    assert slow.seconds == fast.seconds
    layer = program(model("qwen2.5-0.5b")).parts["full"]
    chip = machine("sn40l")
    for tokens in (1, 64):
        found = mapped(part(layer, {"b": 1, "s": tokens, "t": 64}), chip)
        assert isinstance(found, Mapped)
        for section in found.sections:
            runs = (simulate_section(section, chip, None, 100, c) for c in (None, COMPILER))
            one, other = (r.result for r in runs)
            assert one == other
