"""What-ifs: ``machine.hbm.bandwidth="4 TB/s"`` changes one number of a machine.

A path is ``machine.`` and then the names as in its file (``machine.tiers.hbm.bandwidth``,
``machine.compute.matrix.bf16``, ``machine.links.scale_up.bandwidth``, ``machine.node``); a tier
may be named directly (``machine.hbm.bandwidth``).  Facts that the machine lacks can be given too,
as can the rate of a new number format.  What is set has kind "what-if" and source "--set".
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

from maquette.catalogue.loader import structure
from maquette.errors import Fault, InputError, nearest
from maquette.ir.dtypes import DTYPES
from maquette.machines.types import Fact, Machine


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
    if keys[1] not in _names(machine):
        if keys[1] not in machine.tiers:
            raise _unknown(where, keys[1], [*machine.tiers, *_names(machine)])
        keys.insert(1, "tiers")
    changed: Machine = _set(machine, Machine, keys[1:], value.strip(), where)
    return _follow(machine, changed, keys[1:])


def _follow(before: Machine, after: Machine, keys: list[str]) -> Machine:
    """What must go along with a change: what was measured of the old number scales with the new
    one, what was known of it only is dropped."""
    match keys:
        case ["price", "per_hour"] if after.price is not None:
            return replace(after, price=replace(after.price, low=None, high=None))
        case ["tiers", name, "capacity"]:
            tier = replace(after.tiers[name], visible=None)
            return replace(after, tiers={**after.tiers, name: tier})
        case ["links", name, "bandwidth"]:
            link, old = after.links[name], before.links[name]
            pair = _scaled(old.pair_bandwidth, link.bandwidth, old.bandwidth)
            return replace(after, links={**after.links, name: replace(link, pair_bandwidth=pair)})
        case ["compute", "matrix", fmt] if fmt in before.compute.ceiling:
            rates, old_rates = after.compute.matrix, before.compute.matrix
            new = _scaled(before.compute.ceiling[fmt], rates[fmt], old_rates[fmt])
            ceiling = {**before.compute.ceiling, fmt: new}
            return replace(after, compute=replace(after.compute, ceiling=ceiling))
    return after


def _scaled(fact: Any, new: Fact[Any], old: Fact[Any]) -> Any:
    if fact is None:
        return None
    value = fact.value * (new.value / old.value)
    return replace(fact, value=value, kind="what-if", note="scaled with what was set")


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
            return _new(kind, hints, key, rest, text, where)
        return replace(part, **{key: _set(getattr(part, key), hints[key], rest, text, where)})
    if get_origin(kind) is not None and issubclass(get_origin(kind), Mapping):
        inner = get_args(kind)[1]
        if key not in part and not _may_add(inner, key, where):
            raise _unknown(where, key, part)
        return {**part, key: _set(part.get(key), inner, rest, text, where)}
    raise InputError(Fault(where, "goes past a value", f"the path up to {key!r}"))


def _new(kind: Any, hints: dict[str, Any], key: str, rest: list[str], text: str, where: str) -> Any:
    """A part that the machine lacks, such as its price, begun with its one necessary number."""
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.name != key]
    if needed:
        raise InputError(
            Fault(where, "the machine has none of this", f"{needed[0]!r} to be set first")
        )
    return kind(**{key: _set(None, hints[key], rest, text, where)})


def _may_add(inner: Any, key: str, where: str) -> bool:
    """Only a rate can be added: a new tier or link needs more than one number."""
    return get_origin(inner) is Fact and ".compute." in where and key in DTYPES


def _value(part: Any, kind: Any, text: str, where: str) -> Any:
    if get_origin(kind) is Fact:
        quantity = get_args(kind)[0]
        note = "" if part is None else f"instead of {part.kind}: {part.source}"
        return Fact(structure(quantity, _read(text, quantity), where), "what-if", "--set", note)
    if is_dataclass(kind):
        parts = ", ".join(_names(kind))
        raise InputError(Fault(where, "is not one number", f"a path on to one of {parts}"))
    return structure(kind, _read(text, kind), where)


def _read(text: str, kind: Any) -> Any:
    """The text of an option as TOML would hold it; quotes, which shells eat, are optional."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1]
    if kind is str:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _inner(kind: Any) -> Any:
    """X of ``X | None``."""
    options = [a for a in get_args(kind) if a is not type(None)]
    return options[0] if type(None) in get_args(kind) else kind


def _names(kind: Any) -> list[str]:
    return [f.name for f in fields(kind)]


def _unknown(where: str, key: str, known: Any) -> InputError:
    return InputError(Fault(where, f"{key!r} names nothing here", hint=nearest(key, known)))
