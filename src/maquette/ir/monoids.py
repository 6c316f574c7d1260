"""Typed monoids: an identity and an associative combine, both as data.

A monoid of several components combines tuples: its combine is one scalar body per component over
``left…, right…`` (operands ``0…n-1`` are the left tuple, ``n…2n-1`` the right).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from maquette.ir.scalar import Apply, Arg, Lit, Scalar, flops


@dataclass(frozen=True)
class Monoid:
    """An associative combine with an identity."""

    name: str
    identity: tuple[Lit, ...]
    combine: tuple[Scalar, ...]
    commutative: bool = True

    @property
    def width(self) -> int:
        return len(self.identity)

    @property
    def flops(self) -> int:
        return sum(flops(c) for c in self.combine)

    def __str__(self) -> str:
        return self.name


def _binary(name: str, op: str, identity: float | bool) -> Monoid:
    return Monoid(name, (Lit(identity),), (Apply(op, (Arg(0), Arg(1))),))


ADD = _binary("add", "add", 0.0)
MUL = _binary("mul", "mul", 1.0)
MAX = _binary("max", "max", float("-inf"))
MIN = _binary("min", "min", float("inf"))
AND = _binary("and", "and", True)
OR = _binary("or", "or", False)

# x → a·x + b, composed left to right: the recurrence of state-space and linear-attention layers.
AFFINE = Monoid(
    "affine",
    (Lit(1.0), Lit(0.0)),
    (
        Apply("mul", (Arg(0), Arg(2))),
        Apply("add", (Apply("mul", (Arg(2), Arg(1))), Arg(3))),
    ),
    commutative=False,
)

MONOIDS: Mapping[str, Monoid] = {m.name: m for m in (ADD, MUL, MAX, MIN, AND, OR, AFFINE)}
