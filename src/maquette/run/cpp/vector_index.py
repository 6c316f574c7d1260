"""Integers of generated code as sums: what is known of coordinates before the code runs.

A coordinate is ``const + Σ coefficient · atom``.  Atoms are C variables with a range, and the lane
number.  From this follow the stride across lanes, reads that stay inside their tensor, comparisons
that are always true, and quotients that are the same in every lane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

LARGE = 1 << 40  # beyond every coordinate


@dataclass(frozen=True)
class Atom:
    """A C variable that holds an integer in ``[low, high]``, a multiple of `multiple`."""

    text: str
    level: int  # of the scope it is defined in
    low: int = -LARGE
    high: int = LARGE
    multiple: int = 1
    lanes: bool = False  # a vector: differs from lane to lane

    @property
    def is_lane(self) -> bool:
        return self.text == "LANE"


def lane(count: int) -> Affine:
    """The number of the lane, where the first `count` lanes matter."""
    return Affine(((Atom("LANE", 0, 0, count - 1, 1, True), 1),), 0)


@dataclass(frozen=True)
class Affine:
    """``const + Σ coefficient · atom``."""

    terms: tuple[tuple[Atom, int], ...] = ()
    const: int = 0

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.terms, self.const + other)
        found = dict(self.terms)
        for atom, c in other.terms:
            found[atom] = found.get(atom, 0) + c
        return Affine(tuple((a, c) for a, c in found.items() if c), self.const + other.const)

    def __mul__(self, factor: int) -> Affine:
        if not factor:
            return Affine()
        return Affine(tuple((a, c * factor) for a, c in self.terms), self.const * factor)

    def __sub__(self, other: Affine) -> Affine:
        return self + other * -1

    @property
    def low(self) -> int:
        return self.const + sum(c * (a.low if c > 0 else a.high) for a, c in self.terms)

    @property
    def high(self) -> int:
        return self.const + sum(c * (a.high if c > 0 else a.low) for a, c in self.terms)

    @property
    def level(self) -> int:
        return max((a.level for a, _ in self.terms), default=0)

    @property
    def lanes(self) -> bool:
        """Whether it differs from lane to lane."""
        return any(a.lanes for a, _ in self.terms)

    @property
    def stride(self) -> int:
        """How much it grows from one lane to the next, where nothing else differs."""
        return sum(c for a, c in self.terms if a.is_lane)

    @property
    def irregular(self) -> bool:
        """Whether lanes differ by more than a stride."""
        return any(a.lanes and not a.is_lane for a, _ in self.terms)

    @property
    def uniform(self) -> Affine:
        """The part that is the same in every lane."""
        return Affine(tuple((a, c) for a, c in self.terms if not a.lanes), self.const)

    @property
    def multiple(self) -> int:
        """A number that divides it; 0 where it is 0."""
        return gcd(self.const, *(c * a.multiple for a, c in self.terms))

    @property
    def text(self) -> str:
        """C for the part that is the same in every lane."""
        parts = [a.text if c == 1 else f"{c} * {a.text}" for a, c in self.terms if not a.lanes]
        if self.const or not parts:
            parts.append(str(self.const))
        text = " + ".join(parts)
        return text if len(parts) == 1 and " " not in text else f"({text})"


Define = Callable[[str, Affine, int, int], Affine]  # (C text, of what, low, high) → a new atom


def divided(value: Affine, by: int, define: Define) -> tuple[Affine, Affine] | None:
    """``(value // by, value % by)``; None where lanes do not share one quotient.

    What `by` divides comes out of the quotient; the rest is computed only where its range leaves
    a doubt.
    """
    whole = tuple((a, c // by) for a, c in value.terms if c % by == 0)
    rest = Affine(tuple((a, c) for a, c in value.terms if c % by), value.const)
    quotient = Affine(whole)
    if rest.low // by == rest.high // by:
        q = rest.low // by
        return quotient + q, rest + -q * by
    steps, offset = rest - rest.uniform, rest.uniform
    common = gcd(offset.multiple, by)
    if offset.irregular or steps.irregular or steps.low < 0 or steps.high >= common:
        return None
    low, high = offset.low // by, offset.high // by
    text = f"{offset.text} / {by}" if offset.low >= 0 else f"fdiv({offset.text}, {by}L)"
    q_atom = define(text, offset, low, high)
    text = f"{offset.text} % {by}" if offset.low >= 0 else f"fmod({offset.text}, {by}L)"
    r_atom = define(text, offset, 0, by - common)
    return quotient + q_atom, r_atom + steps
