"""Scalar bodies of a kernel as one: reads by name, maps inlined, constants folded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import SupportsFloat

import numpy as np

from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.semantics import OPERATIONS

Axes = Callable[[Arg], frozenset[str]]  # the axes along which a read varies


def replace(body: Scalar, by: Mapping[Scalar, Scalar]) -> Scalar:
    """`body` with whole subexpressions exchanged."""
    if body in by:
        return by[body]
    match body:
        case Arg(number, at):
            return Arg(number, tuple((n, replace(i, by)) for n, i in at))
        case Apply(op, args):
            return Apply(op, tuple(replace(a, by) for a in args))
        case _:
            return body


def rewrite(body: Scalar, arg: Callable[[Arg], Scalar]) -> Scalar:
    """`body` with every read exchanged; coordinates of reads are rewritten first."""
    match body:
        case Arg(number, at):
            return arg(Arg(number, tuple((n, rewrite(i, arg)) for n, i in at)))
        case Apply(op, args):
            return Apply(op, tuple(rewrite(a, arg) for a in args))
        case _:
            return body


def moved(body: Scalar, at: Mapping[str, Scalar], axes: Sequence[tuple[str, ...]]) -> Scalar:
    """`body` at other coordinates; ``axes[i]`` are those of what ``Arg(i)`` reads."""
    if not at:
        return body
    match body:
        case Index(axis):
            return at.get(axis, body)
        case Arg(number, held):
            placed = {n: moved(i, at, axes) for n, i in held}
            placed |= {n: at[n] for n in axes[number] if n in at and n not in placed}
            return Arg(number, tuple(placed.items()))
        case Apply(op, args):
            return Apply(op, tuple(moved(a, at, axes) for a in args))
        case _:
            return body


def resolved(
    body: Scalar,
    reads: Sequence[str],
    names: Sequence[str],
    inlined: Mapping[str, Scalar],
    axes: Sequence[tuple[str, ...]],
) -> Scalar:
    """A stage's `body` over one table of `names`, with what is `inlined` written out."""

    def read(arg: Arg) -> Scalar:
        name = reads[arg.number]
        if name in inlined:
            return moved(inlined[name], dict(arg.at), axes)
        return Arg(names.index(name), arg.at)

    return rewrite(body, read)


def parts(body: Scalar) -> Iterator[Scalar]:
    """Every subexpression, `body` first; coordinates of reads are no subexpressions."""
    yield body
    if isinstance(body, Apply):
        for a in body.args:
            yield from parts(a)


def varies(body: Scalar, axes: Sequence[tuple[str, ...]]) -> frozenset[str]:
    """The axes along which `body` varies."""
    match body:
        case Index(axis):
            return frozenset({axis})
        case Arg(number, at):
            placed = {n for n, _ in at}
            found = frozenset(a for a in axes[number] if a not in placed)
            return found.union(*(varies(i, axes) for _, i in at))
        case Apply(_, args):
            return frozenset().union(*(varies(a, axes) for a in args))
        case _:
            return frozenset()


def factors(body: Scalar) -> tuple[list[Scalar], list[Scalar]]:
    """What `body` is a product of, and what that is divided by."""
    if isinstance(body, Apply) and body.op in ("mul", "div"):
        over, under = factors(body.args[0])
        more, less = factors(body.args[1])
        if body.op == "div":
            more, less = less, more
        return over + more, under + less
    return [body], []


def product(over: Sequence[Scalar], under: Sequence[Scalar]) -> Scalar:
    """The inverse of `factors`."""
    result: Scalar = over[0] if over else Lit(1.0)
    for f in over[1:]:
        result = Apply("mul", (result, f))
    for f in under:
        result = Apply("div", (result, f))
    return result


def difference(body: Scalar) -> tuple[Scalar, Scalar, float] | None:
    """``a, b, c`` where `body` is ``(a - b) · c`` with a constant c > 0."""
    match body:
        case Apply("sub", (a, b)):
            return a, b, 1.0
        case Apply("mul", (Apply("sub", (a, b)), Lit(c)) | (Lit(c), Apply("sub", (a, b)))) if c > 0:
            return a, b, float(c)
    return None


