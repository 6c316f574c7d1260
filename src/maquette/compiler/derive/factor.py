"""Writing a leaf as g(x) ∘ h(r): what varies along the folded axes apart from earlier results.

A leaf is a sum of addends ``h(r)/d(r) · g(x) · exp(u(x) + ρ(r)) · Π (X(x) − c(r))``.  Exponentials
keep ρ beside u, and differences from a centre stay differences, because their two halves can be
far larger than what they make together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from maquette.compiler.derive.terms import Term, Terms, literal

Linear = dict[Term, float]  # a sum: atom → coefficient; the constant's atom is the literal 1


class Unfit(Exception):
    """Why a leaf cannot be streamed: the condition that fails, and why in words."""

    def __init__(self, condition: str, why: str) -> None:
        super().__init__(f"{condition}: {why}")
        self.condition = condition
        self.why = why


@dataclass(frozen=True)
class Addend:
    """One product of a leaf.  `power` is (u, ρ) as sums; `centred` holds (X, the centre c)."""

    h: Term
    d: Term
    g: Term
    power: tuple[tuple[tuple[Term, float], ...], tuple[tuple[Term, float], ...]] | None = None
    centred: tuple[tuple[Term, Term], ...] = ()
    when: tuple[tuple[Term, bool], ...] = ()
    masked: bool = False  # where u is -inf it is nought, whatever ρ is


@dataclass(frozen=True)
class Split:
    """What is known while one leaf is taken apart."""

    terms: Terms
    results: frozenset[Term]  # the earlier results that the leaf may mention
    over: frozenset[str]
    centre: Callable[[Term], tuple[Term, float] | None]  # of an atom: a centre, and its multiple

    def mentions(self, term: Term) -> bool:
        """Whether a term depends on an earlier result."""
        return not self.results.isdisjoint(term.results)

    def varies(self, term: Term) -> bool:
        """Whether a term varies along the folded axes."""
        return not self.over.isdisjoint(term.free)

    def mixed(self, term: Term) -> bool:
        return self.mentions(term) and self.varies(term)


def addends(term: Term, s: Split) -> tuple[Addend, ...]:
    """A leaf as a sum of products; raises Unfit where a part of it is none."""
    one = s.terms.one
    if not s.mentions(term):
        return (Addend(one, one, term),)
    if not s.varies(term):
        return (Addend(term, one, one),)
    rule = _RULES.get(term.op)
    if rule is None:
        why = f"{term.op} of a value and an earlier result is no product of the two"
        raise Unfit("A1", why)
    return rule(term, s)


def _sum(term: Term, s: Split) -> tuple[Addend, ...]:
    """x-parts, r-parts and products; what is measured from a centre stays a difference."""
    t, one = s.terms, s.terms.one
    plain, fixed, rest = partition(linear(term, s), s)
    found = [a for part, k in rest.items() for a in _scaled(addends(part, s), k, s)]
    if plain:
        found.append(Addend(one, one, total(plain, t)))
    left: Linear = {}
    for atom, k in fixed.items():
        at, centred = _centred(found, atom, k, s)
        if centred is None:
            left[atom] = k
        else:
            found[at] = centred
    if left and any(a.power is None and not a.centred for a in found):
        what = "a sum of a value and an earlier result cancels when it is folded apart"
        raise Unfit("stability", what)
    return (*found, *([Addend(total(left, t), one, one)] if left else []))


def _centred(found: Sequence[Addend], atom: Term, k: float, s: Split) -> tuple[int, Addend | None]:
    """``h·x + k·h·c`` as ``−k·h·(x/−k − c)`` where c is a centre: which addend, and what it is."""
    factors = _factors(atom)
    for at, a in enumerate(found):
        if a.power or a.centred or a.when:
            continue
        shared = _factors(a.h) if a.h is not s.terms.one else []
        left = list(factors)
        for f in shared:
            if f not in left:
                break
            left.remove(f)
        else:
            sign, where = _location(left, s)
            if where is not None:
                c, multiple = where
                scale = -k * sign * multiple
                x = total({a.g: 1 / scale}, s.terms)
                h = s.terms.apply("mul", s.terms.number(scale), a.h)
                return at, replace(a, h=h, g=s.terms.one, centred=((x, c),))
    return 0, None


def _location(factors: Sequence[Term], s: Split) -> tuple[float, tuple[Term, float] | None]:
    """The centre that a product is a multiple of."""
    product = s.terms.one
    for f in factors:
        product = s.terms.apply("mul", product, f)
    ((atom, k),) = list(linear(product, s).items())[:1] or [(s.terms.one, 0.0)]
    return k, s.centre(atom) if len(linear(product, s)) == 1 else None


def _factors(term: Term) -> list[Term]:
    if term.op == "mul":
        return _factors(term.args[0]) + _factors(term.args[1])
    return [term]


def _scaled(found: Sequence[Addend], k: float, s: Split) -> list[Addend]:
    if k == 1:
        return list(found)
    return [replace(a, h=s.terms.apply("mul", s.terms.number(k), a.h)) for a in found]


def _product(term: Term, s: Split) -> tuple[Addend, ...]:
    left, right = (addends(a, s) for a in term.args)
    if len(left) * len(right) > 16:
        raise Unfit("A1", "a product of sums with too many terms")
    return tuple(times(a, b, s.terms) for a in left for b in right)


def times(a: Addend, b: Addend, t: Terms) -> Addend:
    """The product of two addends."""
    power = a.power or b.power
    if a.power and b.power:
        (u, p), (v, q) = a.power, b.power
        power = (_joined(u, v), _joined(p, q))
    h, d, g = (t.apply("mul", *pair) for pair in ((a.h, b.h), (a.d, b.d), (a.g, b.g)))
    masked = a.masked or b.masked
    return Addend(h, d, g, power, a.centred + b.centred, a.when + b.when, masked)


def _joined(
    a: tuple[tuple[Term, float], ...], b: tuple[tuple[Term, float], ...]
) -> tuple[tuple[Term, float], ...]:
    return tuple(combined(dict(a), dict(b)).items())


def _quotient(term: Term, s: Split) -> tuple[Addend, ...]:
    top, bottom = term.args
    return tuple(times(a, _inverse(bottom, s), s.terms) for a in addends(top, s))


def _inverse(term: Term, s: Split) -> Addend:
    t = s.terms
    if not s.mentions(term):
        return Addend(t.one, t.one, t.apply("div", t.one, term))
    if not s.varies(term):
        return Addend(t.one, term, t.one)
    found = addends(term, s)
    if len(found) != 1 or found[0].centred or found[0].when or found[0].masked:
        raise Unfit("A1", "a division by a sum of values and earlier results")
    (a,) = found
    power = a.power and (
        tuple((x, -k) for x, k in a.power[0]),
        tuple((x, -k) for x, k in a.power[1]),
    )
    return Addend(a.d, a.h, t.apply("div", t.one, a.g), power)


def _exponential(term: Term, s: Split) -> tuple[Addend, ...]:
    plain, fixed, rest = partition(linear(term.args[0], s), s)
    if rest:
        raise Unfit("A1", "an exponent that is no sum of a value and an earlier result")
    one = s.terms.one
    return (Addend(one, one, one, power=(tuple(plain.items()), tuple(fixed.items()))),)


def _choice(term: Term, s: Split) -> tuple[Addend, ...]:
    test, yes, no = term.args
    t = s.terms
    if s.mentions(test):
        if s.varies(test):
            raise Unfit("A1", "a choice that compares a value with an earlier result")
        return (
            *(replace(a, when=(*a.when, (test, True))) for a in _unless_zero(yes, s)),
            *(replace(a, when=(*a.when, (test, False))) for a in _unless_zero(no, s)),
        )
    found = []
    for branch, other, holds in ((yes, no, True), (no, yes, False)):
        for a in _unless_zero(branch, s):
            if a.power is not None and literal(other) == 0:
                found.append(_masked(a, test, holds, t))
            else:
                cases = (a.g, t.zero) if holds else (t.zero, a.g)
                found.append(replace(a, g=t.apply("where", test, *cases)))
    return tuple(found)


def _masked(a: Addend, test: Term, holds: bool, t: Terms) -> Addend:
    """An exponential or nought is an exponential of -inf or not."""
    assert a.power is not None
    u, nothing = total(dict(a.power[0]), t), t.lit(float("-inf"))
    cases = (u, nothing) if holds else (nothing, u)
    return replace(a, power=(((t.apply("where", test, *cases), 1.0),), a.power[1]), masked=True)


def _unless_zero(term: Term, s: Split) -> tuple[Addend, ...]:
    return () if literal(term) == 0 else addends(term, s)


def _logarithm(term: Term, s: Split) -> tuple[Addend, ...]:
    """The logarithm of a product is a sum; that of an exponential is its exponent."""
    found = addends(term.args[0], s)
    if len(found) != 1 or found[0].centred or found[0].when or not found[0].power:
        raise Unfit("A1", "the logarithm of what is no exponential")
    (a,) = found
    t = s.terms
    assert a.power is not None
    whole = combined(dict(a.power[0]), dict(a.power[1]))
    for part, sign in ((a.h, 1.0), (a.g, 1.0), (a.d, -1.0)):
        if part is not t.one:
            whole = combined(whole, {t.apply("log", part): sign})
    return addends(total(whole, t), s)


def _power(term: Term, s: Split) -> tuple[Addend, ...]:
    base, exponent = term.args
    if literal(exponent) != 2:
        raise Unfit("A1", "a power of a value and an earlier result")
    return _product(s.terms.apply("mul", base, base), s)


def _reciprocal(term: Term, s: Split) -> tuple[Addend, ...]:
    return (_inverse(term.args[0], s),)


def _root(term: Term, s: Split) -> tuple[Addend, ...]:
    """Functions of a product that are products of the function."""
    found = addends(term.args[0], s)
    if len(found) != 1 or found[0].centred or found[0].when or found[0].power:
        raise Unfit("A1", f"{term.op} of what is no product")
    (a,) = found
    h, d, g = (s.terms.apply(term.op, p) for p in (a.h, a.d, a.g))
    return (Addend(h, d, g),)


_RULES: Mapping[str, Callable[[Term, Split], tuple[Addend, ...]]] = {
    "add": _sum, "sub": _sum, "neg": _sum, "mul": _product, "div": _quotient,
    "exp": _exponential, "where": _choice, "log": _logarithm, "pow": _power,
    "recip": _reciprocal, "abs": _root,
}  # fmt: skip


def linear(term: Term, s: Split) -> Linear:
    """A term as a sum of atoms with constant coefficients; zero coefficients are left out."""
    t = s.terms
    constant = literal(term)
    if constant is not None:
        return {t.one: constant} if constant else {}
    match term.op:
        case "add":
            return combined(linear(term.args[0], s), linear(term.args[1], s))
        case "sub":
            return combined(linear(term.args[0], s), linear(term.args[1], s), -1.0)
        case "neg":
            return combined({}, linear(term.args[0], s), -1.0)
        case "mul":
            return _linear_product(term, s)
        case "div":
            by = literal(term.args[1])
            if by:
                return combined({}, linear(term.args[0], s), 1 / by)
            if s.mixed(term.args[0]) and not s.mentions(term.args[1]):
                inner = linear(term.args[0], s)
                return _each(inner, lambda a: t.apply("div", a, term.args[1]))
        case "where":
            return _linear_choice(term, s)
    return {term: 1.0}


def _linear_product(term: Term, s: Split) -> Linear:
    left, right = term.args
    for by, other in ((left, right), (right, left)):
        factor = literal(by)
        if factor is not None:
            return combined({}, linear(other, s), factor)
    for by, other in ((left, right), (right, left)):
        if s.mixed(other) and not s.mentions(by) and not s.varies(by):
            return _each(linear(other, s), lambda a, b=by: s.terms.apply("mul", b, a))  # type: ignore[misc]
    return {term: 1.0}


def _linear_choice(term: Term, s: Split) -> Linear:
    """``where(c, x + r, −inf)`` is ``where(c, x, −inf) + r``."""
    test, yes, no = term.args
    if not s.mixed(yes) or s.mentions(test) or literal(no) != float("-inf"):
        return {term: 1.0}
    plain, fixed, rest = partition(linear(yes, s), s)
    if rest:
        return {term: 1.0}
    return combined({s.terms.apply("where", test, total(plain, s.terms), no): 1.0}, fixed)


def _each(sum_: Linear, change: Callable[[Term], Term]) -> Linear:
    found: Linear = {}
    for atom, k in sum_.items():
        found = combined(found, {change(atom): k})
    return found


def combined(a: Linear, b: Linear, k: float = 1.0) -> Linear:
    """``a + k·b``; a coefficient that is zero but for rounding is zero."""
    found = dict(a)
    for atom, c in b.items():
        value = found.get(atom, 0.0) + k * c
        if abs(value) <= 1e-12 * abs(k * c):
            found.pop(atom, None)
        else:
            found[atom] = value
    return found


def partition(sum_: Linear, s: Split) -> tuple[Linear, Linear, Linear]:
    """The parts that vary or are constant, those of earlier results alone, and the mixed ones."""
    plain = {t: k for t, k in sum_.items() if not s.mentions(t)}
    fixed = {t: k for t, k in sum_.items() if s.mentions(t) and not s.varies(t)}
    rest = {t: k for t, k in sum_.items() if s.mixed(t)}
    return plain, fixed, rest


def total(sum_: Linear, terms: Terms) -> Term:
    """The term of a sum, its atoms in the order in which they were made."""
    found = terms.zero
    for atom, k in sorted(sum_.items(), key=lambda item: (item[1] < 0, item[0].serial)):
        if k < 0 and found is not terms.zero:
            found = terms.apply("sub", found, _multiple(atom, -k, terms))
        else:
            found = terms.apply("add", found, _multiple(atom, k, terms))
    return found


def _multiple(atom: Term, k: float, terms: Terms) -> Term:
    if k == -1:
        return terms.apply("neg", atom)
    return terms.apply("mul", atom, terms.number(k)) if k != 1 else atom
