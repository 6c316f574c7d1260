"""A second meaning for graphs: plain Python, one point at a time, counting every operation."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import numpy as np

from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, View
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit

ARITHMETIC = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b, "max": max, "min": min, "neg": lambda a: -a, "abs": abs,
    "exp": math.exp, "tanh": math.tanh, "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
}  # fmt: skip
FREE = {
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "where": lambda c, a, b: a if c else b,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
    "mod": lambda a, b: a % b, "to_i32": math.trunc, "to_f32": float, "to_bf16": float,
}  # fmt: skip


class Points:
    """Evaluates a graph point by point; `counted` is the operations done for each value."""

    def __init__(self, graph, inputs, sizes):
        self.sizes = sizes
        self.inputs = inputs
        self.counted = Counter()
        self.tables = {}
        for value in graph.values:
            self.now = value
            self.tables[value] = self.table(value)
        self.outputs = {name: self.array(v) for name, v in graph.outputs.items()}

    def extent(self, axis):
        return int((axis.within or axis.size)(self.sizes))

    def coordinates(self, axes):
        for place in product(*(range(self.extent(a)) for a in axes)):
            yield dict(zip((a.name for a in axes), place, strict=True))

    def array(self, value):
        shape = [self.extent(a) for a in value.axes]
        table = self.tables[value]
        return np.array([table[key(p)] for p in self.coordinates(value.axes)]).reshape(shape)

    def table(self, value):
        match value:
            case Input():
                held = self.inputs[value.name]
                return {
                    key(p): held[tuple(p[a.name] for a in value.axes)].item()
                    for p in self.coordinates(value.axes)
                }
            case Map():
                return {
                    key(p): self.scalar(value.body, p, value.args)
                    for p in self.coordinates(value.axes)
                }
            case Reduce():
                return self.reduce(value)
            case Scan():
                return self.scan(value)
            case FlatMap():
                return self.flat_map(value)
            case GroupBy():
                return self.group_by(value)
            case View():
                return self.view(value)

    def read(self, value, point, component=None):
        """An element; zero outside the axes."""
        mine = key({a.name: point[a.name] for a in value.axes})
        found = self.tables[value].get(mine, 0.0 if value.dtype.kind == "float" else 0)
        return found if component is None else found[component]

    def scalar(self, body, point, args, counting=True):
        match body:
            case Lit(value):
                return value
            case Extent(extent):
                return extent(self.sizes)
            case Index(axis):
                return point[axis]
            case Arg(number, at):
                moved = {n: self.scalar(i, point, args, False) for n, i in at}
                if not hasattr(args[number], "axes"):
                    return args[number]
                return self.read(args[number], {**point, **moved})
            case Apply(op, parts):
                values = [self.scalar(p, point, args, counting) for p in parts]
                if op in ARITHMETIC:
                    self.counted[self.now] += counting
                    return ARITHMETIC[op](*values)
                return FREE[op](*values)

    def combine(self, monoid, left, right):
        return tuple(self.scalar(c, {}, (*left, *right)) for c in monoid.combine)

    def fold(self, monoid, elements):
        total = tuple(i.value for i in monoid.identity)
        for element in elements:
            total = self.combine(monoid, total, element)
            yield total

    def reduce(self, value):
        sizes = {a.name: a for v in value.args for a in v.axes}
        inner = [sizes[n] for n in value.over]
        table = {}
        for p in self.coordinates(value.axes):
            elements = (
                tuple(self.read(v, {**p, **q}) for v in value.args) for q in self.coordinates(inner)
            )
            total = tuple(i.value for i in value.monoid.identity)
            for total in self.fold(value.monoid, elements):  # noqa: B007
                pass
            table[key(p)] = total if len(total) > 1 else total[0]
        return table

    def scan(self, value):
        along = value.axis(value.along)
        table = {}
        for p in self.coordinates([a for a in value.axes if a != along]):
            places = [{**p, along.name: i} for i in range(self.extent(along))]
            elements = (tuple(self.read(v, q) for v in value.args) for q in places)
            for q, total in zip(places, self.fold(value.monoid, elements), strict=True):
                table[key(q)] = total if len(total) > 1 else total[0]
        return table

    def flat_map(self, value):
        along = value.key.axis(value.along)
        table = {}
        for p in self.coordinates([a for a in value.axes if a != value.out]):
            keys = [self.read(value.key, {**p, along.name: i}) for i in range(self.extent(along))]
            if value.rule == "top":
                found = sorted(range(len(keys)), key=lambda i, keys=keys: (-keys[i], i))
            else:
                found = [i for i, kept in enumerate(keys) if kept]
            for i in range(self.extent(value.out)):
                table[key({**p, value.out.name: i})] = found[i] if i < len(found) else -1
        return table

    def group_by(self, value):
        """Slots under the key's points, and members under (component, group, member)."""
        table, groups = {}, {}
        for p in self.coordinates(value.key.axes):
            group = groups.setdefault(self.read(value.key, p), [])
            named = self.tables[value.key][key(p)]
            table[key(p)] = len(group) if 0 <= named < self.extent(value.group) else -1
            group.append(p)
        return table, groups

    def view(self, value):
        arg = value.args[0]
        table = {}
        for p in self.coordinates(value.axes):
            table[key(p)] = self.viewed(value, arg, p)
        return table

    def viewed(self, value, arg, p):
        names = value.names
        match value.kind:
            case "rename":
                new = dict(pair.split(":") for pair in names)
                return self.read(arg, {a.name: p[new.get(a.name, a.name)] for a in arg.axes})
            case "split":
                return self.read(arg, {**p, names[0]: self.joined(value.axes, names[1:], p)})
            case "merge":
                left = p[names[-1]]
                back = {}
                for n in reversed(names[:-1]):
                    left, back[n] = divmod(left, self.extent(arg.axis(n)))
                return self.read(arg, {**p, **back})
            case "slice":
                return self.read(arg, {**p, names[0]: p[names[0]] + int(value.start(self.sizes))})
            case "concat":
                place = p[names[0]]
                for part in value.args:
                    if place < self.extent(part.axis(names[0])):
                        return self.read(part, {**p, names[0]: place})
                    place -= self.extent(part.axis(names[0]))
            case "item":
                return self.item(int(value.start.constant or 0), arg, p)
        raise AssertionError(f"no such view or no such place: {value}")

    def item(self, number, arg, p):
        if not isinstance(arg, GroupBy):
            return self.read(arg, p, number)
        slots, groups = self.tables[arg]
        if number == 0:
            return slots[key(p)]
        members = groups.get(p[arg.group.name], [])
        place = p[arg.member.name]
        return members[place][arg.key.axes[number - 1].name] if place < len(members) else -1

    def joined(self, axes, names, p):
        sizes = {a.name: self.extent(a) for a in axes}
        total = 0
        for n in names:
            total = total * sizes[n] + p[n]
        return total


def key(point):
    return tuple(sorted(point.items()))
