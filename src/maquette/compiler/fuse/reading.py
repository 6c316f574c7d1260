"""Values as bodies: what a value is at given coordinates, down to the tensors that are read.

Views become coordinates and Maps become part of the body; what is kept in a tensor is a `Read`.
Outside its extents a value is zero, so what is read there through a view or a Map is guarded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from maquette.compiler.fuse.index import FALSE, Ranges
from maquette.errors import Fault, ProgramError
from maquette.ir.axes import Axis
from maquette.ir.dtypes import Kind
from maquette.ir.patterns import Input, Map, Value, View
from maquette.ir.scalar import LOGIC, TESTS, Apply, Arg, Extent, Index, Lit, Scalar, kind
from maquette.ir.semantics import Numbers
from maquette.ir.sizes import Size

At: TypeAlias = dict[str, Scalar]
_ZERO: Mapping[Kind, Lit] = {"float": Lit(0.0), "int": Lit(0), "bool": FALSE}


@dataclass(frozen=True)
class Read:
    """One component of a kept value, or an input, at a coordinate for each of its axes."""

    source: Value
    component: int
    at: tuple[tuple[str, Scalar], ...]


class Reading:
    """The reads of one piece of work over some loops, as they are met."""

    def __init__(self, kept: Collection[Value], numbers: Numbers, loops: Mapping[str, int]) -> None:
        self._kept = kept
        self._numbers = numbers
        self._ranges = Ranges(loops)
        self._known: dict[Scalar, int] = {}  # coordinates that lie in [0, extent)
        self.reads: dict[Read, int] = {}

    def value(self, value: Value, at: At) -> Scalar:
        """The body of `value` at the coordinates `at`."""
        if isinstance(value, Input) or value in self._kept:
            return self._read(value, 0, at)
        if isinstance(value, View) and value.kind == "item":
            assert value.start is not None
            return self._read(value.args[0], self._numbers.whole(value.start), at)
        if isinstance(value, View) and value.kind == "rename":
            return self._view(value, at)
        guards = self._guards(value.axes, at)
        before = self._known
        self._known = before | {at[n]: extent for n, extent in guards}
        body = self._view(value, at) if isinstance(value, View) else self._map(value, at)
        self._known = before
        for name, extent in reversed(guards):
            above = Apply("ge", (at[name], Lit(0)))
            below = Apply("lt", (at[name], Lit(extent)))
            inside = self._ranges.test(Apply("and", (above, below)))
            body = self._where(inside, body, _ZERO[value.dtype.kind])
        return body

    def _read(self, source: Value, component: int, at: At) -> Arg:
        read = Read(source, component, tuple(at.items()))
        return Arg(self.reads.setdefault(read, len(self.reads)))

    def _guards(self, axes: tuple[Axis, ...], at: At) -> list[tuple[str, int]]:
        """The axes whose coordinate may lie outside, with their extents."""
        extents = ((a.name, self._numbers.extent(a)) for a in axes)
        return [
            (name, extent)
            for name, extent in extents
            if self._known.get(at[name], extent + 1) > extent
            and not self._ranges.inside(at[name], extent)
        ]

    def _where(self, test: Scalar, yes: Scalar, no: Scalar) -> Scalar:
        if isinstance(test, Lit):
            return yes if test.value else no
        return yes if yes == no else Apply("where", (test, yes, no))

    def _map(self, value: Value, at: At) -> Scalar:
        if not isinstance(value, Map):
            what = f"{type(value).__name__} is read where it is not kept"
            raise ProgramError(Fault(value.section, what))
        body = self._body(value, value.body, at)
        found = kind(value.body, [v.dtype.kind for v in value.args])
        return body if found == value.dtype.kind else Apply("to_f32", (body,))

    def _body(self, value: Map, body: Scalar, at: At) -> Scalar:
        match body:
            case Extent(amount):
                return Lit(self.number(amount))
            case Index(axis):
                return at[axis]
            case Arg(place, gathered):
                operand = value.args[place]
                moved = {n: self._ranges.simple(self._body(value, c, at)) for n, c in gathered}
                return self.value(
                    operand,
                    {
                        a.name: moved[a.name] if a.name in moved else at[a.name]
                        for a in operand.axes
                    },
                )
            case Apply(op, args):
                parts = tuple(self._body(value, a, at) for a in args)
                if op in TESTS or op in LOGIC:
                    return self._ranges.test(Apply(op, parts))
                return self._where(*parts) if op == "where" else Apply(op, parts)
        return body

    def number(self, amount: Size) -> int | float:
        """An extent as the number it is: whole where its kind says so."""
        found = self._numbers.value(amount)
        return self._numbers.whole(amount) if kind(Extent(amount), []) == "int" else float(found)

    def _view(self, view: View, at: At) -> Scalar:
        if view.kind == "concat":
            return self._concat(view, at)
        arg = view.args[0]
        return self.value(arg, _VIEWS[view.kind](self, view, arg, at))

    def _renamed(self, view: View, arg: Value, at: At) -> At:
        new = dict(pair.split(":", 1) for pair in view.names)
        return {a.name: at[new.get(a.name, a.name)] for a in arg.axes}

    def _split(self, view: View, arg: Value, at: At) -> At:
        whole: Scalar = Lit(0)
        for name in view.names[1:]:
            extent = Lit(self._numbers.extent(view.axis(name)))
            whole = Apply("add", (Apply("mul", (whole, extent)), at[name]))
        joined = {view.names[0]: self._ranges.simple(whole)}
        return {a.name: joined[a.name] if a.name in joined else at[a.name] for a in arg.axes}

    def _merge(self, view: View, arg: Value, at: At) -> At:
        *parts, into = view.names
        rest, found = at[into], {}
        for name in reversed(parts):
            extent = Lit(max(self._numbers.extent(arg.axis(name)), 1))
            last = name == parts[0]
            found[name] = self._ranges.simple(rest if last else Apply("mod", (rest, extent)))
            rest = Apply("floordiv", (rest, extent))
        return {a.name: found[a.name] if a.name in found else at[a.name] for a in arg.axes}

    def _slice(self, view: View, arg: Value, at: At) -> At:
        along = view.names[0]
        start, length = slice_bounds(view, self._numbers)
        held = self._numbers.extent(arg.axis(along))
        if start < 0 or start + length > held:
            what = f"[{start}, {start + length}) of axis {along!r}, which has {held}"
            raise ProgramError(Fault(view.section or "slice", what, "a range inside it"))
        place = self._ranges.simple(Apply("add", (at[along], Lit(start))))
        return {a.name: place if a.name == along else at[a.name] for a in arg.axes}

    def _concat(self, view: View, at: At) -> Scalar:
        along = view.names[0]
        ends = list(part_starts(view, self._numbers))
        body: Scalar | None = None
        for part, start in reversed(list(zip(view.args, ends, strict=True))):
            place = self._ranges.simple(Apply("sub", (at[along], Lit(start))))
            before = self._known  # outside a part, what it would give is not looked at
            self._known = before | {place: self._numbers.extent(part.axis(along))}
            found = self.value(
                part, {a.name: place if a.name == along else at[a.name] for a in part.axes}
            )
            self._known = before
            if body is None:
                body = found
            else:
                end = start + self._numbers.extent(part.axis(along))
                test = self._ranges.test(Apply("lt", (at[along], Lit(end))))
                body = self._where(test, found, body)
        assert body is not None
        return body


_VIEWS = {
    "rename": Reading._renamed,
    "split": Reading._split,
    "merge": Reading._merge,
    "slice": Reading._slice,
}


def slice_bounds(view: View, numbers: Numbers) -> tuple[int, int]:
    """Where a slice starts, and how long it is."""
    assert view.start is not None
    return numbers.whole(view.start), numbers.extent(view.axis(view.names[0]))


def part_starts(view: View, numbers: Numbers) -> list[int]:
    """Where each part of a concatenation starts."""
    starts, total = [], 0
    for part in view.args:
        starts.append(total)
        total += numbers.extent(part.axis(view.names[0]))
    return starts
