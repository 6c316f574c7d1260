"""One fold for a family of reductions over the same axes: its components, and every total.

A component that an earlier one repairs says so by `factor` and `shift`, terms of the components
before (``part(i, "before")``) and after an update.  What is hoisted out of the fold is in the
totals: terms of the components' final values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maquette.compiler.derive.factor import (
    Addend,
    Linear,
    Split,
    Unfit,
    addends,
    combined,
    linear,
    partition,
    total,
)
from maquette.compiler.derive.terms import Term, Terms, literal, within
from maquette.ir.monoids import ADD, AND, MAX, MIN, OR, Monoid

RESIDUE = "residue"  # x − x: nought, but NaN where x is infinite or NaN


@dataclass(frozen=True, eq=False)
class Component:
    """What is folded: leaves combined by `op` after their repair."""

    op: Monoid
    leaf: Term
    factor: Term | None = None
    action: Literal["mul", "add"] = "mul"
    shift: Term | None = None

    @property
    def moves(self) -> bool:
        """Whether an earlier component repairs this one."""
        return self.factor is not None or self.shift is not None

    @property
    def exponential(self) -> bool:
        """Whether the repair is that of an exponential."""
        return self.factor is not None and _mentions(self.factor, "exp")


class Fold:
    """Components under construction."""

    def __init__(self, terms: Terms, over: frozenset[str], count: Term) -> None:
        self.terms = terms
        self.over = over
        self.count = count  # points folded
        self.components: list[Component] = []
        self.totals: dict[Term, Term] = {}  # of the results that leaves may mention
        self._plain: dict[Term, int] = {}  # results that are components as they stand
        self._same: dict[object, int] = {}

    def include(self, result: Term, op: Monoid, leaf: Term) -> None:
        """Make an earlier result part of the fold, so that later leaves may mention it."""
        if result not in self.totals:
            held = self.total(op, leaf)
            self.totals[result] = held
            if held.op == "part" and not self.components[held.payload[0]].moves:
                self._plain[result] = held.payload[0]

    def total(self, op: Monoid, leaf: Term) -> Term:
        """The reduction of `leaf` in terms of components; raises Unfit where there is none."""
        s = self._split()
        if not s.mentions(leaf):
            return self._bound(op, leaf) or self._part(self._component(op, leaf))
        if op == ADD:
            t = self.terms
            found = t.zero
            for a in addends(leaf, s):
                found = t.apply("add", found, self._addend(a, s))
            return found
        if op in (MAX, MIN):
            return self._extreme(op, leaf, s)
        why = f"no repair by an earlier result distributes over {op}"
        raise Unfit("A2", why)

    def _bound(self, op: Monoid, leaf: Term) -> Term | None:
        """Whether all values are -inf, or any is not, is a question to their maximum."""
        test = {AND: "eq", OR: "ne"}.get(op)
        if leaf.op != test or literal(leaf.args[1]) != float("-inf"):
            return None
        largest = self._part(self._component(MAX, leaf.args[0]))
        return self.terms.apply(test, largest, leaf.args[1])

    def settled(self, term: Term) -> Term:
        """A term of earlier results in terms of components."""
        return self.terms.replace(term, self.totals.get)

    def needs(self, number: int) -> set[int]:
        """The components that a component's repair mentions, itself included."""
        held = self.components[number]
        found = {number}
        for body in (held.factor, held.shift):
            if body is not None:
                for i in parts_of(body):
                    found |= self.needs(i) if i not in found else set()
        return found

    def _split(self) -> Split:
        return Split(self.terms, frozenset(self.totals), self.over, self._centre)

    def _centre(self, atom: Term) -> tuple[Term, float] | None:
        """A result that stays near the values it is made of: an extreme, or a mean."""
        result, multiple = atom, literal(self.count)
        if atom.op == "div" and atom.args[1] is self.count:
            result, multiple = atom.args[0], 1.0
        held = self._plain.get(result)
        if held is None:
            return None
        op = self.components[held].op
        if op in (MAX, MIN):
            return (result, 1.0) if result is atom else None
        return (result, multiple) if op == ADD and multiple is not None else None

    def _component(
        self,
        op: Monoid,
        leaf: Term,
        factor: Term | None = None,
        action: Literal["mul", "add"] = "mul",
        shift: Term | None = None,
    ) -> int:
        key = (op.name, leaf, factor, action, shift)
        if key not in self._same:
            self._same[key] = len(self.components)
            self.components.append(Component(op, leaf, factor, action, shift))
        return self._same[key]

    def _part(self, number: int) -> Term:
        return self.terms.part(number)

    def _addend(self, a: Addend, s: Split) -> Term:
        t = self.terms
        h, d = self.settled(a.h), self.settled(a.d)
        factor, location = None, None
        if a.power is not None:
            factor, location, hoisted = self._guard(a.power, s)
            h = t.apply("mul", hoisted, h) if hoisted is not None else h
            location = location if hoisted is None else None
        found = self._part(self._moment(a.g, a.centred, factor))
        if location is not None:
            found = self._sure(found, a, location, (h, d))
        found = t.apply("div", t.apply("mul", found, h), d)
        for test, holds in a.when:
            cases = (found, t.zero) if holds else (t.zero, found)
            found = t.apply("where", self.settled(test), *cases)
        return found

    def _guard(
        self, power: tuple[tuple[tuple[Term, float], ...], ...], s: Split
    ) -> tuple[Term, int, Term | None]:
        """How ``exp(u + ρ)`` is repaired, by which component, and what of it is hoisted, if any.

        The leaf is exp(u − k·w) = 1 where w is the leaf of an extreme with u = k·w; there always
        is one, for if the program has none the maximum of u becomes a component.
        """
        t = self.terms
        u, fixed = (dict(p) for p in power)
        own = {x: k for x, k in u.items() if s.varies(x)}
        place, k, spare = self._extreme_of(u, own, s)
        before, after = t.part(place, "before"), t.part(place, "after")
        moved = _times(t, k, t.apply("sub", before, after))
        still = t.apply("eq", before, after)
        factor = t.apply("where", still, t.one, t.apply("exp", moved))
        rest = linear(self.settled(total(fixed, t)), s)
        rest = combined(combined(rest, spare), {self._part(place): k})
        return factor, place, t.apply("exp", total(rest, t)) if rest else None

    def _extreme_of(self, u: Linear, own: Linear, s: Split) -> tuple[int, float, Linear]:
        """An extreme w with u = k·w + spare, the spare part being constant over the fold."""
        for i, held in enumerate(self.components):
            if held.op not in (MAX, MIN) or held.moves:
                continue
            leaf = linear(held.leaf, s)
            k = _ratio(own, {x: c for x, c in leaf.items() if s.varies(x)})
            if k and (k > 0) == (held.op == MAX):
                return i, k, combined(u, leaf, -k)
        return self._component(MAX, total(own, self.terms)), 1.0, combined(u, own, -1.0)

    def _sure(self, found: Term, a: Addend, location: int, beside: tuple[Term, Term]) -> Term:
        """NaN where the extreme is infinite, as exp(inf − inf) is; nought where all is masked."""
        t = self.terms
        residue = t.apply(RESIDUE, self._part(location))
        if not any(_contains(b, residue) for b in beside):  # else that is NaN already
            marked = t.apply("add", found, residue)
            if a.g.chooses:  # a row of which nothing was chosen is nought and stays it
                marked = t.apply("where", t.apply("eq", found, t.zero), found, marked)
            found = marked
        if a.masked:
            nothing = t.apply("eq", self._part(location), t.lit(float("-inf")))
            found = t.apply("where", nothing, t.zero, found)
        return found

    def _moment(self, g: Term, centred: tuple[tuple[Term, Term], ...], factor: Term | None) -> int:
        """The component Σ g·exp·Π (X − c), with the lower moments that repair it."""
        if not centred:
            return self._component(ADD, g, factor)
        if len(centred) > 2:
            raise Unfit("A1", "a polynomial in a centre of a degree above 2")
        t = self.terms
        places = [self._place(c) for _, c in centred]
        leaf = g
        for (x, _), place in zip(centred, places, strict=True):
            own = self.components[place].leaf
            away = combined(linear(x, self._split()), linear(own, self._split()), -1.0)
            leaf = t.apply("mul", t.apply("sub", x, own), leaf) if away else t.zero
            if not away:
                break
        weight = self._moment(g, (), factor)
        moved = [self._distance(p, weight) for p in places]
        if len(centred) == 1:
            shift = t.apply("mul", moved[0], t.part(weight, "before"))
        else:
            first, second = (self._moment(g, (c,), factor) for c in centred)
            whole = t.apply("mul", moved[1], t.part(weight, "before"))
            if centred[0] == centred[1]:
                held = t.apply("mul", t.number(2), t.part(first, "before"))
                shift = t.apply("mul", moved[0], t.apply("add", held, whole))
            else:
                held = t.apply("add", t.part(second, "before"), whole)
                across = t.apply("mul", moved[1], t.part(first, "before"))
                shift = t.apply("add", t.apply("mul", moved[0], held), across)
        if factor is None:
            return self._component(ADD, leaf, shift, "add")
        return self._component(ADD, leaf, factor, "mul", t.apply("mul", factor, shift))

    def _place(self, centre: Term) -> int:
        """The component that is a centre; a sum is replaced by a count and a mean."""
        held = self._plain[centre]
        if self.components[held].op != ADD:
            return held
        t = self.terms
        n = self._component(ADD, t.one)
        before, after = t.part(n, "before"), t.part(n, "after")
        share = t.apply("where", t.apply("eq", before, after), t.one, t.apply("div", before, after))
        mean = self._component(ADD, self.components[held].leaf, share)
        self.totals[centre] = t.apply("mul", self._part(mean), self.count)
        return mean

    def _distance(self, place: int, weight: int) -> Term:
        """How far a centre moved, nought where it did not, be it infinite."""
        t = self.terms
        before, after = t.part(place, "before"), t.part(place, "after")
        moved = t.apply("sub", before, after)
        if self.components[place].op == ADD:
            return moved
        still = t.apply("eq", before, after)
        nothing = t.apply("eq", t.part(weight, "before"), t.zero)
        return t.apply("where", t.apply("or", still, nothing), t.zero, moved)

    def _extreme(self, op: Monoid, leaf: Term, s: Split) -> Term:
        t = self.terms
        plain, fixed, rest = partition(linear(leaf, s), s)
        if plain and not rest:
            held = self._part(self._component(op, total(plain, t)))
            return t.apply("add", held, self.settled(total(fixed, t)))
        found = addends(leaf, s)
        if len(found) != 1 or found[0].power or found[0].centred or found[0].when:
            raise Unfit("A2", f"what an earlier result does to a value does not pass through {op}")
        (a,) = found
        if not (self._positive(a.h) and self._positive(a.d)):
            raise Unfit("A2", f"a factor that may be negative does not pass through {op}")
        held = self._part(self._component(op, a.g))
        held = t.apply("mul", held, self.settled(a.h))
        return t.apply("div", held, self.settled(a.d))

    def _positive(self, term: Term) -> bool:
        """Whether a term is surely not negative."""
        constant = literal(term)
        if constant is not None:
            return constant >= 0
        if term in self._plain:
            return self._positive(self.components[self._plain[term]].leaf)
        match term.op:
            case "exp" | "sqrt" | "rsqrt" | "abs" | "sigmoid" | "softplus":
                return True
            case "mul" if term.args[0] is term.args[1]:
                return True
            case "add" | "mul" | "div" | "recip":
                return all(map(self._positive, term.args))
            case "max":
                return any(map(self._positive, term.args))
            case "where":
                return all(map(self._positive, term.args[1:]))
        return False


def parts_of(term: Term) -> set[int]:
    """The numbers of the components that a term mentions."""
    return {t.payload[0] for t in within(term) if t.op == "part"}


def _times(t: Terms, k: float, term: Term) -> Term:
    return term if k == 1 else t.apply("mul", term, t.number(k))


def _ratio(a: Linear, b: Linear) -> float | None:
    """k with a = k·b."""
    if a.keys() != b.keys() or not a:
        return None
    atom = next(iter(a))
    k = a[atom] / b[atom]
    return k if not combined(a, b, -k) else None


def _contains(term: Term, part: Term) -> bool:
    return any(t is part for t in within(term))


def _mentions(term: Term, op: str) -> bool:
    return any(t.op == op for t in within(term))
