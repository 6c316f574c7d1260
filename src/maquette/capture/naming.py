"""From axes that each have a name of their own to few names that read well, and renames.

A rename joins two names that could be one.  They become one, as a register allocator coalesces
copies, unless some value (or domain) has both.  What is left is coloured with the names that the
field uses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from maquette.ir.axes import Axis
from maquette.ir.graph import walk
from maquette.ir.patterns import FlatMap, GroupBy, Map, Reduce, Value, View, make, part_names
from maquette.ir.scalar import Apply, Arg, Index, Scalar
from maquette.ir.sizes import Size

_SPARE = {
    "s": "tuvw",
    "t": "uvw",
    "d": "efgk",
    "b": "a",
    "h": "gjk",
    "n": "mkl",
    "c": "ok",
    "r": "gq",
    "y": "ij",
    "x": "jk",
}


def settled(outputs: Mapping[str, Value]) -> dict[str, Value]:
    """The same values under few, readable axis names."""
    values = list(walk(outputs.values()))
    names = _coloured(_coalesced(values))
    made: dict[int, Value] = {}
    axes = _Axes(names)
    for value in values:
        made[id(value)] = _again(value, names, made, axes)
    return {n: made[id(v)] for n, v in outputs.items()}


def _groups(value: Value) -> Iterable[Axis]:
    """Axes that must have names of their own, because they meet in one value or domain."""
    if isinstance(value, Reduce):
        return value.domain
    if isinstance(value, FlatMap):
        return (*value.key.axes, value.out)
    if isinstance(value, GroupBy):
        return (*value.axes, value.group, value.member)
    return value.axes


class _Classes:
    """Names that are one, each class with the classes it meets and its size."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}
        self.meets: dict[str, set[str]] = {}
        self.size: dict[str, Size] = {}
        self.place: dict[str, int] = {}  # order of first appearance

    def add(self, ax: Axis) -> str:
        if ax.name not in self.parent:
            self.parent[ax.name] = ax.name
            self.meets[ax.name] = set()
            self.size[ax.name] = ax.size
            self.place[ax.name] = len(self.place)
        return ax.name

    def find(self, name: str) -> str:
        while self.parent[name] != name:
            self.parent[name] = self.parent[self.parent[name]]
            name = self.parent[name]
        return name

    def join(self, left: str, right: str) -> None:
        a, b = self.find(left), self.find(right)
        if a == b or self.size[a] != self.size[b] or b in self.meets[a]:
            return
        if self.place[b] < self.place[a]:
            a, b = b, a
        self.parent[b] = a
        for c in self.meets.pop(b):
            self.meets[c].discard(b)
            self.meets[c].add(a)
            self.meets[a].add(c)


def _coalesced(values: Sequence[Value]) -> _Classes:
    classes = _Classes()
    for value in values:
        group = [classes.add(a) for a in _groups(value)]
        for name in group:
            classes.meets[name].update(group)
    for name, met in classes.meets.items():
        met.discard(name)
    for value in values:
        if isinstance(value, View) and value.kind == "concat":
            classes.size[value.names[0]] = value.shape[value.names[0]]
    for value in values:
        if isinstance(value, View) and value.kind == "rename":
            for pair in value.names:
                old, _, new = pair.partition(":")
                classes.join(old, new)
    return classes


def _coloured(classes: _Classes) -> dict[str, str]:
    """A readable name for every name: one per class; classes of one size that never meet share."""
    sizes: dict[str, Size] = {}
    chosen: dict[str, str] = {}
    for name in classes.place:
        if classes.find(name) != name:
            continue
        taken = {chosen[c] for c in classes.meets[name] if c in chosen}
        for candidate in _candidates(name.partition("'")[0]):
            if (
                candidate not in taken
                and sizes.get(candidate, classes.size[name]) == classes.size[name]
            ):
                break
        chosen[name] = candidate
        sizes[candidate] = classes.size[name]
    return {n: chosen[classes.find(n)] for n in classes.parent}


def _candidates(hint: str) -> Iterable[str]:
    yield hint
    yield from _SPARE.get(hint, "")
    number = 1
    while True:
        yield f"{hint}{number}"
        number += 1


class _Axes:
    """Axes renamed, each made once."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.made: dict[tuple[str, object], Axis] = {}

    def __call__(self, ax: Axis) -> Axis:
        key = ax.name, ax.size.terms
        found = self.made.get(key)
        if found is None:
            found = self.made[key] = replace(ax, name=self.names[ax.name])
        return found


def _again(value: Value, names: Mapping[str, str], made: Mapping[int, Value], axis: _Axes) -> Value:
    """A value whose operands have been renamed, renamed."""
    operands = tuple(made[id(o)] for o in value.operands)
    parts = {name: getattr(value, name) for name in part_names(type(value))}
    parts["axes"] = tuple(map(axis, value.axes))
    match value:
        case Map():
            parts |= {"args": operands, "body": _body(value.body, names, value.args)}
        case Reduce():
            parts |= {"args": operands, "over": tuple(names[n] for n in value.over)}
        case FlatMap():
            parts |= {
                "key": operands[0],
                "along": names[value.along],
                "out": axis(value.out),
            }
        case View():
            if value.kind == "rename":
                pairs = [p.partition(":")[::2] for p in value.names]
                return _renamed(operands[0], {names[o]: names[n] for o, n in pairs}, parts)
            parts["names"] = tuple(names[n] for n in value.names)
            parts["args"] = operands
        case _:
            if operands:
                parts |= {"args": operands, "along": names[parts["along"]]}
    return make(type(value), **parts)


def _renamed(value: Value, into: dict[str, str], parts: dict[str, object]) -> Value:
    """`value` renamed; what renames what is renamed already is one rename."""
    if isinstance(value, View) and value.kind == "rename":
        before = dict(pair.partition(":")[::2] for pair in value.names)
        into = {o: into.pop(n, n) for o, n in before.items()} | into
        value = value.args[0]
    kept = tuple(f"{o}:{n}" for o, n in into.items() if o != n)
    if not kept:
        return value
    return make(View, **(parts | {"names": kept, "args": (value,)}))


def _body(body: Scalar, names: Mapping[str, str], args: Sequence[Value]) -> Scalar:
    match body:
        case Index(name):
            return Index(names[name])
        case Arg(number, at):
            return (
                Arg(number, tuple((names[n], _body(i, names, args)) for n, i in at)) if at else body
            )
        case Apply(op, parts):
            return Apply(op, tuple(_body(p, names, args) for p in parts))
    return body
