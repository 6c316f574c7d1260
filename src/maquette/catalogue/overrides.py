"""What-ifs: ``machine.hbm.bandwidth="4 TB/s"`` changes one number of a machine.

A path is ``machine.`` and then the names as in its file (``machine.tiers.hbm.bandwidth``,
``machine.compute.matrix.bf16``, ``machine.links.scale_up.bandwidth``, ``machine.node``); a tier
may be named directly (``machine.hbm.bandwidth``).  Facts that the machine lacks can be given too,
as can the rate of a new number format.  What is set has kind "what-if" and source "--set".
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from maquette.catalogue.loader import structure
from maquette.errors import Fault, InputError, nearest
from maquette.ir.dtypes import DTYPES
from maquette.machines.types import Fact, Machine
from maquette.units import UNITS, FlopPerSecond


def override(machine: Machine, overrides: Sequence[str]) -> Machine:
    """`machine` with every override applied in order.  InputError lists all that cannot be."""
    faults: list[Fault] = []
    for text in overrides:
        try:
            machine = _one(machine, text)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(*faults)
    return machine


def _one(machine: Machine, text: str) -> Machine:
    path, equals, value = text.partition("=")
    where = f"--set {path.strip()}"
    keys = path.strip().split(".")
    if not equals or len(keys) < 2 or keys[0] != "machine" or not all(keys):
        example = 'such as machine.hbm.bandwidth="4 TB/s"'
        raise InputError(Fault(f"--set {text}", "is not a path and a value", example))
    if len(keys) == 3 and keys[1] not in _names(machine):
        if keys[1] not in machine.tiers:
            raise _unknown(where, keys[1], [*machine.tiers, *_names(machine)])
        keys.insert(1, "tiers")
    changed: Machine = _set(machine, Machine, keys[1:], value.strip(), where)
    return _follow(machine, changed, keys[1:])


def _follow(before: Machine, after: Machine, keys: list[str]) -> Machine:
    """Changes that must go along: a measured ceiling scales with its peak; a price set by hand
    has no market range."""
    if keys[:2] == ["price", "per_hour"] and after.price is not None:
        return replace(after, price=replace(after.price, low=None, high=None))
    fmt = keys[-1]
    if keys[:2] != ["compute", "matrix"] or fmt not in before.compute.ceiling:
        return after
    old = before.compute.ceiling[fmt]
    ratio = after.compute.matrix[fmt].value / before.compute.matrix[fmt].value
    scaled = FlopPerSecond(old.value * ratio)
    new = replace(old, value=scaled, kind="what-if", note="scaled with the peak")
    ceiling = {**before.compute.ceiling, fmt: new}
    return replace(after, compute=replace(after.compute, ceiling=ceiling))


def _set(part: Any, kind: Any, keys: list[str], text: str, where: str) -> Any:
    """`part`, declared as `kind`, with what `keys` lead to replaced."""
    kind = _inner(kind)
    if not keys:
        return _value(part, kind, text, where)
    key, rest = keys[0], keys[1:]
    if get_origin(kind) is Fact:
        raise InputError(Fault(where, "goes past a number", f"the path up to {key!r}"))
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        if key not in hints:
            raise _unknown(where, key, _names(kind))
        if part is None:
            raise InputError(Fault(where, "the machine has no such part; describe it in a file"))
        return replace(part, **{key: _set(getattr(part, key), hints[key], rest, text, where)})
    if get_origin(kind) is not None and issubclass(get_origin(kind), Mapping):
        inner = get_args(kind)[1]
        if key not in part and not _may_add(inner, key, where):
            raise _unknown(where, key, part)
        return {**part, key: _set(part.get(key), inner, rest, text, where)}
    raise InputError(Fault(where, "goes past a value", f"the path up to {key!r}"))


def _may_add(inner: Any, key: str, where: str) -> bool:
    """Only a rate can be added: a new tier or link needs more than one number."""
    return get_origin(inner) is Fact and ".compute." in where and key in DTYPES


def _value(part: Any, kind: Any, text: str, where: str) -> Any:
    if is_dataclass(kind) or is_dataclass(get_origin(kind)):
        if get_origin(kind) is not Fact:
            names = _names(kind)
            raise InputError(Fault(where, "is not one number", f"a path on to {', '.join(names)}"))
        note = "" if part is None else f"instead of {part.kind}: {part.source}"
        quantity = get_args(kind)[0]
        fact = {"value": _read(text, quantity), "kind": "what-if", "source": "--set", "note": note}
        return structure(kind, fact, where)
    return structure(kind, _read(text, kind), where)


def _read(text: str, kind: Any) -> Any:
    """The text of an option as TOML would hold it; quotes, which shells eat, are optional."""
    if kind is str or getattr(kind, "__name__", "") in UNITS:
        return text.strip("\"'") if not _number(text) or kind is str else float(text)
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _inner(kind: Any) -> Any:
    """X of ``X | None``."""
    options = [a for a in get_args(kind) if a is not type(None)]
    return options[0] if type(None) in get_args(kind) else kind


def _names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)]


def _unknown(where: str, key: str, known: Any) -> InputError:
    return InputError(Fault(where, f"{key!r} names nothing here", hint=nearest(key, known)))
