"""The one table of lowerings, by canonical operator name, and what lowerings share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from maquette.capture.expressions import op
from maquette.capture.pointwise import converted, pointwise
from maquette.capture.positional import Positional, number
from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import DType, dtype
from maquette.ir.scalar import Lit

F = TypeVar("F", bound=Callable[..., Any])

LOWERINGS: dict[str, Callable[..., Any]] = {}

FLOAT, INT, BOOL = dtype("f32"), dtype("i64"), dtype("bool")


def lowers(*names: str) -> Callable[[F], F]:
    """Enter a function in the table under canonical operator names."""

    def enter(function: F) -> F:
        for name in names:
            LOWERINGS[name] = function
        return function

    return enter


def lifted(x: Any) -> Positional:
    """A tensor, or a Python number as one."""
    return x if isinstance(x, Positional) else number(x)


def promoted(xs: Iterable[Any]) -> DType:
    """The format of a result, as frameworks decide: tensors before scalars, floats before ints."""
    ps = [lifted(x) for x in xs]
    order = ("bool", "int", "float")
    kind = max((p.dtype.kind for p in ps), key=order.index)
    firm = [p.dtype for p in ps if p.dtype.kind == kind and p.rank]
    firm = firm or [x.dtype for x in xs if isinstance(x, Positional) and x.dtype.kind == kind]
    if not firm:
        like = [p.dtype for p in ps if isinstance(p.dtype, DType) and p.dtype.kind == kind]
        return like[0]
    widest = max(firm, key=lambda d: d.bits)
    if {d.name for d in firm} >= {"bf16", "f16"}:
        return FLOAT
    return widest


def apply(name: str, *xs: Any, to: DType | None = None) -> Positional:
    """A scalar operation at every position."""
    ps = [lifted(x) for x in xs]
    if any(p.dtype.kind == "float" for p in ps):
        ps = [_as_float(p) for p in ps]
    return pointwise(lambda *s: op(name, *s), *ps, to=to or promoted(xs))


def _as_float(p: Positional) -> Positional:
    """A whole constant as a float, so that arithmetic is all of one kind."""
    if p.dtype.kind == "int" and isinstance(p.source, Lit):
        return replace(p, source=Lit(float(p.source.value)), dtype=FLOAT)
    return p


def floats(x: Any) -> Positional:
    """`x` in a floating format, f32 unless it has one."""
    p = lifted(x)
    return p if p.dtype.kind == "float" else converted(p, FLOAT)


def wide(x: Any) -> Positional:
    """`x` in the format that sums are kept in."""
    return converted(lifted(x), FLOAT)


def truth(x: Any) -> Positional:
    """`x` as conditions."""
    return converted(lifted(x), BOOL)


def axis_of(dim: int, rank: int) -> int:
    """A dimension counted from the front."""
    return dim + rank if dim < 0 else dim


def dims_of(dim: Any, rank: int) -> tuple[int, ...]:
    """Dimensions counted from the front; all of them for None and for none."""
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return tuple(range(rank))
    return tuple(axis_of(d, rank) for d in ((dim,) if isinstance(dim, int) else dim))


def refuse(what: str, expected: str = "", hint: str = "") -> NotYet:
    """The error for something a lowering does not cover."""
    return NotYet(Fault("", what, expected, hint))
