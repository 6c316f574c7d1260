"""How long an operation takes where every scalar operation is one stage of a pipeline."""

from __future__ import annotations

import math

import numpy as np

from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Apply, Arg, Scalar


def depth(body: Scalar) -> int:
    """Operations one after another from any operand to the result.

    >>> depth(Apply("add", (Apply("mul", (Arg(0), Arg(1))), Arg(2))))
    2
    """
    return 1 + max(map(depth, body.args)) if isinstance(body, Apply) else 0


def interval(monoid: Monoid) -> int:
    """Cycles between elements that a fold takes: its longest loop-carried chain of operations.

    A component may wait for another of the same total and still take an element per cycle, for the
    stages that make it come later.  What sets the pace is a chain from a component back to itself.

    >>> from maquette.ir.monoids import ADD, AFFINE
    >>> interval(ADD), interval(AFFINE)
    (1, 2)
    """
    n = monoid.width
    step = np.array([[_path(c, j) for j in range(n)] for c in monoid.combine])
    walks, slowest = step, 0.0
    for length in range(1, n + 1):  # the longest walks of that length, from each to each
        slowest = max(slowest, walks.diagonal().max() / length)
        walks = (walks[:, :, None] + step[None]).max(axis=1)
    return max(1, math.ceil(slowest))


def _path(body: Scalar, component: int) -> float:
    """The longest chain of operations from a component of the left total; -inf: it is not read."""
    if isinstance(body, Arg):
        return 0.0 if body.number == component else -math.inf
    if not isinstance(body, Apply):
        return -math.inf
    return 1 + max(_path(a, component) for a in body.args)
