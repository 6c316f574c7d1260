"""From an operator and the values of its operands to a value of the language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from maquette.compiler.rewrite.facts import Facts
from maquette.ir.axes import Axis, union
from maquette.ir.monoids import ADD, MAX, MIN, Monoid
from maquette.ir.patterns import Map, Reduce, Value, View, make
from maquette.ir.scalar import OPS, Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.sizes import Size, size

Part: TypeAlias = Value | Lit | Extent | Index | Apply  # a scalar where no tensor is needed
REDUCES: Mapping[str, Monoid] = {"sum": ADD, "amax": MAX, "amin": MIN}
_SLOTS = frozenset({"args", "key"})


@dataclass(frozen=True)
class Template:
    """A pattern without its operands, for what no rule looks into."""

    cls: type[Value]
    parts: tuple[tuple[str, Any], ...]

    def __call__(self, operands: Sequence[Value], section: str) -> Value:
        held = {"key": operands[0]} if self.slot == "key" else {"args": tuple(operands)}
        return make(self.cls, section=section, **dict(self.parts), **held)

    @property
    def slot(self) -> str:
        return "args" if any(f.name == "args" for f in fields(self.cls)) else "key"


def template(value: Value) -> Template:
    """What of a pattern is not its operands and not where it stands."""
    names = [f.name for f in fields(value) if f.name not in (*_SLOTS, "section")]
    return Template(type(value), tuple((n, getattr(value, n)) for n in names))


def build(
    op: str,
    params: tuple[Any, ...],
    kids: Sequence[Part],
    known: Sequence[Facts],
    facts: Facts,
    section: str = "",
    order: Sequence[Axis] | None = None,
) -> Part:
    """The value of an operator; a scalar where it needs no axes or is one coordinate.

    `known` and `facts` are what is known of the operands and of the result.  `order` lays out the
    axes of what is computed; views are laid out as their operand is.
    """
    axes = _ordered(facts.axes, order)
    scalar = _scalar(op, params, kids, facts)
    if scalar is not None:
        return scalar
    if op == "dot" or op in OPS:
        if op == "dot" and params[0]:
            return _dot(params[0], kids, facts, section, axes)
        return _pointwise("mul" if op == "dot" else op, kids, facts, section, axes)
    whole = [tensor(k, f, section) for k, f in zip(kids, known, strict=True)]
    if op == "opaque":
        return _opaque(params[0], whole, section)
    if op in REDUCES:
        return _reduce(REDUCES[op], params[0], whole[0], facts, section, axes)
    if op in _VIEWS:
        return _VIEWS[op](params, whole, facts, section)
    if op == "spread":
        return _map(Arg(0), whole, facts, section, axes)
    along, by = params
    moved = Arg(0, ((along, Apply("add", (Index(along), Lit(by.constant)))),))
    return _map(moved, whole, facts, section, axes)


def tensor(part: Part, facts: Facts, section: str = "") -> Value:
    """A part as a value of its own."""
    if isinstance(part, Value):
        return part
    return make(Map, section=section, axes=facts.axes, dtype=facts.dtype, args=(), body=part)


def _opaque(pattern: Template, operands: Sequence[Value], section: str) -> Value:
    return pattern(operands, section)


def _ordered(axes: Sequence[Axis], order: Sequence[Axis] | None) -> tuple[Axis, ...]:
    if order is None or set(order) != set(axes):
        return tuple(axes)
    return tuple(order)


def _scalar(op: str, params: tuple[Any, ...], kids: Sequence[Part], facts: Facts) -> Part | None:
    if op == "lit":
        return Lit(params[0])
    if op == "extent":
        return Extent(params[0])
    if op == "index":
        return Index(params[0].name)
    if op == "inside":
        return _inside(*params)
    plain = op not in ("dot", *_VIEWS, "spread", "shift", *REDUCES)
    if not facts.axes and (plain or (op == "dot" and not params[0])):
        scalars = [k for k in kids if not isinstance(k, Value)]
        if len(scalars) == len(kids):
            return Apply("mul" if op == "dot" else op, tuple(scalars))
    return None


def _inside(ax: Axis, by: Size) -> Part:
    """Whether a read at ``i + by`` is inside the axis: only the side that can fail is asked."""
    number, offset = ax.size.constant, by.constant
    assert isinstance(number, int) and isinstance(offset, int)
    if offset < 0:
        return Apply("ge", (Index(ax.name), Lit(-offset)))
    return Apply("lt", (Index(ax.name), Lit(number - offset)))


def _map(
    body: Scalar, args: Sequence[Value], facts: Facts, section: str, axes: Sequence[Axis]
) -> Value:
    parts = {"axes": tuple(axes), "dtype": facts.dtype, "section": section}
    return make(Map, args=tuple(args), body=body, **parts)


def _pointwise(
    op: str, kids: Sequence[Part], facts: Facts, section: str, axes: Sequence[Axis]
) -> Value:
    args: list[Value] = []
    scalars: list[Scalar] = []
    for k in kids:
        if isinstance(k, Value):
            if k not in args:
                args.append(k)
            scalars.append(Arg(args.index(k)))
        else:
            scalars.append(k)
    return _map(Apply(op, tuple(scalars)), args, facts, section, axes)


def _dot(
    over: frozenset[str],
    kids: Sequence[Part],
    facts: Facts,
    section: str,
    axes: Sequence[Axis],
) -> Value:
    product = union(*(k.axes for k in kids if isinstance(k, Value)))
    return _reduce(
        ADD, over, _pointwise("mul", kids, facts, section, product), facts, section, axes
    )


def _reduce(
    monoid: Monoid,
    over: frozenset[str],
    arg: Value,
    facts: Facts,
    section: str,
    axes: Sequence[Axis],
) -> Value:
    order = tuple(a.name for a in arg.axes if a.name in over)
    parts = {"axes": tuple(axes), "dtype": facts.dtype, "section": section}
    return make(Reduce, monoid=monoid, over=order, args=(arg,), **parts)


def _view(
    kind: str, args: Sequence[Value], axes: Sequence[Axis], names: Sequence[str], section: str,
    start: Size | None = None,
) -> Value:  # fmt: skip
    parts = {"axes": tuple(axes), "dtype": args[0].dtype, "section": section, "start": start}
    return make(View, kind=kind, args=tuple(args), names=tuple(names), **parts)


def _rename(params: tuple[Any, ...], kids: list[Value], facts: Facts, section: str) -> Value:
    old, new = params
    axes = [Axis(new, a.size, a.within) if a.name == old else a for a in kids[0].axes]
    return _view("rename", kids, axes, (f"{old}:{new}",), section)


def _slice(params: tuple[Any, ...], kids: list[Value], facts: Facts, section: str) -> Value:
    along, start, length = params
    axes = [Axis(along, length) if a.name == along else a for a in kids[0].axes]
    return _view("slice", kids, axes, (along,), section, size(start))


def _concat(params: tuple[Any, ...], kids: list[Value], facts: Facts, section: str) -> Value:
    whole = facts.axis(params[0])
    axes = [whole if a.name == params[0] else a for a in kids[0].axes]
    return _view("concat", kids, axes, params, section)


def _split(params: tuple[Any, ...], kids: list[Value], facts: Facts, section: str) -> Value:
    along, parts = params
    axes = [p for a in kids[0].axes for p in (parts if a.name == along else (a,))]
    return _view("split", kids, axes, (along, *(p.name for p in parts)), section)


def _merge(params: tuple[Any, ...], kids: list[Value], facts: Facts, section: str) -> Value:
    parts, into = params
    names = [p.name for p in parts]
    held = [a for a in kids[0].axes if a.name == names[0] or a.name not in names]
    axes = [facts.axis(into) if a.name == names[0] else a for a in held]
    return _view("merge", kids, axes, (*names, into), section)


_VIEWS = {"rename": _rename, "slice": _slice, "concat": _concat, "split": _split, "merge": _merge}
VIEWS = frozenset(_VIEWS)
