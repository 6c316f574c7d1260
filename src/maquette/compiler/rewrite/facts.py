"""What is known of a value whichever way it is computed: axes, format, whether it is constant."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maquette.errors import ProgramError
from maquette.ir.axes import Axis, axis, joined, merged, points, union
from maquette.ir.dtypes import DType, dtype
from maquette.ir.scalar import OPS, Apply, Arg, kind
from maquette.ir.sizes import Size, size


class Untyped(Exception):
    """An operator that does not fit its operands.  A rule that makes one does not apply."""


class Useless(Untyped):
    """A right side that is true, if it is, of no place that anybody would take it for."""


class Names(frozenset[str]):
    """The axes of an operand, as rules speak of them, with what else is known of it."""

    facts: Facts
    held: Any  # what the operand is: an e-class, or a value in a test


@dataclass(frozen=True)
class Facts:
    """What holds of every member of an e-class."""

    axes: tuple[Axis, ...]
    dtype: DType
    constant: bool  # depends on nothing but weights and coordinates
    weak: bool  # depends on no input at all, and takes any format
    number: float | int | None = None
    names: Names = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = Names(a.name for a in self.axes)
        names.facts = self
        object.__setattr__(self, "names", names)

    def axis(self, name: str) -> Axis:
        for a in self.axes:
            if a.name == name:
                return a
        raise Untyped(f"no axis {name!r}")


_F32, _I32, _BOOL = dtype("f32"), dtype("i32"), dtype("bool")


def infer(op: str, params: tuple[Any, ...], kids: Sequence[Facts]) -> Facts:
    """The facts of an operator applied to operands; Untyped if it cannot be."""
    shaped = _SHAPES.get(op)
    if op in ("dot", "add", "max", "min"):  # laid out as the larger operand that varies
        kids = sorted(kids, key=lambda k: (k.constant, -len(k.axes)))
    try:
        if shaped is not None:
            axes = shaped(params, kids)
        elif op in OPS and len(kids) == OPS[op][0]:
            axes = union(*(k.axes for k in kids))
        else:
            raise Untyped(f"{op} of {len(kids)} operands")
    except ProgramError as error:
        raise Untyped(str(error)) from error
    if len({a.name for a in axes}) < len(axes):
        raise Untyped(f"{op} gives two axes of one name")
    weak = all(k.weak for k in kids)
    constant = all(k.constant for k in kids)
    return Facts(axes, _format(op, params, kids), constant, weak, _number(op, params, kids))


def _format(op: str, params: tuple[Any, ...], kids: Sequence[Facts]) -> DType:
    if op in ("index", "extent"):
        return _I32 if op == "index" or _whole(params[0]) else _F32
    if op == "lit":
        return _F32 if isinstance(params[0], float) else _I32
    if op == "inside":
        return _BOOL
    if op.startswith("to_"):
        return dtype(op.removeprefix("to_"))
    body = "mul" if op == "dot" else op
    if body not in OPS:
        if len({k.dtype for k in kids}) > 1:
            raise Untyped(f"{op} of {' and '.join(str(k.dtype) for k in kids)}")
        return kids[0].dtype
    found = kind(Apply(body, tuple(map(Arg, range(len(kids))))), [k.dtype.kind for k in kids])
    if found == "bool":
        return _BOOL
    like = [k for k in kids if k.dtype.kind == found]
    held = [k.dtype for k in like if not k.weak] or [k.dtype for k in like]
    return max(held, key=lambda d: d.bits, default=_F32 if found == "float" else _I32)


def _whole(extent: Size) -> bool:
    return isinstance(extent.constant, int) or extent.constant is None


def _number(op: str, params: tuple[Any, ...], kids: Sequence[Facts]) -> float | int | None:
    """Arithmetic on constants, done ahead of time where the result is a finite number."""
    if op == "lit":
        return None if isinstance(params[0], bool) else params[0]
    if op == "extent":
        found = params[0].constant
        return found if isinstance(found, int | float) else None
    does = _ARITHMETIC.get(op)
    values = [k.number for k in kids]
    if does is None or any(v is None for v in values) or (op == "dot" and params[0]):
        return None
    try:
        result = does(*values)
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "dot": lambda a, b: a * b, "add": lambda a, b: a + b, "sub": lambda a, b: a - b,
    "div": lambda a, b: a / b, "neg": lambda a: -a, "recip": lambda a: 1 / a,
    "sqrt": math.sqrt, "rsqrt": lambda a: 1 / math.sqrt(a),
}  # fmt: skip


def _reduced(params: tuple[Any, ...], kids: Sequence[Facts]) -> tuple[Axis, ...]:
    over = params[0]
    domain = union(*(k.axes for k in kids))
    if not over <= {a.name for a in domain}:
        raise Untyped(f"no axis {sorted(over)} to combine over")
    return tuple(a for a in domain if a.name not in over)


def _dot(params: tuple[Any, ...], kids: Sequence[Facts]) -> tuple[Axis, ...]:
    if any(k.dtype.kind == "bool" for k in kids):
        raise Untyped("a product of bools")
    return _reduced(params, kids)


def _one(check: Callable[..., Iterable[Axis]]) -> Callable[..., tuple[Axis, ...]]:
    def shaped(params: tuple[Any, ...], kids: Sequence[Facts]) -> tuple[Axis, ...]:
        return tuple(check(kids[0], *params))

    return shaped


def _rename(x: Facts, old: str, new: str) -> Iterable[Axis]:
    x.axis(old)
    return [Axis(new, a.size, a.within) if a.name == old else a for a in x.axes]


def _slice(x: Facts, along: str, start: Size, length: Size) -> Iterable[Axis]:
    whole = entire(x.axis(along))
    for bound in (start, length, whole - start - length):
        if bound.constant is None or bound.constant < 0:
            if bound.constant is None and bound in (start, length):
                continue
            raise Untyped(f"slice [{start}, {start + length}) of {whole}")
    return [Axis(along, length) if a.name == along else a for a in x.axes]


def entire(ax: Axis) -> Size:
    """The size of an axis that is no data-dependent subset; Untyped if it is one."""
    if ax.within is not None:
        raise Untyped(f"axis {ax} is a subset")
    return ax.size


def _concat(params: tuple[Any, ...], kids: Sequence[Facts]) -> tuple[Axis, ...]:
    (along,) = params
    first = kids[0]
    rest = {a for a in first.axes if a.name != along}
    if any({a for a in k.axes if a.name != along} != rest for k in kids):
        raise Untyped("concat of different axes")
    whole = joined(along, (k.axis(along) for k in kids))
    return tuple(whole if a.name == along else a for a in first.axes)


def _split(x: Facts, along: str, parts: tuple[Axis, ...]) -> Iterable[Axis]:
    if points(parts) != entire(x.axis(along)) or not parts:
        raise Untyped("split into parts of another size")
    return [p for a in x.axes for p in (parts if a.name == along else (a,))]


def _merge(x: Facts, parts: tuple[Axis, ...], into: str) -> Iterable[Axis]:
    names = [a.name for a in parts]
    if not parts or any(x.axis(a.name) != a for a in parts):
        raise Untyped("merge of other axes")
    whole = merged(into, parts)
    held = [a for a in x.axes if a.name == names[0] or a.name not in names]
    return [whole if a.name == names[0] else a for a in held]


def _spread(x: Facts, parts: tuple[Axis, ...]) -> Iterable[Axis]:
    return (*x.axes, *parts)


def _shift(x: Facts, along: str, by: Size) -> Iterable[Axis]:
    if not isinstance(by.constant, int) or not isinstance(entire(x.axis(along)).constant, int):
        raise Untyped("a shift by a symbol")
    return x.axes


_SHAPES: Mapping[str, Callable[..., tuple[Axis, ...]]] = {
    "lit": lambda params, kids: (), "extent": lambda params, kids: (),
    "index": lambda params, kids: (params[0],), "inside": lambda params, kids: (params[0],),
    "dot": _dot, "sum": _reduced, "amax": _reduced, "amin": _reduced, "concat": _concat,
    "rename": _one(_rename), "slice": _one(_slice), "split": _one(_split),
    "merge": _one(_merge), "spread": _one(_spread), "shift": _one(_shift),
}  # fmt: skip


# What expressions in rules may call.


def _size_of(name: str, x: Names) -> Size:
    return entire(x.facts.axis(name))


def _axis_of(name: str, x: Names) -> Axis:
    return x.facts.axis(name)


def _at_most(left: Any, right: Any) -> bool:
    spare = (size(right) - size(left)).constant
    return spare is not None and spare >= 0


def _positive(x: Names) -> bool:
    return x.facts.number is not None and x.facts.number > 0


def _fresh(name: str, taken: frozenset[str]) -> str:
    return next(n for i in range(1, 1000) if (n := f"{name}.{i}") not in taken)


def _names(axes: Iterable[Axis]) -> frozenset[str]:
    return frozenset(a.name for a in axes)


def _count(over: Iterable[str], x: Names) -> Size:
    return points(axis(n, _size_of(n, x)) for n in over)


def _padding(name: str, x: Names, multiple: int) -> tuple[Axis, ...]:
    """The axes of the zeros that bring an axis up to a multiple."""
    more = size(-(_size_of(name, x).constant or 0) % multiple)
    return tuple(Axis(name, more) if a.name == name else a for a in x.facts.axes)


def _real(x: Names) -> bool:
    return x.facts.dtype.kind == "float"


def _mask(x: Names) -> bool:
    """Whether a value is a test of coordinates."""
    return x.facts.dtype.kind == "bool" and x.facts.weak


FUNCTIONS: dict[str, Any] = {
    "NONE": frozenset(), "len": len, "size": _size_of, "axis": _axis_of, "at_most": _at_most,
    "positive": _positive, "fresh": _fresh, "names": _names, "count": _count, "real": _real,
    "constant": lambda x: x.facts.constant, "padding": _padding, "mask": _mask,
    "__builtins__": {},
}  # fmt: skip
