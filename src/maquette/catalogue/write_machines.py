"""Write a machine to a TOML file that `catalogue.machines` reads back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import isclose
from typing import Any, get_args, get_type_hints

from maquette.catalogue.write_calibrations import quoted
from maquette.machines.types import Fact, Machine
from maquette.units import parse, show


def text(machine: Machine, heading: str = "") -> str:
    """The file of a machine, which reads back as the same machine.

    >>> from maquette.catalogue.loader import structure
    >>> from maquette.catalogue.machines import machine
    >>> import tomllib
    >>> l4 = machine("l4")
    >>> structure(Machine, tomllib.loads(text(l4))) == l4
    True
    """
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    lines += ["", *_table("", machine, Machine)] if lines else _table("", machine, Machine)
    return "\n".join(lines) + "\n"


def _table(path: str, value: object, kind: type) -> Iterator[str]:
    """Plain keys first, as TOML wants it, then every table under its own heading."""
    hints = get_type_hints(kind)
    below = []
    for f in fields(kind):
        held = getattr(value, f.name)
        if held is None or held == f.default or (held == {} and f.default_factory is not MISSING):
            continue
        if isinstance(held, Fact) or not (isinstance(held, Mapping) or is_dataclass(held)):
            yield f"{f.name} = {_value(held, hints[f.name])}"
        else:
            below.append((f.name, held))
    for name, held in below:
        yield from _under(f"{path}{name}", held, hints[name])


def _under(path: str, held: Any, hint: Any) -> Iterator[str]:
    if not isinstance(held, Mapping):
        yield from ("", f"[{path}]", *_table(f"{path}.", held, type(held)))
        return
    inner = get_args(hint)[1]
    if all(isinstance(v, Fact) for v in held.values()):  # an empty one is a table all the same
        yield from ("", f"[{path}]")
        yield from (f"{_key(k)} = {_value(v, inner)}" for k, v in held.items())
        return
    for key, value in held.items():
        here = f"{path}.{_key(key)}"
        yield from ("", f"[{here}]", *_table(f"{here}.", value, type(value)))


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() else quoted(name)


def _value(value: Any, hint: Any) -> str:
    if isinstance(value, Fact):
        parts = [f"value = {_value(value.value, hint)}", f"kind = {quoted(value.kind)}"]
        parts += [f"source = {quoted(value.source)}"]
        parts += [f"note = {quoted(value.note)}"] if value.note else []
        return "{ " + ", ".join(parts) + " }"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(quoted, value)) + "]"
    unit = _unit(hint)
    return quoted(_quantity(value, unit)) if unit else str(value)


def _quantity(value: float, unit: str) -> str:
    """With as few digits as read back as the same number."""
    shown = (show(value, unit, digits) for digits in range(3, 18))
    return next((s for s in shown if isclose(parse(s, unit), value, rel_tol=1e-15)), repr(value))


def _unit(hint: Any) -> str:
    """The name of the quantity inside ``Fact[Bytes] | None`` and its like; "" if there is none."""
    if hasattr(hint, "__supertype__"):
        return str(hint.__name__)
    return next((u for u in map(_unit, get_args(hint)) if u), "")
