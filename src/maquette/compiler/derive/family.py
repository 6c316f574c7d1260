"""A fold and the reductions that are totals of it, as values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maquette.compiler.derive.emit import Held, valued
from maquette.compiler.derive.fold import Component, Fold, parts_of
from maquette.compiler.derive.spell import Spelling
from maquette.compiler.derive.terms import Term
from maquette.ir.axes import Axis
from maquette.ir.dtypes import DType
from maquette.ir.monoids import Part, Streamed, streamed
from maquette.ir.patterns import Map, Reduce, Value, View, make
from maquette.ir.scalar import Apply, Arg, Lit, Scalar
from maquette.ir.sizes import size


@dataclass
class Family:
    """A fold, the axes it is written in, and what it replaces."""

    fold: Fold
    frame: Reduce  # the reduction whose axes they are
    results: dict[Term, Reduce] = field(default_factory=dict)  # earlier results in the fold
    members: dict[Reduce, Term] = field(default_factory=dict)  # in terms of components

    @property
    def reductions(self) -> list[Reduce]:
        return list(dict.fromkeys([self.frame, *self.members]))


class Emission:
    """Makes the values of families; names monoids so that a graph has one of each name."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._monoids: dict[str, list[Streamed]] = {}

    def values(
        self, family: Family, taken: Mapping[Value, Value]
    ) -> tuple[dict[Value, Value], Reduce | None]:
        """Members, and results in the fold that are spared, each with its value; and the fold."""
        fold = family.fold
        totals = dict(family.members)
        wanted = {i for found in totals.values() for i in parts_of(found)}
        moving = {i for i in wanted if fold.components[i].moves}
        inner = self._ordered(family, {j for i in moving for j in fold.needs(i)})
        node = self._streamed(family, inner) if inner else None
        parts = _items(node, inner) if node is not None else {}
        for result, earlier in family.results.items():
            natural = self._spelling.terms.natural(earlier) is result
            spared = parts_of(fold.totals[result]) <= set(inner)
            if natural and spared and earlier not in taken and earlier not in totals:
                totals[earlier] = fold.totals[result]
        for i in sorted(wanted - set(inner)):
            parts[i] = self._alone(family, fold.components[i])
        made: dict[Value, Value] = {
            v: valued(found, self._held(v.axes, parts), v.axes, v.dtype, v.section)
            for v, found in totals.items()
        }
        return made, node

    def _ordered(self, family: Family, inner: set[int]) -> list[int]:
        """Components after those that repair them, those of fewer axes first."""
        fold = family.fold
        rank = {i: len(_varies(fold, i) - fold.over) for i in inner}
        order: list[int] = []
        while len(order) < len(inner):
            ready = [i for i in inner if i not in order and fold.needs(i) <= {i, *order}]
            order.append(min(ready, key=lambda i: (rank[i], i)))
        return order

    def _streamed(self, family: Family, inner: list[int]) -> Reduce:
        components, frame = family.fold.components, family.frame
        args = [self._leaf(components[i].leaf, family, _format(i, family)) for i in inner]
        args[0] = _along(args[0], frame, args)
        known = {a.name: a for r in (*family.reductions, *args) for a in r.axes}
        varies = {n for v in args for n in v.shape} - set(frame.over)
        return make(
            Reduce, axes=tuple(a for n, a in known.items() if n in varies), dtype=args[0].dtype,
            section=frame.section, monoid=self._named(family, inner), over=frame.over,
            args=tuple(args),
        )  # fmt: skip

    def _alone(self, family: Family, held: Component) -> Value:
        """A component that nothing repairs: an earlier result, or a reduction hoisted from."""
        fold = family.fold
        for result, earlier in family.results.items():
            if _is(fold, fold.totals[result], held):
                axes = family.frame.axes
                return valued(result, self._held(axes, {}), axes, earlier.dtype, earlier.section)
        owner = next(
            m for m, found in family.members.items()
            if any(fold.components[i] is held for i in parts_of(found))
        )  # fmt: skip
        arg = self._product(held.leaf, family, owner)
        arg = _along(arg, owner, [arg])
        return make(
            Reduce, axes=tuple(a for a in owner.axes if a.name in arg.shape), dtype=owner.dtype,
            section=owner.section, monoid=held.op, over=owner.over, args=(arg,),
        )  # fmt: skip

    def _product(self, leaf: Term, family: Family, owner: Reduce) -> Value:
        """A leaf; a product of values that vary along different axes as one of two values."""
        if leaf.op != "mul" or leaf.args[0].free == leaf.args[1].free:
            return self._leaf(leaf, family, owner.dtype)
        sides = [self._leaf(a, family, owner.dtype) for a in leaf.args]
        known = {a.name: a for a in (*owner.domain, *owner.axes)}
        axes = tuple(a for n, a in known.items() if any(n in v.shape for v in sides))
        body = Apply("mul", (Arg(0), Arg(1)))
        return make(
            Map, axes=axes, dtype=owner.dtype, section=owner.section, args=tuple(sides), body=body
        )

    def _leaf(self, leaf: Term, family: Family, format: DType) -> Value:
        """A leaf in the frame of the family."""
        domains = (a for r in family.reductions for a in (*r.domain, *r.axes))
        axes = tuple({a.name: a for a in domains}.values())
        return valued(leaf, self._held(axes, {}), axes, format, family.frame.section)

    def _held(self, axes: Sequence[Axis], parts: Mapping[int, Value]) -> Held:
        """The value of a component, or the program's own value for a term."""
        own = self._spelling.held(axes)
        return lambda term: parts[term.payload[0]] if term.op == "part" else own(term)

    def _named(self, family: Family, inner: list[int]) -> Streamed:
        """The streamed monoid of some components, its name its own in the graph."""
        number = {i: n for n, i in enumerate(inner)}
        parts = tuple(_part(family.fold.components[i], number) for i in inner)
        name = ".".join(p.op.name for p in parts)
        same = self._monoids.setdefault(name, [])
        for known in same:
            if known.parts == parts:
                return known
        same.append(streamed(name + (f".{len(same)}" if same else ""), parts))
        return same[-1]


