"""Forms: what is computed at a point, from operands read at coordinates that are affine in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from maquette.compiler.rewrite.building import Builder
from maquette.compiler.rewrite.egraph import COMMUTATIVE
from maquette.compiler.rewrite.facts import Useless


@dataclass(frozen=True)
class Number:
    """The same number everywhere."""

    value: float | int


@dataclass(frozen=True)
class Coord:
    """A coordinate of the point, and so much more."""

    axis: str
    more: int = 0


@dataclass(frozen=True)
class Read:
    """An operand at (its axis, axis of the point, so much further)."""

    held: Any
    at: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Sum:
    """The sum of forms, each over a box of further axes."""

    parts: tuple[tuple[tuple[tuple[str, int, int], ...], Form], ...]

    @staticmethod
    def over(found: Iterable[tuple[Mapping[str, tuple[int, int]], Form]]) -> Sum:
        """A sum whose terms are read, along what is summed, where its boxes say."""
        parts = []
        for box, form in found:
            sides = dict(box)
            for name in sorted(sides):
                first = min(_offsets(form, name), default=0)
                form = moved(form, name, -first)
                sides[name] = (sides[name][0] + first, sides[name][1] + first)
            parts.append((tuple((n, a, b) for n, (a, b) in sorted(sides.items())), form))
        return Sum(tuple(sorted(parts, key=repr)))


Form: TypeAlias = Number | Coord | Read | Sum | tuple[Any, ...]  # operator and its operands
_TESTS = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}  # and what they are, sides swapped


def moved(form: Form, axis: str, by: int, new: str = "") -> Form:
    """A form at a point that lies further along an axis, or whose axis is called otherwise."""
    name = new or axis
    match form:
        case Number():
            return form
        case Coord(held, more):
            return Coord(name, more + by) if held == axis else form
        case Read(held, at):
            return Read(
                held, tuple((n, name, m + by) if o == axis else (n, o, m) for n, o, m in at)
            )
        case Sum(parts):
            inner = {n for box, _ in parts for n, _, _ in box}
            if axis in inner or name in inner:
                raise Useless(f"{name} is summed over")
            return Sum(tuple((box, moved(f, axis, by, new)) for box, f in parts))
    return (form[0], *(moved(f, axis, by, new) for f in form[1:]))


def _offsets(form: Form, axis: str) -> list[int]:
    match form:
        case Coord(held, more):
            return [more] if held == axis else []
        case Read(_, at):
            return [m for _, o, m in at if o == axis]
        case Sum(parts):
            return [m for _, f in parts for m in _offsets(f, axis)]
        case tuple():
            return [m for f in form[1:] for m in _offsets(f, axis)]
    return []


def does(form: Form, box: Mapping[str, tuple[int, int]]) -> Form:
    """An operation simplified as far as intervals say; its operands are already."""
    if not isinstance(form, tuple):
        return form
    op: str = form[0]
    args: list[Form] = list(form[1:])
    if op == "where":
        known = truth(args[0], box)
        return form if known is None else does(args[1 if known else 2], box)
    numbers = [a.value for a in args if isinstance(a, Number)]
    if op == "mul" and 0 in numbers:
        return Number(0.0)
    if op in _FOLDS and len(numbers) == len(args):
        return Number(_FOLDS[op](*map(Fraction, numbers)))
    if op in ("max", "min") and args == [Number(0.0)] * 2:
        return args[0]
    unit = {"add": 0, "mul": 1}.get(op)
    if unit in numbers and len(args) == 2:
        return args[1] if args[0] == Number(unit) else args[0]
    if op == "sub" and args[1] == Number(0.0):
        return args[0]
    if op == "add" and isinstance(args[0], Coord) and isinstance(args[1], Number):
        return Coord(args[0].axis, args[0].more + int(args[1].value))
    if op == "mul" or op in COMMUTATIVE:
        args = sorted(args, key=repr)
    return (op, *args)


def _exact(value: Fraction) -> float | int:
    return int(value) if value.denominator == 1 else float(value)


_FOLDS: Mapping[str, Any] = {
    "add": lambda a, b: _exact(a + b), "sub": lambda a, b: _exact(a - b),
    "mul": lambda a, b: _exact(a * b), "neg": lambda a: _exact(-a),
}  # fmt: skip


def truth(form: Form, box: Mapping[str, tuple[int, int]]) -> bool | None:
    """Whether a test of coordinates holds on all of a box, on none of it, or neither (None)."""
    match form:
        case Number(value):
            return bool(value)
        case ("and" | "or" as op, one, two):
            known = {truth(one, box), truth(two, box)}
            decisive = op == "or"
            return decisive if decisive in known else None if None in known else not decisive
        case ("not", one):
            found = truth(one, box)
            return None if found is None else not found
        case (str(op), Coord() | Number() as one, Coord() | Number() as two) if op in _TESTS:
            low, high = _difference(one, two, box)
            match op:
                case "lt":
                    return True if high < 0 else False if low >= 0 else None
                case "le":
                    return True if high <= 0 else False if low > 0 else None
                case "gt":
                    return True if low > 0 else False if high <= 0 else None
                case _:
                    return True if low >= 0 else False if high < 0 else None
    return None


def _difference(one: Form, two: Form, box: Mapping[str, tuple[int, int]]) -> tuple[float, float]:
    """The least and the largest that one coordinate is beyond another."""
    if isinstance(one, Coord) and isinstance(two, Coord) and one.axis == two.axis:
        return one.more - two.more, one.more - two.more
    sides = []
    for form in (one, two):
        if isinstance(form, Coord):
            low, high = box[form.axis]
            sides.append((low + form.more, high - 1 + form.more))
        else:
            assert isinstance(form, Number)
            sides.append((form.value, form.value))  # type: ignore[arg-type]
    return sides[0][0] - sides[1][1], sides[0][1] - sides[1][0]


def form_of(graph: Builder, id: int) -> tuple[Form, dict[str, set[int]]]:
    """A test of coordinates as a form, and where along an axis it changes by that axis alone."""
    edges: dict[str, set[int]] = {}
    return _read(graph, id, edges), edges


def _read(graph: Builder, id: int, edges: dict[str, set[int]]) -> Form:
    for op, params, kids in graph[id].nodes:
        if op == "lit":
            return Number(params[0])
        if op == "index":
            return Coord(params[0].name)
        if op == "spread":
            return _read(graph, kids[0], edges)
        if op in _TESTS or op in ("and", "or", "not", "add", "sub"):
            found = does((op, *(_read(graph, k, edges) for k in kids)), {})
            _edges(found, edges)
            return found
    raise Useless("no test of coordinates")


def _edges(form: Form, edges: dict[str, set[int]]) -> None:
    match form:
        case (str(op), Coord(axis, more), Number(value)) if op in _TESTS:
            edges.setdefault(axis, set()).update((int(value) - more, int(value) - more + 1))
        case (str(op), Number(), Coord()) if op in _TESTS:
            _edges((_TESTS[op], form[2], form[1]), edges)


def depends(form: Form) -> Sequence[str]:
    """The axes of the point that a form varies along."""
    match form:
        case Coord(axis):
            return [axis]
        case Read(_, at):
            return [o for _, o, _ in at]
        case Sum(parts):
            inner = {n for box, _ in parts for n, _, _ in box}
            return [n for _, f in parts for n in depends(f) if n not in inner]
        case tuple():
            return [n for f in form[1:] for n in depends(f)]
    return []
