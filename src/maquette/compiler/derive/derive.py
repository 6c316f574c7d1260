"""Turning reductions that depend on reductions into one.

For every reduction whose leaf mentions earlier results over the same axes, the leaf is written as
g(x) ∘ h(r) and joins the fold of those results (`fold`).  What nothing repairs stays a reduction
of its own, its h(r) hoisted; what is repaired becomes one Reduce with a streamed monoid.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from maquette.compiler.derive.apart import apart
from maquette.compiler.derive.factor import Unfit
from maquette.compiler.derive.family import Emission, Family
from maquette.compiler.derive.fold import Fold, parts_of
from maquette.compiler.derive.replace import replaced
from maquette.compiler.derive.spell import Spelling
from maquette.compiler.derive.terms import Term, Terms
from maquette.errors import ProgramError
from maquette.ir.axes import points
from maquette.ir.graph import Graph
from maquette.ir.monoids import Streamed
from maquette.ir.patterns import Reduce, Value

Rule = Literal["exponent", "moment", "hoist"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Derivation:
    """Reductions that became one fold, or whose earlier results were hoisted out of them."""

    replaced: tuple[Value, ...]  # of the graph that was given
    by: tuple[Value, ...]  # one for each, of the graph that was made
    fold: Reduce | None  # the streamed reduction; None: hoisted only
    rules: tuple[Rule, ...]  # that it takes

    @property
    def monoid(self) -> Streamed | None:
        """The monoid of the fold."""
        held = None if self.fold is None else self.fold.monoid
        return held if isinstance(held, Streamed) else None

    @property
    def section(self) -> str:
        """Where it is."""
        return self.replaced[0].section


@dataclass(frozen=True)
class Refusal:
    """A reduction that depends on another over the same axes and stays as it is."""

    value: Value
    condition: str  # A1, A2; stability: it would cancel; rules: not to be used; choice: not chosen
    why: str

    def __str__(self) -> str:
        place = f"@{self.value.section}: " if self.value.section else ""
        return f"{place}{self.value!r}: {self.condition}: {self.why}"


@dataclass(frozen=True)
class Derived:
    """A graph of the same meaning, what was derived in it, and what could not be."""

    graph: Graph
    derivations: tuple[Derivation, ...]
    refusals: tuple[Refusal, ...]


def always(candidate: Derivation) -> bool:
    """Take whatever can be derived."""
    return True


def derive(
    graph: Graph,
    rules: Collection[Rule] = RULES,
    choose: Callable[[Derivation], bool] = always,
) -> Derived:
    """Every chain of dependent reductions of a graph as one fold, where the laws allow it.

    `rules` are those that may be used.  ``exponent``: exponentials repaired when their maximum
    moves; ``moment``: differences from a mean or an extreme repaired when it moves; ``hoist``:
    factors of earlier results taken out of sums that then depend on nothing.  `choose` says of
    each candidate whether it is taken: one pass is not always the quickest.

    >>> from maquette.ir.build import activation, softmax, dot
    >>> s, v = activation("s", n=4, t=9), activation("v", t=9, e=2)
    >>> y = dot(softmax(s, "t"), v, "t")
    >>> (found,) = derive(Graph("mix", {"y": y.value})).derivations
    >>> [part.op.name for part in found.monoid.parts]
    ['max', 'add', 'add']
    """
    spelling = Spelling(Terms())
    parted = apart(graph, spelling)
    if parted is not graph:
        spelling = Spelling(Terms())
    return _Pass(parted, frozenset(rules), spelling).run(choose)


class _Pass:
    def __init__(self, graph: Graph, rules: frozenset[Rule], spelling: Spelling) -> None:
        self.graph = graph
        self.rules = rules
        self.terms = spelling.terms
        self.spelling = spelling
        self.place = {v: i for i, v in enumerate(graph.values)}
        self.families: dict[object, list[Family]] = {}
        self.refusals: list[Refusal] = []
        self.emission = Emission(self.spelling)

    def run(self, choose: Callable[[Derivation], bool]) -> Derived:
        for value in self.graph.values:
            if isinstance(value, Reduce) and value.monoid.width == 1:
                try:
                    self._join(value)
                except Unfit as unfit:
                    self.refusals.append(Refusal(value, unfit.condition, unfit.why))
        by: dict[Value, Value] = {}
        found = []
        for family in (f for held in self.families.values() for f in held if f.members):
            made, fold = self.emission.values(family, by)
            candidate = Derivation(tuple(made), tuple(made.values()), fold, _rules(family))
            if choose(candidate):
                found.append(candidate)
                by |= made
            else:
                why = "one after the other they are thought to be quicker"
                self.refusals += [Refusal(v, "choice", why) for v in family.members]
        try:
            graph, became = replaced(self.graph, by)
        except ProgramError:
            found, by = self._untangled(found, by)
            graph, became = replaced(self.graph, by)
        return Derived(graph, tuple(_kept(found, became)), tuple(self.refusals))

    def _untangled(
        self, found: Sequence[Derivation], by: Mapping[Value, Value]
    ) -> tuple[list[Derivation], dict[Value, Value]]:
        """The folds that do not need each other's results in a circle, the first ones kept."""
        kept: list[Derivation] = []
        so_far: dict[Value, Value] = {}
        for candidate in found:
            more = so_far | {v: by[v] for v in candidate.replaced}
            try:
                replaced(self.graph, more)
            except ProgramError:
                why = "what it needs would need it"
                self.refusals += [Refusal(v, "order", why) for v in candidate.replaced]
                continue
            kept.append(candidate)
            so_far = more
        return kept, so_far

    def _join(self, value: Reduce) -> None:
        """Make a reduction a member of a fold, if its leaf mentions results over the same axes."""
        leaf = self.spelling.leaf(value)
        if not leaf.results or not _whole(value):
            return
        chain = self._chain(leaf, value)
        if not chain:
            return
        names = frozenset(value.over)
        key = frozenset(a for a in value.domain if a.name in names)
        held = self.families.setdefault(key, [])
        known = (f for f in held if not chain.keys().isdisjoint(f.results))
        family = next((f for f in known if self._apart(value, chain, f)), None)
        if family is None:
            family = Family(Fold(self.terms, names, self.terms.extent(points(key))), value)
            held.append(family)
        for result, inner in chain.items():
            family.fold.include(result, result.payload.monoid, inner)
            family.results[result] = result.payload
        found = family.fold.total(value.monoid, leaf)
        for rule in sorted({*_used(family.fold, found)} - self.rules):
            raise Unfit("rules", f"it takes the rule {rule!r}, which is not to be used")
        family.members[value] = found

    def _chain(self, leaf: Term, value: Reduce) -> dict[Term, Term]:
        """The earlier results that a leaf depends on, with their leaves, all in one frame."""
        found: dict[Term, Term] = {}
        names = frozenset(value.over)
        reads: frozenset[Term] | None = None  # a long walk, seldom needed
        for result in sorted(leaf.results, key=lambda t: t.serial):
            earlier: Reduce = result.payload
            if not names.isdisjoint(result.free):
                continue
            along = _paired(earlier, value)
            if along is None or not _whole(earlier):
                continue
            places = {a.name: p for a, p in zip(earlier.axes, result.args, strict=True)}
            places |= {mine: self.terms.index(theirs) for mine, theirs in along.items()}
            inner = self.terms.at(self.spelling.leaf(earlier), places)
            reads = _varying_reads(leaf, names) if reads is None else reads
            if reads.isdisjoint(_varying_reads(inner, names)):
                continue  # over axes of the same size, but of other things
            found |= self._chain(inner, value)
            found[result] = inner
        return found

    def _apart(self, value: Reduce, chain: Mapping[Term, Term], family: Family) -> bool:
        """Whether a reduction needs no member of a fold but for results that are in the fold."""
        inside = {q.payload for q in (*chain, *family.results)}
        members = family.members.keys() - inside
        first = min((self.place[m] for m in members), default=len(self.place))
        stack, seen = list(value.operands), set[Value]()
        while stack:
            v = stack.pop()
            if v in members:
                return False
            if v not in seen and v not in inside and self.place[v] > first:
                seen.add(v)
                stack.extend(v.operands)
        return True


