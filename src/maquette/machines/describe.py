"""A machine as rows of text, for tables: what is known, how well, and from where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any, get_args, get_type_hints

from maquette.errors import InputError
from maquette.machines.facts import native, ridge, totals
from maquette.machines.types import (
    Compute,
    Fabric,
    Fact,
    Link,
    Machine,
    Power,
    Price,
    System,
    Tier,
)
from maquette.units import show


@dataclass(frozen=True)
class Row:
    """One line of a machine's description; `kind` and `source` are empty for plain fields."""

    section: str
    name: str
    value: str
    kind: str = ""
    source: str = ""
    note: str = ""


def describe(machine: Machine) -> list[Row]:
    """Everything that is known of `machine`, then what follows from it.

    Sections: general, compute, memory, links, fabric, power, price, serial, derived.
    """
    return [
        *_general(machine),
        *_part("compute", machine.compute, Compute),
        *(r for name, t in machine.tiers.items() for r in _tier(name, t)),
        *(r for name, k in machine.links.items() for r in _link(name, k)),
        *_part("fabric", machine.fabric, Fabric),
        *_part("power", machine.power, Power),
        *_part("price", machine.price, Price),
        *(_fact("serial", name, fact, "Seconds") for name, fact in machine.serial.items()),
        *_derived(machine),
    ]


def _general(m: Machine) -> Iterator[Row]:
    yield Row("general", "machine", m.title, note=m.note)
    yield Row("general", "vendor", m.vendor)
    yield Row("general", "style", m.style)
    yield Row("general", "node", f"{m.node} device{'s' if m.node > 1 else ''}")
    for name, text in (("process", m.process), ("released", m.released)):
        if text:
            yield Row("general", name, text)
    if m.aliases:
        yield Row("general", "also called", ", ".join(m.aliases))
    for name, assembly in m.systems.items():
        stated = (f"{show(f.value, 'Bytes')} {tier}" for tier, f in assembly.totals.items())
        yield Row("general", name, ", ".join([f"{assembly.devices} devices", *stated]))
    if m.transfer_from:
        yield Row("general", "uncalibrated, borrows from", m.transfer_from)


def _tier(name: str, tier: Tier) -> Iterator[Row]:
    for row in _part("memory", tier, Tier):
        if row.name != "note":
            yield Row(row.section, f"{name} {row.name}", *_rest(row))
    if tier.note:
        yield Row("memory", f"{name} note", tier.note)


def _link(name: str, link: Link) -> Iterator[Row]:
    for row in _part("links", link, Link):
        yield Row(row.section, f"{name} {row.name}", *_rest(row))


def _rest(row: Row) -> tuple[str, str, str, str]:
    return row.value, row.kind, row.source, row.note


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _part(section: str, part: object, cls: type) -> Iterator[Row]:
    """Rows of a part of a machine; the unit of each Fact is read off the declared type."""
    if part is None or not is_dataclass(part):
        return
    for f in fields(part):
        value, unit = getattr(part, f.name), _unit(_hints(cls)[f.name])
        if isinstance(value, Fact):
            yield _fact(section, f.name, value, unit)
        elif isinstance(value, dict):
            for key, fact in value.items():
                yield _fact(section, f"{f.name} {key}", fact, unit)
        elif isinstance(value, tuple):
            if value:
                yield Row(section, f.name, ", ".join(value))
        elif value not in (None, ""):
            shown = show(value, unit) if unit and isinstance(value, float) else str(value)
            yield Row(section, f.name, shown)


def _unit(hint: Any) -> str:
    """The name of the quantity inside ``Fact[Bytes] | None``, ``Mapping[str, Fact[…]]`` …"""
    name = getattr(hint, "__name__", "")
    if hasattr(hint, "__supertype__"):
        return str(name)
    return next((u for u in map(_unit, get_args(hint)) if u), "")


def _fact(section: str, name: str, fact: Fact[Any], unit: str) -> Row:
    value = show(fact.value, unit) if unit else str(fact.value)
    if unit == "FlopPerSecond" and name.split()[-1].startswith(("int", "mxint")):
        value = value.replace("FLOP", "OP")
    return Row(section, name, value, fact.kind, fact.source, fact.note)


def _derived(m: Machine) -> Iterator[Row]:
    fmt = native(m)
    try:
        at = ridge(m, fmt) if fmt else None
    except InputError:
        at = None  # the main tier's bandwidth is not published
    if at is not None:
        note = f"decoding at a smaller batch is bound by the bandwidth of {m.main}"
        yield Row("derived", f"ridge {fmt}", f"batch {at:.3g}", "derived", note=note)
    if m.node > 1:
        for name, (size, rate) in totals(System(m, m.node)).items():
            parts = [show(size, "Bytes")] if size else []
            parts += [show(rate, "BytesPerSecond")] if rate else []
            if parts:
                yield Row("derived", f"node {name}", ", ".join(parts), "derived")
