"""Finding recurrences in a graph, and rewriting them by chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from maquette.compiler.derive.chunk import (
    STEADY,
    Chunks,
    Decay,
    by_exponents,
    by_products,
    carried,
    read_out,
    spread,
    states,
    total,
)
from maquette.compiler.derive.derive import Derivation, Derived, Refusal
from maquette.compiler.derive.emit import valued
from maquette.compiler.derive.replace import replaced
from maquette.compiler.derive.spell import Spelling
from maquette.compiler.derive.terms import Term, Terms, literal, within
from maquette.ir.axes import Axis
from maquette.ir.build import Tensor, iota, scan, where
from maquette.ir.graph import Graph
from maquette.ir.monoids import ADD, AFFINE, MUL
from maquette.ir.patterns import Map, Reduce, Scan, Value, View, section


def chunked(graph: Graph, length: int) -> Derived:
    """Scans longer than `length`, and sums over all earlier positions, a chunk at a time.

    A sum of products with the state of a linear recurrence is read out by contractions inside
    chunks and a scan of one state per chunk; so is ``Σ_{t ≤ s} (q[s]·k[t]) v[t]``, which need
    then not look at every pair.  Any other use of a scan gets prefixes made by chunks.

    >>> from maquette.ir.build import activation, dot, scan
    >>> q, k, v = activation("q", s=64, d=4), activation("k", s=64, d=4), activation("v", s=64, e=2)
    >>> y = dot(q, scan(ADD, "s", k * v)[0], "d")
    >>> made = chunked(Graph("linear", {"y": y.value}), 16).graph
    >>> sorted({str(a) for v in made.values if isinstance(v, Scan) for a in v.axes})
    ['d=4', 'e=2', 's.chunk=4']
    """
    return _Pass(graph, length).run()


class _Pass:
    def __init__(self, graph: Graph, length: int) -> None:
        self.graph = graph
        self.length = length
        self.terms = Terms()
        self.spelling = Spelling(self.terms)
        self.by: dict[Value, Value] = {}
        self.refusals: list[Refusal] = []
        self.made: list[list[Value]] = []

    def run(self) -> Derived:
        for v in self.graph.values:
            if isinstance(v, Scan):
                found = self._scan(v)
            elif isinstance(v, Reduce) and v.monoid == ADD and len(v.over) == 1:
                found = self._prefix(v)
            else:
                continue
            if found:
                self.made.append(list(found))
                self.by |= found
        graph, became = replaced(self.graph, self.by)
        derivations = tuple(
            Derivation(tuple(used), tuple(became[v] for v in used), None, ())
            for made in self.made
            if (used := [v for v in made if v in became])
        )
        return Derived(graph, derivations, tuple(self.refusals))

    # Scans

    def _scan(self, value: Scan) -> dict[Value, Value]:
        along = value.axes[[a.name for a in value.axes].index(value.along)]
        size = along.size.constant
        if not isinstance(size, int) or along.within is not None:
            why = f"axis {along} has no number for a size"
            self.refusals.append(Refusal(value, "sizes", why))
            return {}
        if size <= self.length:
            return {}
        c = Chunks(value.along, size, self.length)
        with section(value.section):
            args = [spread(Tensor(a), along) for a in value.args]
            found = self._everywhere(value, c, args)
            if value.monoid in (ADD, AFFINE):
                found |= self._read_outs(value, c, args)
        return found

    def _everywhere(self, value: Scan, c: Chunks, args: Sequence[Tensor]) -> dict[Value, Value]:
        """Every prefix, for whoever needs them all."""
        made = states(c, value.monoid, args)
        if len(made) == 1:
            return {value: c.joined(made[0], value.axes).value}
        return {
            item: c.joined(made[number], item.axes).value
            for number, item in self.items(value).items()
        }

    def items(self, value: Value) -> dict[int, Value]:
        """The components of a scan that are used, by number."""
        views = (v for v in self.graph.values if isinstance(v, View) and v.kind == "item")
        return {_number(v): v for v in views if v.args == (value,)}

    def _read_outs(self, value: Scan, c: Chunks, args: Sequence[Tensor]) -> dict[Value, Value]:
        recurrence = _Recurrence(self, value, c, args)
        later = self.graph.values[self.graph.values.index(value) :]
        sums = [v for v in later if isinstance(v, Reduce) and v.monoid == ADD]
        made: dict[Value, Value | None] = {
            v: recurrence.read_out(v) for v in sums if c.axis not in v.over
        }
        made |= {v: recurrence.after(v) for v in later if isinstance(v, Map)}
        return {v: new for v, new in made.items() if new is not None}

    def tensor(self, term: Term, axes: Sequence[Axis], like: Value) -> Tensor:
        """A term as a tensor."""
        made = valued(term, self.spelling.held(axes), axes, like.dtype, like.section)
        return Tensor(made)

    def product(self, factors: Sequence[Term]) -> Term:
        made = self.terms.one
        for f in factors:
            made = self.terms.apply("mul", made, f)
        return made

    # Sums over earlier positions

    def _prefix(self, value: Reduce) -> dict[Value, Value]:
        (along,) = value.over
        leaf = self.spelling.term(value.args[0])
        domain = {a.name: a for a in (*value.domain, *value.axes)}
        size = domain[along].size.constant
        if not isinstance(size, int) or size <= self.length or domain[along].within is not None:
            return {}
        factors = list(_factors(leaf))
        masks = [f for f in factors if f.op == "where" and along in f.args[0].free]
        if len(masks) != 1:
            return {}
        (mask,) = masks
        order = _order(mask, along)
        if order is None:
            return {}
        here, strictly, inner = order
        if here not in value.shape or domain[here].size != domain[along].size:
            return {}
        factors.remove(mask)
        parts = self._pairwise([*factors, *_factors(inner)], here, along, domain)
        if parts is None:
            return {}
        (query, key, outer, scale), over, frame = parts
        c = Chunks(here, size, self.length)
        with section(value.section):
            axes = tuple(frame.values())
            q = c.here(self.tensor(query, axes, value))
            k, v = (c.there(self.tensor(x, axes, value), along) for x in (key, outer))
            y = read_out(c, STEADY, q, k, None if outer is self.terms.one else v, over, strictly)
            if scale is not self.terms.one:
                y = y * c.here(self.tensor(scale, axes, value))
            return {value: c.joined(y, value.axes).value}

    def _pairwise(
        self, factors: Sequence[Term], here: str, along: str, domain: dict[str, Axis]
    ) -> tuple[tuple[Term, Term, Term, Term], list[str], dict[str, Axis]] | None:
        """(query, key, value, scale) and what query and key are contracted over, if all is that."""
        mixed = [f for f in factors if {here, along} <= f.free]
        query, key, over, frame = self.terms.one, self.terms.one, [], dict(domain)
        if len(mixed) > 1 or (mixed and not self._contraction(mixed[0])):
            return None
        if mixed:
            (read,) = mixed
            inner: Reduce = read.payload
            places = {a.name: p for a, p in zip(inner.axes, read.args, strict=True)}
            for a in inner.domain:
                if a.name in inner.over:
                    over.append(f"{a.name}.in")
                    frame[over[-1]] = Axis(over[-1], a.size, a.within)
                    places[a.name] = self.terms.index(over[-1])
            leaf = self.terms.at(self.spelling.term(inner.args[0]), places)
            sides = list(_factors(leaf))
            if any({here, along} <= f.free for f in sides):
                return None
            query = self.product([f for f in sides if along not in f.free])
            key = self.product([f for f in sides if along in f.free])
        rest = [f for f in factors if f not in mixed]
        outer = self.product([f for f in rest if along in f.free])
        scale = self.product([f for f in rest if along not in f.free])
        if over:
            return (query, key, outer, scale), over, frame
        return (scale, outer, self.terms.one, self.terms.one), over, frame

    def _contraction(self, read: Term) -> bool:
        return read.op == "read" and isinstance(read.payload, Reduce) and read.payload.monoid == ADD


class _Recurrence:
    """One linear recurrence, and what reads its state."""

    def __init__(self, made_by: _Pass, value: Scan, c: Chunks, args: Sequence[Tensor]) -> None:
        self.made_by = made_by
        self.value = value
        self.c = c
        self.terms = made_by.terms
        self.args = args
        self.affine = value.monoid == AFFINE
        self.over: tuple[str, ...] = ()  # what the state is contracted over where it is read out
        items = made_by.items(value)
        self.state: Value | None = items.get(1) if self.affine else value
        self.faded: Value | None = items.get(0) if self.affine else None

    def decay(self) -> Decay:
        if not self.affine:
            return STEADY
        a = self.args[0]
        term = self.made_by.spelling.term(self.value.args[0])
        if term.op == "exp":
            g = self.made_by.tensor(term.args[0], self.value.axes, a.value)
            return by_exponents(self.c, spread(g, self.value.axis(self.c.axis)))
        return by_products(self.c, a)

    def read_out(self, v: Reduce) -> Value | None:
        """A sum of products with the state, over axes that do not fade apart."""
        leaf = self.made_by.spelling.term(v.args[0])
        marks = [self.terms.natural(x) for x in (self.state, self.faded) if x is not None]
        products = list(_products(leaf, frozenset(marks), self.terms))
        if (
            not products
            or None in products
            or not any(m in f for f in products if f for m in marks)
        ):
            return None
        fading = {a.name for a in self.args[0].axes} if self.affine else set()
        if fading & set(v.over):
            return None
        found: Tensor | None = None
        for factors in products:
            assert factors is not None
            held = [f for f in factors if f in marks]
            if len(held) > 1:
                return None
            part = self._part(v, factors, held[0] if held else None)
            found = part if found is None else found + part
        assert found is not None
        return self.c.joined(found, v.axes).value

    def _part(self, v: Reduce, factors: Sequence[Term], mark: Term | None) -> Tensor:
        c, over = self.c, v.over
        axes = self._frame(v)
        rest = [f for f in factors if f is not mark]
        query = c.here(self.made_by.tensor(self.made_by.product(rest), axes, v))
        if mark is None:
            return total(over, query)
        decay = self.decay()
        if mark.payload is self.faded:
            assert decay.whole is not None and decay.since_start is not None
            through = c.before(scan(MUL, c.chunk, decay.whole)[0])
            first = iota(c.chunk, c.count) < 1
            start = decay.since_start * where(first, 1.0, through)
            return self._summed(rest, over, axes, v) * start
        inner, outer = self._put_in(over, axes, v)
        self.over = self.over or over
        return read_out(c, decay, query, inner, outer, over)

    def _frame(self, v: Value) -> tuple[Axis, ...]:
        domain = v.domain if isinstance(v, Reduce) else ()
        return tuple({a.name: a for a in (*domain, *v.axes, *self.value.axes)}.values())

    def _summed(
        self, factors: Sequence[Term], over: Sequence[str], axes: tuple[Axis, ...], v: Value
    ) -> Tensor:
        """A sum of products, the last factor contracted with the others."""
        made = [self.c.here(self.made_by.tensor(f, axes, v)) for f in factors]
        if not made:
            return total(over, self.c.here(self.made_by.tensor(self.terms.one, axes, v)))
        *others, last = made
        for x in others[1:]:
            others[0] = others[0] * x
        return total(over, others[0] * last if others else last)

    def _put_in(
        self, over: Sequence[str], axes: tuple[Axis, ...], v: Value
    ) -> tuple[Tensor, Tensor]:
        """What is put into the state at every source: the factors along `over`, and the others."""
        factors = list(_factors(self.made_by.spelling.term(self.value.args[-1])))
        inner = [f for f in factors if f.free & set(over)]
        outer = [f for f in factors if not f.free & set(over)]
        along = self.value.axis(self.c.axis)
        made = (self.made_by.tensor(self.made_by.product(fs), axes, v) for fs in (inner, outer))
        first, second = (self.c.there(spread(x, along)) for x in made)
        return first, second

    def after(self, v: Map) -> Value | None:
        """The state after the last position."""
        term = self.made_by.spelling.term(v)
        c = self.c
        marks = {self._at_end(x): x for x in (self.state, self.faded) if x is not None}
        reads = [t for t in _reads(term) if t.payload in (self.state, self.faded)]
        if not reads or any(t not in marks for t in reads):
            return None
        decay = self.decay()
        ends: dict[Term, Value] = {}
        for mark, x in marks.items():
            if x is self.faded:
                assert decay.whole is not None
                ends[mark] = c.final(scan(MUL, c.chunk, decay.whole)[0]).value
            else:
                inner, outer = self._put_in(self.over, self._frame(v), v)
                ends[mark] = c.final(carried(c, decay, inner, outer)).value
        own = self.made_by.spelling.held(v.axes)
        origin = {self.made_by.spelling.origin.get(t) for t in (*marks, term)}

        def held(t: Term) -> Value | None:
            found = ends.get(t) or own(t)
            return None if found in origin else found

        return valued(term, held, v.axes, v.dtype, v.section)

    def _at_end(self, x: Value) -> Term:
        end = self.terms.lit(self.c.size - 1)
        at = [end if a.name == self.c.axis else self.terms.index(a.name) for a in x.axes]
        return self.terms.read(x, at)


def _number(item: View) -> int:
    assert item.start is not None
    found = item.start.constant
    assert isinstance(found, int)
    return found


def _factors(term: Term) -> Iterator[Term]:
    if term.op == "mul":
        for a in term.args:
            yield from _factors(a)
    else:
        yield term


def _products(term: Term, marks: frozenset[Term], t: Terms) -> Iterator[list[Term] | None]:
    """A term as a sum of products of which a mark is a factor; None where it is none."""
    if term in marks or marks.isdisjoint(_reads(term)):
        yield [term]
    elif term.op == "mul":
        left, right = (list(_products(a, marks, t)) for a in term.args)
        for a in left:
            for b in right:
                yield None if a is None or b is None else [*a, *b]
    elif term.op in ("add", "sub"):
        yield from _products(term.args[0], marks, t)
        sign = [t.number(-1)] if term.op == "sub" else []
        for p in _products(term.args[1], marks, t):
            yield None if p is None else [*sign, *p]
    else:
        yield None


def _reads(term: Term) -> set[Term]:
    return {t for t in within(term) if t.op == "read"}


def _order(mask: Term, along: str) -> tuple[str, bool, Term] | None:
    """A choice by ``along ≤ other``, or ``<``: (other, strictly, what is chosen); nought else."""
    test, yes, no = mask.args
    negated = literal(yes) == 0
    if not negated and literal(no) != 0:
        return None
    while test.op == "not":
        test, negated = test.args[0], not negated
    if test.op not in _FLIPPED or any(a.op != "index" for a in test.args):
        return None
    op, (left, right) = test.op, (a.payload for a in test.args)
    if left != along:
        op, left, right = _FLIPPED[op], right, left
    if negated:
        op = _NEGATED[op]
    if left != along or right == along or op not in ("le", "lt"):
        return None
    return right, op == "lt", no if literal(yes) == 0 else yes


_FLIPPED = {"le": "ge", "ge": "le", "lt": "gt", "gt": "lt"}
_NEGATED = {"le": "gt", "gt": "le", "lt": "ge", "ge": "lt"}
