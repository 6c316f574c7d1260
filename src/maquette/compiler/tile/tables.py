"""Functions of a few bits as tables: one register holds every value, one shuffle looks them up.

A body that reads memory only through the low bits of one whole number (half a byte, say) has as
many values as those bits; where they fit a vector, looking up replaces all of its arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from maquette.compiler.tile import bodies
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.semantics import Numbers, scalar


@dataclass(frozen=True)
class Table:
    """``values[index mod len(values)]``; there are as many values as lanes."""

    index: Scalar
    values: tuple[float, ...]


def table(body: Scalar, lanes: int) -> Table | None:
    """`body` as a table; None where it is no function of few bits, or is one already.

    >>> from maquette.compiler.tile.tables import table
    >>> from maquette.ir.scalar import Arg
    >>> byte = Apply("mod", (Arg(0), Lit(256)))
    >>> high = Apply("sub", (Apply("to_f32", (Apply("floordiv", (byte, Lit(64))),)), Lit(2.0)))
    >>> found = table(high, 4)
    >>> found.values
    (-2.0, -1.0, 0.0, 1.0)
    >>> found.index == Apply("floordiv", (Arg(0), Lit(64)))
    True
    """
    body = low_bits(body)
    for part in _bits(body, lanes):
        held, size = part.args[0], part.args[1]
        assert isinstance(size, Lit)
        other = bodies.replace(body, {part: Lit(0)})
        if body == part or any(isinstance(p, Arg | Index | Extent) for p in bodies.parts(other)):
            continue
        made = [_value(bodies.replace(body, {part: Lit(i)})) for i in range(int(size.value))]
        return Table(held, tuple(made) * (lanes // len(made)))
    return None


def _value(body: Scalar) -> float:
    """A body that reads nothing."""
    with np.errstate(all="ignore"):
        return float(scalar(body, Numbers({}), lambda _: None, None))


def low_bits(body: Scalar) -> Scalar:
    """Remainders of powers of two outside quotients by them, and never one inside another."""
    if not isinstance(body, Apply):
        return body
    args = tuple(low_bits(a) for a in body.args)
    match body.op, args:
        case "mod", (Apply("mod", (held, Lit(int(m)))), Lit(int(n))) if _nested(m, n):
            return Apply("mod", (held, Lit(min(m, n))))
        case "floordiv", (Apply("mod", (held, Lit(int(m)))), Lit(int(n))) if _nested(m, n):
            quotient = Apply("floordiv", (held, Lit(n)))
            return Apply("mod", (quotient, Lit(m // n))) if n < m else Lit(0)
    return Apply(body.op, args)


def _nested(m: int, n: int) -> bool:
    """Whether both are powers of two, so that one divides the other."""
    return m > 0 and n > 0 and not m & (m - 1) and not n & (n - 1)


def _bits(body: Scalar, lanes: int) -> Iterator[Apply]:
    """Remainders by powers of two up to `lanes`."""
    for part in bodies.parts(body):
        match part:
            case Apply("mod", (held, Lit(int(n)))) if 1 < n <= lanes and not n & (n - 1):
                if not isinstance(held, (Lit, Extent)):
                    yield part