def _items(node: Reduce, inner: Sequence[int]) -> dict[int, Value]:
    """The components of a fold, by the numbers they were made under."""
    return {
        i: make(
            View, axes=node.component(n), dtype=node.args[n].dtype, section=node.section,
            kind="item", args=(node,), names=(), start=size(n),
        )
        for n, i in enumerate(inner)
    }  # fmt: skip


def _along(arg: Value, fold: Reduce, args: Sequence[Value]) -> Value:
    """A leaf on all the axes that are folded, should no leaf vary along some of them."""
    held = {n for v in args for n in v.shape}
    missing = tuple(a for a in fold.domain if a.name in fold.over and a.name not in held)
    if not missing:
        return arg
    return make(
        Map, axes=(*arg.axes, *missing), dtype=arg.dtype, section=arg.section, args=(arg,),
        body=Arg(0),
    )  # fmt: skip


def _varies(fold: Fold, number: int) -> frozenset[str]:
    """The axes along which a component varies."""
    return frozenset().union(*(fold.components[i].leaf.free for i in fold.needs(number)))


def _is(fold: Fold, found: Term, held: Component) -> bool:
    return found.op == "part" and fold.components[found.payload[0]] is held


def _format(number: int, family: Family) -> DType:
    """The format of a component: that of the reduction it stands for, else the widest."""
    fold = family.fold
    for result, earlier in family.results.items():
        if _is(fold, fold.totals[result], fold.components[number]):
            return earlier.dtype
    return max((m.dtype for m in family.members), key=lambda d: d.bits)


def _part(component: Component, number: Mapping[int, int]) -> Part:
    def scalar(term: Term) -> Scalar:
        if term.op == "part":
            i, side = term.payload
            return Arg(number[i] + (len(number) if side == "after" else 0))
        if term.op == "lit":
            return Lit(term.payload)
        return Apply(term.op, tuple(scalar(a) for a in term.args))

    factor = None if component.factor is None else scalar(component.factor)
    shift = None if component.shift is None else scalar(component.shift)
    return Part(component.op, factor, component.action, shift)
