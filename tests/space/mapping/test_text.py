"""The printed form of a mapping."""

from __future__ import annotations

from maquette.catalogue.machines import machine
from maquette.ir import build as b
from maquette.ir.graph import Graph
from maquette.space.mapping import Options, mapped, part, show_mapped

EXPECTED = """\
map layer on plasticine: 5.474 us
  not priced: launching 1 section
section layer.0: k0, k1
  8 tiles, one every 544 cycles; 5474 cycles, 5.474 us; bound by memory units
  63/64 PCU (98%), 64/64 PMU (100%), 1/34 AG (3%); 96% of compute cycles busy
  dram: 98304 bytes read, 65536 written, 58% busy
  stage v0 vector: work 16384 on 31 PCU 31 PMU, 544 cycles
  stage v1 vector: work 256 on 1 PCU 1 PMU, 262 cycles
  stage y vector: work 16384 on 31 PCU 32 PMU, 540 cycles
  buffer dram -> v0: x 8192 bytes x 2
  buffer dram -> v0: up 16384 bytes x 2
  buffer v0 -> v1: v0 16384 bytes x 2
  buffer v1 -> y: v1 16384 bytes x 2
  buffer dram -> y: down 16384 bytes x 2"""


def test_a_layer_in_one_section():
    x = b.activation("x", n=512, d=64)
    y = b.dot(
        b.tanh(b.dot(x, b.weight("up", d=64, f=128), "d")), b.weight("down", f=128, d=64), "f"
    )
    chip = machine("plasticine")
    found = mapped(part(Graph("layer", {"y": y.value}), {}), chip, Options(tiles=(8,), cuts=()))
    assert show_mapped(found, chip) == EXPECTED
