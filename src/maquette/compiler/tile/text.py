"""The printed form of tilings, which `parse_tiling` reads back.

tiling stream lanes s
  parallel s by 512
  stream t by 120
  registers p 4 x 6
  tile o[s=512, values=64] in l2
  note online
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import get_args

from maquette.compiler.tiling import Loop, LoopKind, Tier, Tile, Tiling
from maquette.errors import Fault, InputError, nearest
from maquette.ir.text import name
from maquette.ir.tokens import Cursor, Failure, lines


def show_tiling(tiling: Tiling) -> str:
    """A tiling as text: loops from the outermost in, then register tiles, tiles and notes.

    >>> print(show_tiling(Tiling("rows", "n", (Loop("m", 1, "parallel"), Loop("n", 64, "serial")))))
    tiling rows lanes n
      parallel m by 1
      serial n by 64
    """
    head = f"tiling {name(tiling.strategy)}"
    found = [f"{head} lanes {name(tiling.lanes)}" if tiling.lanes else head]
    found += [f"{x.kind} {name(x.axis)} by {x.step}" for x in tiling.loops]
    found += [f"registers {name(n)} {v} x {r}" for n, (v, r) in tiling.registers.items()]
    for tile in tiling.tiles:
        shape = ", ".join(f"{name(a)}={n}" for a, n in tile.shape)
        depth = f" depth {tile.depth}" if tile.depth != 1 else ""
        found.append(f"tile {name(tile.result)}[{shape}] in {tile.tier}{depth}")
    found += [f"note {name(n)}" for n in tiling.notes]
    return "\n  ".join(found)


def parse_tiling(text: str) -> Tiling:
    """The tiling that `show_tiling` printed.

    Raises InputError with every fault found and its line.

    >>> parse_tiling("tiling rows lanes n\\n  serial n by 64").loops
    (Loop(axis='n', step=64, kind='serial'),)
    """
    read = _Reading()
    faults: list[Fault] = []
    for i, cursor in enumerate(lines(text)):
        try:
            read.head(cursor) if i == 0 else read.line(cursor)
            cursor.end()
        except Failure as failure:
            faults.append(failure.fault)
    if not text.strip():
        faults.append(Fault("tiling", "no text", "a line such as 'tiling rows lanes n'"))
    if faults:
        raise InputError(*faults)
    return read.made()


class _Reading:
    """What the lines read so far have said."""

    def __init__(self) -> None:
        self.strategy = self.lanes = ""
        self.loops: list[Loop] = []
        self.registers: dict[str, tuple[int, int]] = {}
        self.tiles: list[Tile] = []
        self.notes: list[str] = []

    def made(self) -> Tiling:
        loops, tiles, notes = tuple(self.loops), tuple(self.tiles), tuple(self.notes)
        return Tiling(self.strategy, self.lanes, loops, self.registers, tiles, notes)

    def head(self, cursor: Cursor) -> None:
        cursor.take("tiling")
        self.strategy = cursor.name()
        if cursor.accept("lanes"):
            self.lanes = cursor.name()

    def line(self, cursor: Cursor) -> None:
        word = cursor.next()
        known: Mapping[str, Callable[[Cursor], None]] = {
            "registers": self._registers, "tile": self._tile, "note": self._note,
        }  # fmt: skip
        kinds: dict[str, LoopKind] = {k: k for k in get_args(LoopKind)}
        if word in kinds:
            self._loop(cursor, kinds[word])
        elif word in known:
            known[word](cursor)
        else:
            cursor.back()
            cursor.fail("a loop, registers, a tile or a note", nearest(word, [*kinds, *known]))

    def _loop(self, cursor: Cursor, kind: LoopKind) -> None:
        axis = cursor.name()
        cursor.take("by")
        self.loops.append(Loop(axis, cursor.integer(), kind))

    def _registers(self, cursor: Cursor) -> None:
        stage = cursor.name()
        vectors = cursor.integer()
        cursor.take("x")
        self.registers[stage] = (vectors, cursor.integer())

    def _tile(self, cursor: Cursor) -> None:
        result = cursor.name()
        cursor.take("[")
        shape: list[tuple[str, int]] = []
        while not cursor.accept("]"):
            if shape:
                cursor.take(",")
            axis = cursor.name()
            cursor.take("=")
            shape.append((axis, cursor.integer()))
        cursor.take("in")
        tiers: dict[str, Tier] = {t: t for t in get_args(Tier)}
        tier = tiers[cursor.one_of(tiers, "tier")]
        depth = cursor.integer() if cursor.accept("depth") else 1
        self.tiles.append(Tile(result, tuple(shape), tier, depth))

    def _note(self, cursor: Cursor) -> None:
        self.notes.append(cursor.name())
