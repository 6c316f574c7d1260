"""Reads and writes of memory: one instruction where the lanes allow, guards only where needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import Kind
from maquette.run.cpp.vector_code import TYPES, Val, Writer
from maquette.run.cpp.vector_index import Affine


@dataclass(frozen=True)
class Place:
    """Elements in memory: C for their base, their C type, what they are, strides and extents."""

    base: str
    ctype: str
    kind: Kind
    strides: tuple[int, ...]
    shape: tuple[int, ...]
    offset: int = 0

    def address(self, coordinates: Sequence[Affine]) -> Affine:
        total = Affine((), self.offset)
        for at, stride, extent in zip(coordinates, self.strides, self.shape, strict=True):
            total = total + at * (stride if extent != 1 or at.low < 0 or at.high > 0 else 0)
        return total


def load(
    w: Writer, place: Place, coordinates: Sequence[Affine], active: int | None, level: int = 0
) -> Val:
    """The elements at `coordinates`, one or one per lane; zero outside.

    `active` lanes are to be read (None: all); nothing is read before the scope at `level`.
    """
    address = place.address(coordinates)
    scalar, lanes = _guards(w, place, coordinates)
    level = max(
        [level, address.level, *(c.level for c in coordinates if _escapes(c, place, coordinates))]
    )
    if not address.lanes:
        zero = "false" if place.kind == "bool" else "0"
        text = f"ls({_pointer(place, address)})"
        if scalar:
            text = f"({scalar}) ? {text} : {zero}"
        found = w.value(place.kind, text, False, level)
        if not lanes:
            return found
        return _masked(w, found, lanes, level)
    text = _vector(w, place, address, lanes, active)
    if scalar:
        text = f"({scalar}) ? {text} : {TYPES[place.kind][1]}{{}}"
    return w.value(place.kind, text, True, level)


def store(
    w: Writer,
    place: Place,
    coordinates: Sequence[Affine],
    value: Val,
    active: int | None,
    how: str = "",
) -> None:
    """Write `value` (its first `active` lanes, None for all).

    Whole vectors go past the caches if `how` is "nt", and fetch what is next if it is "ah".
    """
    value = w.cast(value, place.kind)
    address = place.address(coordinates)
    pointer = _pointer(place, address)
    if not address.lanes:
        if any(c.lanes for c in coordinates) and value.lanes:
            value = Val(value.kind, f"{w.vector(value)}[0]", False, w.level)
            w.line(f"ss({pointer}, {value.text});")
            return
        w.line(f"ss({pointer}, {w.scalar(value)});")
    elif address.irregular:
        raise NotYet(Fault(place.base, "stores to irregular addresses"))
    elif address.stride == 1:
        what = f"{pointer}, {w.vector(value)}"
        w.line(f"st{how}({what});" if active is None else f"stn({what}, {active});")
    else:
        count = w.lanes if active is None else active
        w.line(f"sts({pointer}, {w.vector(value)}, {address.stride}, {count});")


def _pointer(place: Place, address: Affine) -> str:
    base = address.uniform
    return f"{place.base} + {base.text}" if base.terms or base.const else place.base


def _escapes(at: Affine, place: Place, coordinates: Sequence[Affine]) -> bool:
    extent = next(e for c, e in zip(coordinates, place.shape, strict=True) if c is at)
    return at.low < 0 or at.high >= extent


def _guards(w: Writer, place: Place, coordinates: Sequence[Affine]) -> tuple[str, str]:
    """C for whether coordinates are inside: once for all lanes, and as a mask; "" if surely."""
    scalar: list[str] = []
    masks: list[str] = []
    for at, extent in zip(coordinates, place.shape, strict=True):
        tests = [">= 0"] * (at.low < 0) + [f"< {extent}"] * (at.high >= extent)
        if tests and at.lanes:
            vector = w.vector(Val("int", "", True, at.level, at))
            masks += [w.let("VI", f"{vector} {t}", at.level) for t in tests]
        elif len(tests) == 2:
            scalar.append(f"(unsigned long){at.text} < {extent}")
        elif tests:
            scalar.append(f"{at.text} {tests[0]}")
    return " && ".join(scalar), " & ".join(masks)


def _masked(w: Writer, found: Val, mask: str, level: int) -> Val:
    zeros = f"{TYPES[found.kind][1]}{{}}"
    return w.value(found.kind, f"sel({mask}, {w.vector(found)}, {zeros})", True, level)


def _vector(w: Writer, place: Place, address: Affine, mask: str, active: int | None) -> str:
    """C that reads one element per lane."""
    pointer, stride = _pointer(place, address), address.stride
    if active is not None:
        few = w.let("VI", f"lane() < {active}", 0)
        whole = f"{mask} & {few}" if mask else few
    else:
        whole = mask
    if not address.irregular and stride == 1:
        if mask:
            return f"ldm({pointer}, {whole})"
        return f"ld({pointer})" if active is None else f"ldn({pointer}, {active})"
    if not address.irregular and not whole:
        return f"ld2({pointer})" if stride == 2 else f"lds({pointer}, {stride})"
    steps = address - address.uniform
    at = w.vector(Val("int", "", True, steps.level, steps))
    return f"gam({pointer}, {at}, {whole})" if whole else f"ga({pointer}, {at})"
