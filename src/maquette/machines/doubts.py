"""Facts nobody vouches for: vendors' claims, what was assumed, what was half recalled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from maquette.machines.checks import facts
from maquette.machines.types import Fact, Machine

KINDS = {"claim": "claimed by the vendor", "assumed": "assumed", "recalled": "recalled"}


def doubtful(machine: Machine) -> dict[str, Fact[Any]]:
    """The doubtful facts of a machine by their dotted path; what is recalled for certain is none.

    >>> from maquette.catalogue.machines import machine
    >>> doubtful(machine("corsair"))["tiers.sram.capacity"].kind
    'claim'
    """
    return {
        path: fact
        for path, fact in facts(machine)
        if fact.kind in KINDS and not (fact.kind == "recalled" and "high confidence" in fact.source)
    }


def sentence(found: Mapping[str, Fact[Any]]) -> str:
    """Doubtful facts by kind.

    >>> sentence({"tiers.sram.capacity": Fact(2e9, "claim", "a slide")})
    'tiers.sram.capacity (claimed by the vendor)'
    """
    kinds: dict[str, list[str]] = {}
    for path, fact in found.items():
        kinds.setdefault(fact.kind, []).append(path)
    return "; ".join(f"{', '.join(sorted(p))} ({KINDS[k]})" for k, p in sorted(kinds.items()))


def scaled(machine: Machine, path: str, factor: float) -> Machine:
    """A machine with the fact at a dotted path times `factor`.

    >>> from maquette.catalogue.machines import machine
    >>> scaled(machine("h100"), "tiers.hbm.bandwidth", 2.0).tiers["hbm"].bandwidth.value
    6700000000000.0
    """
    changed: Machine = _at(machine, path.split("."), factor)
    return changed


def _at(part: Any, keys: list[str], factor: float) -> Any:
    if isinstance(part, Fact):
        said = f"{factor:g} times: {part.source}"
        return replace(part, value=part.value * factor, kind="what-if", source=said)
    key, rest = keys[0], keys[1:]
    if isinstance(part, Mapping):
        return {**part, key: _at(part[key], rest, factor)}
    return replace(part, **{key: _at(getattr(part, key), rest, factor)})