def _kept(found: Iterable[Derivation], became: Mapping[Value, Value]) -> Iterator[Derivation]:
    """Derivations of which something is in the graph that was made, in its terms."""
    for d in found:
        used = tuple(v for v in d.replaced if v in became)
        if used:
            by = tuple(became[v] for v in used)
            fold = None if d.fold is None else next(filter(None, map(_fold_in, by)), None)
            yield Derivation(used, by, fold, d.rules)


def _fold_in(value: Value) -> Reduce | None:
    """The streamed reduction that a total is of."""
    for v in (value, *value.operands):
        for w in (v, *v.operands):
            if isinstance(w, Reduce) and isinstance(w.monoid, Streamed):
                return w
    return None


def _used(fold: Fold, found: Term) -> Iterator[Rule]:
    """The rules that a total takes."""
    needed = {j for i in parts_of(found) for j in fold.needs(i)}
    moving = [fold.components[i] for i in needed if fold.components[i].moves]
    yield from ("exponent" if c.exponential else "moment" for c in moving)
    if not moving:
        yield "hoist"


def _rules(family: Family) -> tuple[Rule, ...]:
    used = {r for found in family.members.values() for r in _used(family.fold, found)}
    return tuple(r for r in RULES if r in used)


def _whole(value: Reduce) -> bool:
    """Whether it ranges over all of its axes, which are not surely empty."""
    over = [a for a in value.domain if a.name in value.over]
    return value.monoid.width == 1 and all(a.within is None and a.size.constant != 0 for a in over)


def _paired(earlier: Reduce, later: Reduce) -> dict[str, str] | None:
    """Which axis of one fold goes with which of the other; None where sizes differ."""
    mine = {a.name: a.size for a in earlier.domain if a.name in earlier.over}
    theirs = {a.name: a.size for a in later.domain if a.name in later.over}
    if mine == theirs:
        return {n: n for n in mine}
    if len(mine) != len(theirs):
        return None
    pairs = list(zip(earlier.over, later.over, strict=True))
    return dict(pairs) if all(mine[a] == theirs[b] for a, b in pairs) else None


def _varying_reads(term: Term, over: frozenset[str]) -> frozenset[Term]:
    found: set[Term] = set()
    stack, seen = [term], set[Term]()
    while stack:
        t = stack.pop()
        if t in seen or over.isdisjoint(t.free):
            continue
        seen.add(t)
        if t.op == "read":
            found.add(t)
        else:
            stack.extend(t.args)
    return frozenset(found)
