"""Scalar bodies: what happens at one point of a Map's domain.

A body is an expression over the operands read at the point, the point's own coordinates, extents
and constants.  An operand may be read elsewhere than at the point (`Arg.at`): a gather, a shift,
a rotation are reads at computed coordinates, not separate operators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from maquette.ir.dtypes import Kind, dtype
from maquette.ir.sizes import Size


@dataclass(frozen=True, eq=False)
class Lit:
    """A constant.  1, 1.0 and True are three different ones."""

    value: float | int | bool

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lit) and repr(self.value) == repr(other.value)

    def __hash__(self) -> int:
        return hash(repr(self.value))


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
    "to_i64": (1, 0),
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


TESTS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})
LOGIC = frozenset({"and", "or", "not"})
_KEEPS_INT = frozenset({"add", "sub", "mul", "max", "min", "neg", "abs", "floordiv", "mod"})


def kind(body: Scalar, operands: Sequence[Kind]) -> Kind:
    """Whether `body` is a float, an int or a bool, given what its operands are.

    >>> kind(Apply("mul", (Index("s"), Lit(0.5))), [])
    'float'
    """
    match body:
        case Lit(value):
            return "bool" if isinstance(value, bool) else "int" if _whole(value) else "float"
        case Extent(extent):
            whole = all(_whole(c) and all(p > 0 for _, p in m) for m, c in extent.terms)
            return "int" if whole else "float"
        case Index():
            return "int"
        case Arg(number):
            return operands[number]
        case Apply(op, args):
            if op in TESTS or op in LOGIC:
                return "bool"
            if op.startswith("to_"):
                return dtype(op.removeprefix("to_")).kind
            if op == "where":
                args = args[1:]
            elif op not in _KEEPS_INT:
                return "float"
            found = {kind(a, operands) for a in args}
            return "float" if "float" in found else "int" if "int" in found else "bool"


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
