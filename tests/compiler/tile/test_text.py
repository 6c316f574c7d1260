"""Tilings print and parse."""

import pytest

from maquette.compiler.tile.text import parse_tiling, show_tiling
from maquette.compiler.tiling import Loop, Tile, Tiling
from maquette.errors import InputError

GOLDEN = """\
tiling stream lanes s
  parallel h by 1
  parallel s by 512
  stream t by 120
  serial s by 64
  registers p 4 x 6
  tile "tile 0"[t=120, s=64] in l1
  tile o[s=512, values=64] in l2 depth 2
  note online
  note "grid 1 x 2\""""

TILING = Tiling(
    "stream",
    "s",
    (
        Loop("h", 1, "parallel"),
        Loop("s", 512, "parallel"),
        Loop("t", 120, "stream"),
        Loop("s", 64, "serial"),
    ),
    {"p": (4, 6)},
    (
        Tile("tile 0", (("t", 120), ("s", 64)), "l1"),
        Tile("o", (("s", 512), ("values", 64)), "l2", 2),
    ),
    ("online", "grid 1 x 2"),
)


def test_golden():
    assert show_tiling(TILING) == GOLDEN


def test_round_trip():
    assert parse_tiling(show_tiling(TILING)) == TILING


def test_every_fault_is_named_with_its_line():
    with pytest.raises(InputError) as caught:
        parse_tiling("tiling stream lanes s\n  paralel s by 512\n  tile o[s=4] in l9\n")
    first, second = caught.value.faults
    assert "line 2" in first.where and "parallel" in first.hint
    assert "line 3" in second.where and "tier" in second.expected


def test_no_text():
    with pytest.raises(InputError, match="no text"):
        parse_tiling(" ")
