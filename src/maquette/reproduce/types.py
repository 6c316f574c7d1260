"""Claims and verdicts: a published number, ours beside it, what was fitted, and how it came out.

A claim is a few rows.  Each row holds what was published against what the same command computes
from programs, machines and simulations, and is judged by one of four rules:

- exact: ours rounds to the digits that were printed;
- band: ours is within a stated tolerance, or range, of what was published;
- shape: an ordering or a trend holds, where no number was published;
- does not reproduce: none of these, and the row says why.

A row without a rule is a figure to read beside the others, such as a stronger baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["exact", "band", "shape", "does not reproduce"]
ORDER: tuple[Verdict, ...] = ("exact", "band", "shape", "does not reproduce")


@dataclass(frozen=True)
class Row:
    """One number of a claim.  `low` and `high` bound what counts as reproduced, in `unit`."""

    what: str
    published: float | None
    ours: float
    unit: str
    verdict: Verdict | None  # None: not judged
    low: float | None = None
    high: float | None = None
    fitted: bool = False  # ours was fitted on this very number
    note: str = ""


@dataclass(frozen=True)
class Result:
    """The rows of a claim, and every constant that was fitted to make them."""

    rows: tuple[Row, ...]
    fitted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The weakest verdict of its rows."""
        judged = [ORDER.index(r.verdict) for r in self.rows if r.verdict is not None]
        return ORDER[max(judged, default=len(ORDER) - 1)]

    @property
    def headline(self) -> Row:
        """The row to show where there is room for one: of the claim's own verdict, if it can."""
        own = [r for r in self.rows if r.verdict == self.verdict]
        judged = [r for r in (*own, *self.rows) if r.verdict is not None]
        return next((r for r in judged if r.published is not None), (judged or self.rows)[0])


@dataclass(frozen=True)
class Claim:
    """A published claim.  `run` computes it, in seconds."""

    name: str  # on the command line: coe-table5
    title: str
    source: str  # paper and table
    subject: str  # attention, fusion, composition of experts, machines, engine, compiler
    run: Callable[[], Result]
    expected: Verdict = "band"  # what the tests hold it to


def exact(
    what: str, published: float, ours: float, unit: str, digit: float = 1.0, *,
    fitted: bool = False, note: str = "",
) -> Row:  # fmt: skip
    """`ours` rounds to `published`, printed to the place of `digit` (0.1: one decimal).

    >>> exact("cycles", 7159, 7159.0, "cycles").verdict
    'exact'
    >>> exact("ratio", 6.6, 6.7, "x", 0.1).verdict
    'does not reproduce'
    """
    half = digit / 2 * (1 + 1e-9)
    verdict = _judged("exact", ours, published - half, published + half)
    return Row(what, published, ours, unit, verdict, fitted=fitted, note=note)


def within(
    what: str, published: float, ours: float, unit: str, share: float, *,
    fitted: bool = False, note: str = "",
) -> Row:  # fmt: skip
    """`ours` is within a `share` of `published`.

    >>> within("rate", 1042, 1027, "tokens/s", 0.05).verdict
    'band'
    """
    low, high = sorted((published * (1 - share), published * (1 + share)))
    verdict = _judged("band", ours, low, high)
    return Row(what, published, ours, unit, verdict, low, high, fitted, note)


def between(
    what: str, low: float, high: float, ours: float, unit: str, *,
    published: float | None = None, fitted: bool = False, note: str = "",
) -> Row:  # fmt: skip
    """`ours` lies in a published range; `published=` may give the one number inside it.

    >>> between("speed-up", 1.5, 3, 2.2, "x").verdict
    'band'
    """
    verdict = _judged("band", ours, low, high)
    return Row(what, published, ours, unit, verdict, low, high, fitted, note)


def shape(what: str, holds: bool, ours: float, unit: str, note: str = "") -> Row:
    """A trend or an ordering, `what`, that `ours` shows.

    >>> shape("gains grow with sparsity", True, 1.7, "x").verdict
    'shape'
    """
    return Row(what, None, ours, unit, "shape" if holds else "does not reproduce", note=note)


def refuted(what: str, published: float, ours: float, unit: str, why: str) -> Row:
    """A published number that its own stated configuration does not give, and `why`."""
    return Row(what, published, ours, unit, "does not reproduce", note=why)


def beside(what: str, ours: float, unit: str, note: str = "", published: float | None = None
           ) -> Row:  # fmt: skip
    """A figure to read beside the others; it is not judged."""
    return Row(what, published, ours, unit, None, note=note)


def _judged(rule: Verdict, ours: float, low: float, high: float) -> Verdict:
    return rule if low <= ours <= high else "does not reproduce"
