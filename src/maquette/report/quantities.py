"""Every number of a description, with the path that leads to it, its unit, kind and source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from maquette.machines.types import Fact
from maquette.units import UNITS, show


@dataclass(frozen=True)
class Quantity:
    """A fact as it leaves Python: `value` in SI units of `unit`, `text` as people write it."""

    path: str
    value: Any
    unit: str
    text: str
    kind: str
    source: str
    note: str


def quantities(thing: object, path: str) -> Iterator[Quantity]:
    """The facts inside a dataclass, depth first; `path` is what leads to it.

    >>> from maquette.machines.types import Power
    >>> from maquette.units import Watts
    >>> [q.path for q in quantities(Power(tdp=Fact(Watts(700.0), "datasheet", "x")), "power")]
    ['power.tdp']
    """
    hints = get_type_hints(type(thing))
    for f in fields(thing):  # type: ignore[arg-type]
        yield from _found(getattr(thing, f.name), hints[f.name], f"{path}.{f.name}")


def _found(value: Any, hint: Any, path: str) -> Iterator[Quantity]:
    if value is None:
        return
    if isinstance(value, Fact):
        yield _quantity(value, _unit(hint), path)
    elif is_dataclass(value):
        yield from quantities(value, path)
    elif isinstance(value, Mapping):
        inner = get_args(_inner(hint))
        for key, item in value.items():
            yield from _found(item, inner[1] if inner else Any, f"{path}.{key}")


def _quantity(fact: Fact[Any], unit: str, path: str) -> Quantity:
    known = UNITS.get(unit, {})
    symbol = next((u for u, factor in known.items() if factor == 1.0), "")
    text = show(fact.value, unit) if known else str(fact.value)
    return Quantity(path, fact.value, symbol, text, fact.kind, fact.source, fact.note)


def _inner(hint: Any) -> Any:
    """X of ``X | None``."""
    options = [a for a in get_args(hint) if a is not type(None)]
    return options[0] if type(None) in get_args(hint) else hint


def _unit(hint: Any) -> str:
    """The name of the quantity in ``Fact[Bytes] | None``; empty for a plain number."""
    fact = _inner(hint)
    if get_origin(fact) is not Fact:
        return ""
    return str(getattr(get_args(fact)[0], "__name__", ""))
