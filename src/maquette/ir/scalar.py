"""Scalar bodies: what happens at one point of a Map's domain.

A body is an expression over the operands read at the point, the point's own coordinates, extents
and constants.  An operand may be read elsewhere than at the point (`Arg.at`): a gather, a shift,
a rotation are reads at computed coordinates, not separate operators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from maquette.ir.sizes import Size


@dataclass(frozen=True)
class Lit:
    """A constant."""

    value: float | int | bool


@dataclass(frozen=True)
class Extent:
    """A size as a number, known once symbols are bound: ``t - s`` is where new tokens start."""

    size: Size


@dataclass(frozen=True)
class Index:
    """The coordinate of the point along an axis."""

    axis: str


@dataclass(frozen=True)
class Arg:
    """Operand `number`, read at the point, or with some axes read at computed coordinates."""

    number: int
    at: tuple[tuple[str, Scalar], ...] = ()


@dataclass(frozen=True)
class Apply:
    """A scalar operation on scalars."""

    op: str
    args: tuple[Scalar, ...]


Scalar: TypeAlias = Lit | Extent | Index | Arg | Apply

# Arity, and flops charged for one application.  Transcendentals count one flop, as papers do.
OPS: Mapping[str, tuple[int, int]] = {
    "add": (2, 1), "sub": (2, 1), "mul": (2, 1), "div": (2, 1),
    "max": (2, 1), "min": (2, 1), "pow": (2, 1),
    "neg": (1, 1), "abs": (1, 1), "sqrt": (1, 1), "rsqrt": (1, 1), "recip": (1, 1),
    "exp": (1, 1), "log": (1, 1), "sin": (1, 1), "cos": (1, 1), "tanh": (1, 1), "erf": (1, 1),
    "sigmoid": (1, 1), "softplus": (1, 1),
    "lt": (2, 0), "le": (2, 0), "gt": (2, 0), "ge": (2, 0), "eq": (2, 0), "ne": (2, 0),
    "and": (2, 0), "or": (2, 0), "not": (1, 0), "where": (3, 0),
    "floordiv": (2, 0), "mod": (2, 0),
    "to_f32": (1, 0), "to_bf16": (1, 0), "to_f16": (1, 0), "to_i32": (1, 0),
}  # fmt: skip


def flops(body: Scalar) -> int:
    """Arithmetic operations in one evaluation of `body` (index arithmetic is free).

    >>> flops(Apply("mul", (Arg(0), Arg(1))))
    1
    """
    if isinstance(body, Apply):
        return OPS[body.op][1] + sum(flops(a) for a in body.args)
    return 0


def reads(body: Scalar) -> Iterator[Arg]:
    """Every read of an operand in `body`, those that compute coordinates included."""
    if isinstance(body, Arg):
        yield body
        for _, index in body.at:
            yield from reads(index)
    elif isinstance(body, Apply):
        for a in body.args:
            yield from reads(a)
