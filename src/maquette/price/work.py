"""What a section computes and moves, by what it depends on: tokens, sequences, or attention.

The split makes a step additive over its sequences.  Bytes may be counted of some roles only, for
machines that keep weights, KV cache and activations in tiers of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from maquette.compiler.schedule import Section
from maquette.ir.sizes import Size

Part = str  # "tokens", "seqs", "attention"
Env = Mapping[str, Any]


@dataclass(frozen=True)
class Work:
    """One part of a section: what depends on the same features."""

    part: Part
    matrix: Size
    vector: Size
    bytes: Size


@dataclass(frozen=True)
class Busy:
    """Seconds that one part of a section keeps each resource, before anything overlaps."""

    part: Part
    phase: str
    matrix: Any
    vector: Any
    memory: Any

    @property
    def longest(self) -> Any:
        return np.maximum(np.maximum(self.matrix, self.vector), self.memory)

    def times(self, factor: Any) -> Busy:
        """All three so often."""
        if isinstance(factor, float) and factor == 1.0:
            return self
        return Busy(
            self.part, self.phase, self.matrix * factor, self.vector * factor, self.memory * factor
        )


@lru_cache(maxsize=4096)
def split(section: Section, roles: tuple[str, ...] = ()) -> tuple[Work, ...]:
    """A section's work by what it depends on; bytes of these roles, of all where none is named."""
    moved = section.bytes
    if roles:
        kept = [m.bytes for m in (*section.reads, *section.writes) if m.role in roles]
        moved = sum(kept, start=Size(()))
    columns = [_by_part(section, poly) for poly in (section.matrix, section.vector, moved)]
    parts = sorted({p for column in columns for p in column})
    none = Size(())
    return tuple(Work(p, *(column.get(p, none) for column in columns)) for p in parts)


def _by_part(section: Section, poly: Size) -> dict[Part, Size]:
    found: dict[Part, list[Any]] = {}
    home = "tokens" if _has(section, "tokens") else "seqs" if _has(section, "seqs") else "tokens"
    for mono, coeff in poly.terms:
        names = {n.split(":")[0] for n, _ in mono}
        if names & {"pairs", "context"}:
            part = "attention"
        elif "seqs" in names:
            part = "seqs"
        else:
            part = "tokens" if names & {"tokens", "hit"} else home
        found.setdefault(part, []).append((mono, coeff))
    return {part: Size(tuple(terms)) for part, terms in found.items()}


def _has(section: Section, feature: str) -> bool:
    return any(feature in poly.symbols for poly in (section.matrix, section.vector, section.bytes))


def active(section: Section, env: Env) -> Any:
    """1 where a section runs, 0 where a step has no prompt for a section of prefill."""
    if section.phase != "prefill":
        return 1.0
    return np.where(np.asarray(env["prefill.seqs"]) > 0, 1.0, 0.0)


def phases(section: Section, part: Part, env: Env) -> list[tuple[str, Env]]:
    """Attention is evaluated for prefill chunks and for decoding sequences apart."""
    if section.phase == "prefill" and part != "attention":  # tokens are priced in the other form
        return [(part, {**env, "tokens": 0.0, "seqs": 0.0})]
    if part != "attention":
        return [(part, env)]
    found: list[tuple[str, Env]] = []
    for phase in (section.phase,) if section.phase else ("prefill", "decode"):
        prefix = phase + "."
        own = {k.removeprefix(prefix): v for k, v in env.items() if k.startswith(prefix)}
        found.append((phase, {**env, **own}))
    return found
