"""What scalar operations cost in generated code, in vector operations: the unit of `Counts.vector`.

An addition is 1, and so is a comparison or a selection, which papers count as nothing.  The others
were measured by ``maquette calibrate --machine this`` (2026-11-21, 512-bit vectors, functions of
`run.cpp.vector_math`), medians to two digits.
"""

from __future__ import annotations

from collections.abc import Mapping

from maquette.ir.scalar import Apply, Scalar

WORTH: Mapping[str, float] = {
    "div": 19, "recip": 19, "sqrt": 20, "rsqrt": 39, "exp": 18, "log": 42, "tanh": 50,
    "sigmoid": 32, "softplus": 115, "erf": 62, "sin": 66, "cos": 68,
    "pow": 1000,  # element by element, in the C library
    "floordiv": 30, "mod": 30,
}  # fmt: skip


def operations(body: Scalar) -> float:
    """Vector operations of one evaluation of `body` for a register full of points.

    Coordinates of reads are not counted: they are addresses.

    >>> from maquette.ir.scalar import Arg
    >>> operations(Apply("exp", (Apply("sub", (Arg(0), Arg(1))),)))
    19.0
    """
    if isinstance(body, Apply):
        return WORTH.get(body.op, 1.0) + sum(map(operations, body.args))
    return 0.0
