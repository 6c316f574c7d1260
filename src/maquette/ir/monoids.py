"""Typed monoids: an identity and an associative combine, both as data.

A monoid of several components combines tuples: its combine is one scalar body per component over
``left…, right…`` (operands ``0…n-1`` are the left tuple, ``n…2n-1`` the right).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from maquette.ir.scalar import Apply, Arg, Lit, Scalar, flops, reads


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


@dataclass(frozen=True)
class Part:
    """One component of a streamed monoid: combined by `op`, repaired when an earlier one moves.

    `factor` is a scalar of the earlier components before (operands ``0…n-1``) and after
    (``n…2n-1``) an update, n being the width of the whole monoid; it acts on the component by
    `action`.  `shift`, a scalar of the same operands, is added after that: a moment about a centre
    that moves is the moment about the old one and a multiple of a lower moment.  None: nothing it
    depends on moves it.  The repair is a cocycle: from a to a it changes nothing, and from b to c
    after a to b it is from a to c.
    """

    op: Monoid
    factor: Scalar | None = None
    action: Literal["mul", "add"] = "mul"
    shift: Scalar | None = None

    @property
    def flops(self) -> int:
        """Of repairing one value and combining it."""
        repairs = [b for b in (self.factor, self.shift) if b is not None]
        return self.op.flops + sum(1 + flops(b) for b in repairs)

    def needs(self, width: int) -> frozenset[int]:
        """Which components of a monoid of some width the repair mentions."""
        bodies = [b for b in (self.factor, self.shift) if b is not None]
        return frozenset(read.number % width for b in bodies for read in reads(b))


@dataclass(frozen=True)
class Streamed(Monoid):
    """Reductions that depend on reductions, folded as one.

    ``(r, s) ⊞ (r', s') = (r⊕r', φ(r, r⊕r')·s ⊗ φ(r', r⊕r')·s')``: `combine` says it in full, and
    `parts` keeps ⊕, ⊗ and φ apart for a backend that folds a block at a time: first the new ``r``
    of the block, then ``φ(r_leaf, r)·s_leaf`` of every leaf, added to ``φ(r_old, r)·s_old``.
    """

    parts: tuple[Part, ...] = ()


def streamed(name: str, parts: Sequence[Part]) -> Streamed:
    """The monoid that folds `parts` in one pass; each part depends on those before it.

    >>> softmax = streamed("softmax", [Part(MAX), Part(ADD, _EXP_OF_DIFFERENCE)])
    >>> softmax.width, softmax.commutative
    (2, True)
    """
    n = len(parts)
    total: list[Scalar] = []
    for i, part in enumerate(parts):
        sides = [_repaired(part, i, side, total, n) for side in (0, n)]
        total.append(_substitute(part.op.combine[0], dict(enumerate(sides))))
    identity = tuple(p.op.identity[0] for p in parts)
    return Streamed(
        name, identity, tuple(total), all(p.op.commutative for p in parts), tuple(parts)
    )


def _repaired(part: Part, i: int, side: int, total: Sequence[Scalar], n: int) -> Scalar:
    moved: Scalar = Arg(side + i)
    before: dict[int, Scalar] = {j: Arg(side + j) for j in range(i)}
    after = {n + j: total[j] for j in range(i)}
    if part.factor is not None:
        moved = Apply(part.action, (_substitute(part.factor, before | after), moved))
    if part.shift is not None:
        moved = Apply("add", (moved, _substitute(part.shift, before | after)))
    return moved


def _substitute(body: Scalar, by: Mapping[int, Scalar]) -> Scalar:
    match body:
        case Arg(number):
            return by[number]
        case Apply(op, args):
            return Apply(op, tuple(_substitute(a, by) for a in args))
        case _:
            return body


def _binary(name: str, op: str, identity: float | bool) -> Monoid:
    return Monoid(name, (Lit(identity),), (Apply(op, (Arg(0), Arg(1))),))


ADD = _binary("add", "add", 0.0)
MUL = _binary("mul", "mul", 1.0)
MAX = _binary("max", "max", float("-inf"))
MIN = _binary("min", "min", float("inf"))
AND = _binary("and", "and", True)
OR = _binary("or", "or", False)

# What a component of exponentials is multiplied by when the maximum goes from Arg(0) to Arg(2).
# A maximum that does not move, -inf included, leaves it as it is.
_EXP_OF_DIFFERENCE = Apply(
    "where",
    (
        Apply("eq", (Arg(0), Arg(2))),
        Lit(1.0),
        Apply("exp", (Apply("sub", (Arg(0), Arg(2))),)),
    ),
)

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
