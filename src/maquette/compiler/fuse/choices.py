"""The choices of fusion, as data: what a search varies, with defaults that need no search."""

from __future__ import annotations

from dataclasses import dataclass

from maquette.ir.patterns import Value


@dataclass(frozen=True)
class Choices:
    """What `fuse` may decide one way or the other; every way means the same.

    Costs are in additions per point, see `kept.cost`.
    """

    cheap: int = 4  # a body of no more is computed again rather than kept
    prologue: int = 1  # the same, for an operand of a contraction: a cast, a scale
    resident: int = 1 << 20  # bytes of one row that may stay on chip between stages
    through: bool = True  # a product of activations streams into what combines it
    weights_through: bool = False  # so does a product with weights: no logits in memory
    stages: int = 32  # of one kernel: compilers take more than their share for long functions
    siblings: bool = True  # stages over one domain that share an input run as one
    apart: frozenset[Value] = frozenset()  # values that start a kernel of their own
    inlined: frozenset[Value] = frozenset()  # Maps that are computed wherever they are read
