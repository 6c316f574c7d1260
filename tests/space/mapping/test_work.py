"""Unit-cycles of patterns on compute units, against counts made by hand."""

from __future__ import annotations

import pytest

from maquette.catalogue.machines import machine
from maquette.ir import build as b
from maquette.ir.graph import Graph
from maquette.ir.patterns import Map, make
from maquette.ir.scalar import Arg
from maquette.space.mapping import part, stages

SN40L = machine("sn40l").fabric
PLASTICINE = machine("plasticine").fabric
OPERANDS = {"x": {"m": 128, "k": 128}, "w": {"k": 128, "n": 128}}
TIERS = dict.fromkeys(("weight", "state", "activation", "index"), "hbm")


def only(y, fabric, tiles=1):
    found = stages(part(Graph("g", {"y": y.value}), {}), tiles, fabric, TIERS)
    return found[-1]


def product(m, n, k):
    return b.dot(b.activation("x", m=m, k=k), b.weight("w", k=k, n=n), "k")


def test_a_product_of_matrices_fills_the_array():
    """256 multiply-adds a cycle on a 16 × 16 array: 64·64·64 points take 1024 unit-cycles."""
    made = only(product(64, 64, 64), SN40L)
    assert (made.path, made.work, made.flops) == ("matrix", 1024.0, 2.0 * 64**3)


def test_rows_that_are_not_whole_blocks_take_as_long_as_whole_ones():
    assert only(product(17, 64, 64), SN40L).work == only(product(32, 64, 64), SN40L).work


def test_the_larger_operand_passes_once_per_block_of_rows():
    made = only(product(64, 128, 256), SN40L)
    ports = {r.name: r.port for r in made.reads}
    assert ports == {"x": 2.0 * 64 * 256, "w": 4 * 2.0 * 256 * 128}


def test_a_vector_times_a_matrix_is_one_vector_of_the_matrix_a_cycle():
    """64 bytes are 32 numbers of bf16; the array would be a sixteenth full."""
    made = only(product(1, 512, 512), SN40L)
    assert made.path == "vector" and made.work == pytest.approx(512 * 512 / 32, rel=0.01)


def test_plasticine_multiplies_sixteen_a_cycle():
    """128³ on one unit: 131,072 cycles; 131,945 in the logs of stanford-ppl/pir."""
    x, w = (b.tensor(n, "activation", "f32", **a) for n, a in OPERANDS.items())
    y = b.dot(x, w, "k")
    assert only(y, PLASTICINE).work == 128**3 / 16


def test_a_chain_longer_than_a_unit_takes_several():
    x = b.tensor("x", "activation", "f32", m=256, n=16)
    y = x
    for _ in range(9):
        y = y * 1.5 + x
    made = only(y, PLASTICINE)
    assert made.chain == 3 and made.work == 3 * 256  # 18 operations of 6 a unit


def test_what_is_one_number_for_all_lanes_is_a_scalar_input():
    x = b.tensor("x", "activation", "f32", m=256, n=16)
    rows = [b.tensor(f"r{i}", "activation", "f32", m=256) for i in range(3)]
    made = only(x * rows[0] + rows[1] - rows[2], PLASTICINE)
    assert made.chain == 1
    assert (made.needs.vector_inputs, made.needs.scalar_inputs) == (1, 3)


def test_a_scan_waits_for_itself_unless_other_points_fill_the_wait():
    def scan(rows):
        decay, drive = (b.tensor(n, "activation", "f32", r=rows, t=64) for n in ("a", "b"))
        return only(b.recurrence(decay, drive, "t")[1], PLASTICINE)

    alone, many = scan(1), scan(1024)
    assert alone.work >= 64 * PLASTICINE.stages.value
    assert many.work / 1024 < alone.work / 16


def test_gathers_read_what_they_ask_for():
    table = b.weight("table", v=50000, d=64)
    ids = b.indices("ids", n=32)
    body = Arg(0, (("v", Arg(1)),))
    row = make(
        Map,
        axes=(*ids.axes, table.value.axis("d")),
        dtype=table.value.dtype,
        args=(table.value, ids.value),
        body=body,
    )
    made = only(b.Tensor(row), SN40L)
    assert {r.name: r.total for r in made.reads}["table"] == 32 * 64 * 2
