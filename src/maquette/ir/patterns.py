"""The closed vocabulary: Input, Map, Reduce, Scan, FlatMap, GroupBy, View.

A value *is* the expression that makes it.  Nodes are frozen and hash-consed: building the same
expression twice gives the same object, so common subexpressions are shared by construction and
comparing by identity is comparing by meaning.  `section` says which part of a layer a value
belongs to; it is part of a value's identity and changes nothing about its meaning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import cached_property
from threading import Lock
from typing import Any, Literal, TypeVar
from weakref import WeakValueDictionary

from maquette.errors import Fault, ProgramError
from maquette.ir.axes import Axis, union
from maquette.ir.dtypes import DType, dtype
from maquette.ir.monoids import Monoid, Streamed
from maquette.ir.scalar import Scalar
from maquette.ir.sizes import Size

Role = Literal["weight", "state", "activation", "index"]
ViewKind = Literal["rename", "split", "merge", "slice", "concat", "item"]


@dataclass(frozen=True, eq=False, repr=False)
class Value:
    """A tensor with named axes: the result of a pattern, or an input."""

    axes: tuple[Axis, ...]
    dtype: DType
    section: str

    def __repr__(self) -> str:
        """What it is, without the values it is made of (a graph can hold one many times)."""
        axes = ", ".join(map(str, self.axes))
        place = f" @{self.section}" if self.section else ""
        return f"<{type(self).__name__} {self.dtype}[{axes}]{place}>"

    @property
    def operands(self) -> tuple[Value, ...]:
        return ()

    @cached_property
    def shape(self) -> dict[str, Size]:
        return {a.name: a.size for a in self.axes}

    def axis(self, name: str) -> Axis:
        for a in self.axes:
            if a.name == name:
                return a
        known = ", ".join(a.name for a in self.axes)
        raise ProgramError(Fault("", f"no axis {name!r}", f"one of {known}"))


@dataclass(frozen=True, eq=False, repr=False)
class Input(Value):
    """A tensor from outside: a weight, a state kept between steps, an activation, indices."""

    name: str
    role: Role

    def __repr__(self) -> str:
        return f"<{self.role} {self.name} {super().__repr__().partition(' ')[2]}"


@dataclass(frozen=True, eq=False, repr=False)
class Map(Value):
    """At every point of `axes`, a scalar body of the operands read there.  Zip is a Map of two."""

    args: tuple[Value, ...]
    body: Scalar

    @property
    def operands(self) -> tuple[Value, ...]:
        return self.args


@dataclass(frozen=True, eq=False, repr=False)
class Reduce(Value):
    """Combine over the axes `over` with a monoid.  Several components come out as items."""

    monoid: Monoid
    over: tuple[str, ...]
    args: tuple[Value, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        return self.args

    @cached_property
    def domain(self) -> tuple[Axis, ...]:
        return union(*(a.axes for a in self.args))

    def component(self, number: int) -> tuple[Axis, ...]:
        """The axes of one component.

        One of a streamed monoid lacks those along which neither its own argument varies nor any
        component that repairs it; of any other monoid all components have all axes.
        """
        if not isinstance(self.monoid, Streamed) or not 0 <= number < len(self.args):
            return self.axes
        wanted, names = {number}, set[str]()
        for i in reversed(range(number + 1)):
            if i in wanted:
                names.update(a.name for a in self.args[i].axes)
                wanted |= self.monoid.parts[i].needs(self.monoid.width)
        return tuple(a for a in self.axes if a.name in names)


@dataclass(frozen=True, eq=False, repr=False)
class Scan(Value):
    """Inclusive prefix combine along one axis."""

    monoid: Monoid
    along: str
    args: tuple[Value, ...]

    @property
    def operands(self) -> tuple[Value, ...]:
        return self.args


@dataclass(frozen=True, eq=False, repr=False)
class FlatMap(Value):
    """Positions along an axis that are kept, for every point of the other axes, on `out`.

    ``top``: the positions of the largest keys, largest first (ties: lowest position first).
    ``where``: the positions whose key is true, in order; the extent of `out` is data-dependent.
    """

    rule: Literal["top", "where"]
    along: str
    out: Axis
    key: Value

    @property
    def operands(self) -> tuple[Value, ...]:
        return (self.key,)


@dataclass(frozen=True, eq=False, repr=False)
class GroupBy(Value):
    """Group the points of a key's domain by the key's value.

    Items: 0 is each point's slot in its group (over the key's axes); item ``1 + i`` is the i-th
    coordinate of every member, over ``(group, member)``, and -1 where a group has no such member.
    """

    key: Value
    group: Axis
    member: Axis

    @property
    def operands(self) -> tuple[Value, ...]:
        return (self.key,)


@dataclass(frozen=True, eq=False, repr=False)
class View(Value):
    """Another way to name the same elements; moves nothing by itself.

    rename: ``names`` (old, new) pairs.  split: ``names[0]`` is split into ``axes`` it lacks, in
    row-major order.  merge: ``names[:-1]`` become ``names[-1]``.  slice: ``[start, start+size)`` of
    ``names[0]``.  concat: the arguments end to end along ``names[0]``.  item: component ``start``
    of a pattern with several, over the axes that the component has.
    """

    kind: ViewKind
    args: tuple[Value, ...]
    names: tuple[str, ...]
    start: Size | None

    @property
    def operands(self) -> tuple[Value, ...]:
        return self.args


V = TypeVar("V", bound=Value)

_interned: WeakValueDictionary[Any, Value] = WeakValueDictionary()
_making = Lock()
_parts: dict[type[Value], tuple[str, ...]] = {}
_section: ContextVar[str] = ContextVar("section", default="")


def part_names(cls: type[Value]) -> tuple[str, ...]:
    """What a node of this kind is made of."""
    found = _parts.get(cls)
    if found is None:
        found = _parts[cls] = tuple(f.name for f in fields(cls))
    return found


def make(cls: type[V], /, **parts: Any) -> V:
    """The one node of this kind with these parts, made if there is none yet."""
    parts.setdefault("section", _section.get())
    parts["dtype"] = dtype(parts["dtype"])
    key = (cls, *[parts[name] for name in part_names(cls)])
    found = _interned.get(key)
    if found is None:
        with _making:  # two threads that build one expression get one node
            found = _interned.get(key)
            if found is None:
                found = _interned[key] = cls(**parts)
    assert isinstance(found, cls)
    return found


def remade(value: Value, known: Mapping[Value, Value]) -> Value:
    """The same pattern of what its operands have become."""
    if all(known[o] is o for o in value.operands):
        return value
    parts: dict[str, Any] = {f.name: getattr(value, f.name) for f in fields(value)}
    for name, part in parts.items():
        if isinstance(part, Value):
            parts[name] = known[part]
        elif isinstance(part, tuple) and part and isinstance(part[0], Value):
            parts[name] = tuple(known[p] for p in part)
    return make(type(value), **parts)


def draft(cls: type[V], /, **parts: Any) -> V:
    """A node of its own, quicker than `make`: for what will be made again in its final form."""
    parts.setdefault("section", _section.get())
    return cls(**parts)


@contextmanager
def section(name: str) -> Iterator[None]:
    """Values made inside belong to the section `name`."""
    token = _section.set(name)
    try:
        yield
    finally:
        _section.reset(token)