_LOWEST = Lit(float("-inf"))


def simplify(body: Scalar, finite: Callable[[Scalar], bool] = lambda _: False) -> Scalar:
    """Constants folded; what is `finite` is taken to be neither infinite nor NaN.

    >>> simplify(Apply("exp", (Apply("where", (Lit(False), Arg(0), _LOWEST)),)))
    Lit(value=0.0)
    """
    match body:
        case Extent(size) if size.constant is not None:
            return Lit(_number(size.constant))
        case Apply(op, args):
            return _applied(op, tuple(simplify(a, finite) for a in args), finite)
        case _:
            return body


def _number(value: SupportsFloat) -> int | float:
    return int(float(value)) if float(value).is_integer() else float(value)


def _applied(op: str, args: tuple[Scalar, ...], finite: Callable[[Scalar], bool]) -> Scalar:
    if op == "where":
        return _choice(args)
    if op in ("to_f32", "to_bf16", "to_f16") and isinstance(args[0], Lit):
        value = float(args[0].value)
        if value in (0.0, 1.0, float("inf"), float("-inf")):  # what every format holds
            return Lit(value)
    if all(isinstance(a, Lit) for a in args):
        folded = _folded(op, [a.value for a in args if isinstance(a, Lit)])
        if folded is not None:
            return folded
    if op in ("and", "or"):
        return _logic(op, args)
    known = _known(op, args, finite)
    return Apply(op, args) if known is None else known


def _choice(args: tuple[Scalar, ...]) -> Scalar:
    match args[0]:
        case Lit(value):
            return args[1] if value else args[2]
        case Apply("not", (inner,)):
            return _choice((inner, args[2], args[1]))
    return args[1] if args[1] == args[2] else Apply("where", args)


def _logic(op: str, args: tuple[Scalar, ...]) -> Scalar:
    absorbing = op == "or"
    rest = [a for a in args if not isinstance(a, Lit)]
    if any(isinstance(a, Lit) and bool(a.value) == absorbing for a in args):
        return Lit(absorbing)
    return rest[0] if len(rest) == 1 else Apply(op, args)


def _known(op: str, args: tuple[Scalar, ...], finite: Callable[[Scalar], bool]) -> Scalar | None:
    if op not in ("add", "sub", "mul", "div", "eq", "ne", "max"):
        return None
    left, right = args
    infinite = [isinstance(a, Lit) and np.isinf(a.value) for a in args]
    if op in ("eq", "ne") and any(infinite):
        other = right if infinite[0] else left
        return Lit(op == "ne") if finite(other) else None
    if op in ("add", "sub") and infinite[0] and finite(right):
        return left
    if op == "add" and infinite[1] and finite(left):
        return right
    if op == "mul" and _is(left, 0) and finite(right):
        return Lit(0.0)
    if op == "mul" and _is(right, 0) and finite(left):
        return Lit(0.0)
    if op == "div" and _is(left, 0) and finite(right):
        return Lit(0.0)
    if op == "max" and _LOWEST in args:
        return right if left == _LOWEST else left
    return _neutral(op, left, right)


def _neutral(op: str, left: Scalar, right: Scalar) -> Scalar | None:
    if (op in ("add", "sub") and _is(right, 0)) or (op in ("mul", "div") and _is(right, 1)):
        return left
    if (op == "add" and _is(left, 0)) or (op == "mul" and _is(left, 1)):
        return right
    return None


def _is(body: Scalar, value: float) -> bool:
    return isinstance(body, Lit) and not isinstance(body.value, bool) and body.value == value


def _folded(op: str, values: list[float | int | bool]) -> Scalar | None:
    if op not in OPERATIONS:
        return None
    with np.errstate(all="ignore"):
        found = OPERATIONS[op](*values)
    if isinstance(found, (bool, np.bool_)):
        return Lit(bool(found))
    if isinstance(found, (int, np.integer)):
        return Lit(int(found))
    return Lit(float(found))
