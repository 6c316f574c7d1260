"""Writing values out as terms, through every Map and View between them and what they read.

A Map read at computed coordinates is written out only where the coordinates surely lie inside it:
outside a tensor there are zeros, which its body does not know.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from maquette.compiler.derive.terms import Term, Terms
from maquette.ir.axes import Axis
from maquette.ir.patterns import Map, Reduce, Value, View
from maquette.ir.scalar import Apply, Arg, Extent, Index, Lit, Scalar
from maquette.ir.sizes import Size, product, size


class Spelling:
    """The terms of values, each written out once."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._known: dict[Value, Term] = {}
        self.origin: dict[Term, Value] = {}  # the first value that is this term at its own point

    def term(self, value: Value) -> Term:
        """The value at its own point."""
        found = self._known.get(value)
        if found is None:
            for inner in _below(value, self._known):
                self._known[inner] = self._written(inner)
                self.origin.setdefault(self._known[inner], inner)
            found = self._known[value]
        return found

    def leaf(self, value: Reduce) -> Term:
        """What a reduction of one component combines, at a point of its domain."""
        return self.bounded(self.term(value.args[0]), {a.name: a for a in value.domain})

    def bounded(self, term: Term, frame: Mapping[str, Axis]) -> Term:
        """A term with the tests of coordinates settled that the sizes of axes settle."""
        if not term.chooses:
            return term

        def by(t: Term) -> Term | None:
            return self._settled(t, frame) if t.op == "lt" else None if t.chooses else t

        return self.terms.replace(term, by)

    def _settled(self, test: Term, frame: Mapping[str, Axis]) -> Term:
        place, limit = test.args
        if limit.op == "lit" and test.free:
            end = _end(place, frame)
            if end is not None and end.constant is not None and end.constant <= limit.payload:
                return self.terms.lit(True)
            if _start(place) >= limit.payload:
                return self.terms.lit(False)
        return test

    def held(self, axes: Sequence[Axis]) -> Callable[[Term], Value | None]:
        """The program's own value for a term, where it has one that lies on some axes."""
        frame = {a.name: a for a in axes}

        def own(term: Term) -> Value | None:
            if term.op in ("lit", "index", "extent"):
                return None
            found = self.origin.get(term)
            if found is not None and all(frame.get(a.name) == a for a in found.axes):
                return found
            return None

        return own

    def _written(self, value: Value) -> Term:
        if isinstance(value, Map):
            return self._body(value.body, value)
        if isinstance(value, View) and value.kind != "item":
            return self._view(value)
        return self.terms.natural(value)

    def _body(self, body: Scalar, value: Map) -> Term:
        match body:
            case Lit(constant):
                return self.terms.lit(constant)
            case Extent(extent):
                return self.terms.extent(extent)
            case Index(name):
                return self.terms.index(name)
            case Arg(number, at):
                held = value.args[number]
                places = {name: self._body(index, value) for name, index in at}
                return self._read(held, places, {a.name: a for a in value.axes})
            case Apply(op, args):
                return self.terms.apply(op, *(self._body(a, value) for a in args))

    def _read(self, held: Value, places: dict[str, Term], frame: Mapping[str, Axis]) -> Term:
        if not places:
            return self.term(held)
        if all(_inside(t, held.axis(n), frame) for n, t in places.items()):
            return self.terms.at(self.term(held), places)
        at = [places.get(a.name) or self.terms.index(a.name) for a in held.axes]
        return self.terms.read(held, at)

    def _view(self, view: View) -> Term:
        terms, names = self.terms, view.names
        if view.kind == "concat":
            return self._concat(view)
        (arg,) = view.args
        places: dict[str, Term] = {}
        if view.kind == "rename":
            for old, _, new in (pair.partition(":") for pair in names):
                places[old] = terms.index(new)
        elif view.kind == "split":
            whole = terms.lit(0)
            for n in names[1:]:
                whole = terms.apply("mul", whole, terms.extent(view.shape[n]))
                whole = terms.apply("add", whole, terms.index(n))
            places[names[0]] = whole
        elif view.kind == "merge":
            merged = terms.index(names[-1])
            for i, n in enumerate(names[:-1]):
                inner = product(arg.shape[m] for m in names[i + 1 : -1])
                coordinate = terms.apply("floordiv", merged, terms.extent(inner))
                if i:
                    coordinate = terms.apply("mod", coordinate, terms.extent(arg.shape[n]))
                places[n] = coordinate
        elif view.kind == "slice":
            assert view.start is not None
            start = terms.extent(view.start)
            places[names[0]] = terms.apply("add", terms.index(names[0]), start)
        return terms.at(self.term(arg), places)

    def _concat(self, view: View) -> Term:
        terms, along = self.terms, view.names[0]
        here = terms.index(along)
        starts, total = [], size(0)
        for arg in view.args:
            starts.append(total)
            total = total + arg.shape[along]
        found: Term | None = None
        for arg, start in reversed(list(zip(view.args, starts, strict=True))):
            inner = terms.apply("sub", here, terms.extent(start))
            part = terms.at(self.term(arg), {along: inner})
            if found is None:
                found = part
            else:
                end = terms.extent(start + arg.shape[along])
                found = terms.apply("where", terms.apply("lt", here, end), part, found)
        assert found is not None
        return found


def _below(value: Value, known: Mapping[Value, Term]) -> list[Value]:
    """What must be written out before `value`, itself last."""
    order: list[Value] = []
    seen: set[Value] = set()
    stack = [(value, False)]
    while stack:
        v, ready = stack.pop()
        if ready:
            order.append(v)
        elif v not in seen and v not in known:
            seen.add(v)
            stack.append((v, True))
            if isinstance(v, Map) or (isinstance(v, View) and v.kind != "item"):
                stack.extend((o, False) for o in v.operands)
    return order


def _inside(place: Term, ax: Axis, frame: Mapping[str, Axis]) -> bool:
    """Whether a coordinate surely is one of the axis."""
    end = _end(place, frame)
    if end is None or ax.within is not None:
        return False
    return all(coefficient >= 0 for _, coefficient in (ax.size - end).terms)


def _start(place: Term) -> float:
    """The least that a coordinate can be, as far as is plain to see."""
    if place.op == "lit":
        return float(place.payload)
    if place.op == "add":
        return sum(map(_start, place.args))
    return 0.0 if place.op in ("index", "extent") else -math.inf


def _end(place: Term, frame: Mapping[str, Axis]) -> Size | None:
    """A bound that a coordinate, which is not negative, stays below."""
    if place.op == "lit":
        return size(place.payload + 1) if place.payload >= 0 else None
    if place.op == "extent":
        return size(place.payload) + 1
    if place.op == "index":
        ax = frame.get(place.payload)
        return ax.size if ax is not None and ax.within is None else None
    if place.op == "mod" and place.args[1].op == "lit":
        return size(place.args[1].payload)
    if len(place.args) != 2:
        return None
    left, right = (_end(a, frame) for a in place.args)
    if left is None or right is None:
        return None
    if place.op == "add":
        return left + right - 1
    if place.op == "mul":
        return (left - 1) * (right - 1) + 1
    by = place.args[1]
    if place.op == "floordiv" and by.op == "lit" and by.payload > 0:
        whole = left.constant
        if isinstance(whole, int):
            return size(-(-whole // by.payload))
        exact = left / by.payload
        return exact if all(isinstance(c, int) for _, c in exact.terms) else left
    return None
