"""The price chooses: of the flows that mean the same, the one whose kernels are priced quickest.

From the guess one decision is flipped at a time, and what is cheaper is kept, until nothing is: a
local search, which always gives the same answer.  A large graph is priced piece by piece, as it is
cut between layers; pieces of one form are priced once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from maquette.compiler.kernel import Flow, Interpreted, Kernel
from maquette.compiler.rewrite.regions import regions
from maquette.compiler.variants import (
    Algebra,
    Guess,
    Made,
    Variant,
    Written,
    algebra,
    fused,
    lengths,
)
from maquette.errors import MaquetteError
from maquette.ir.graph import Graph
from maquette.ir.patterns import Input
from maquette.ir.text import show

KernelPrice: TypeAlias = Callable[[Kernel | Interpreted], float | None]  # None: NumPy runs it
FlowPrice: TypeAlias = Callable[[Flow], float]
_WHOLE = 160  # values that are priced as one piece; else they are cut into pieces of no more than
_CUT = 80
_EFFORT = 5000  # values that are made into flows, all variants together, and no fewer variants than
_FEWEST = 12
_SWEEPS = 2  # times that every decision is asked
_GAIN = 0.995  # a flow that takes no less than this of another's time is not thought quicker


@dataclass(frozen=True, order=True)
class Price:
    """Of a flow: what NumPy runs is worse than any kernel."""

    interpreted: int
    seconds: float

    def beats(self, other: Price) -> bool:
        """Whether it is better by more than a rounding."""
        return (self.interpreted, self.seconds) < (other.interpreted, other.seconds * _GAIN)

    def __str__(self) -> str:
        if math.isinf(self.seconds):
            return "cannot be made"
        text = f"{self.seconds * 1e3:.4g} ms"
        return f"{text} and {self.interpreted} in NumPy" if self.interpreted else text


@dataclass(frozen=True)
class Alternative:
    """One decision: what each of its options costs with all others as they stood then."""

    what: str
    options: tuple[tuple[str, Price], ...]
    chosen: str

    def __str__(self) -> str:
        priced = ", ".join(f"{label} {price}" for label, price in self.options)
        return f"{self.what}: {priced}: {self.chosen}"


@dataclass(frozen=True)
class Decision:
    """What may be decided one way or another: the variants that it makes of one."""

    what: str
    options: tuple[tuple[str, Callable[[Variant], Variant]], ...]


class Search:
    """Variants of a graph, and their prices as far as they were asked for."""

    def __init__(
        self,
        rewritten: Written,
        original: Written,
        guess: Guess,
        price: KernelPrice,
        tries: int,
        handed: FlowPrice = lambda flow: 0.0,
    ) -> None:
        """`tries` is how many variants are priced at most, fewer of large graphs; 0: the guess.

        `handed` gives the seconds that kernels wait for what others left them.
        """
        self._handed = handed
        self._written = {True: rewritten, False: original}
        self._guess, self._price, self._left = guess, price, tries
        self._pieces: dict[bool, list[tuple[Written, int]]] = {}
        self._algebra: dict[object, Algebra] = {}
        self._flows: dict[tuple[int, Variant], tuple[Price, Made | None]] = {}
        self._prices: dict[Variant, Price] = {}
        self.made: Made | None = None  # of the variant that was found, where it is one piece

    def run(self) -> tuple[Variant, tuple[Alternative, ...]]:
        """The variant that was found, and what was decided."""
        found, record = Variant(), dict[str, Alternative]()
        if self._left <= 0:
            return found, ()
        pieces = self._cut(True)
        size = sum(len(w.graph.values) for w, _ in pieces)
        self._left = max(_FEWEST, min(self._left, _EFFORT // max(size, 1)))
        best = self._of(found)
        assert best is not None
        decisions = list(self._decisions(found))
        for _ in range(_SWEEPS):
            before = found
            for decision in decisions:
                found, best = self._decide(decision, found, best, record)
            if found == before:
                break
        pieces = self._cut(found.rewritten)
        if [times for _, times in pieces] == [1]:  # the whole graph
            self.made = self._flow(found, 0, pieces[0][0])[1]
        return found, tuple(record.values())

    def _decide(
        self, decision: Decision, found: Variant, best: Price, record: dict[str, Alternative]
    ) -> tuple[Variant, Price]:
        """The cheapest option, and in the record what each costs with all else as it stands."""
        options = [(label, change(found)) for label, change in decision.options]
        priced = [(label, v, p) for label, v in options if (p := self._of(v)) is not None]
        chosen = next(label for label, v, _ in priced if v == found)
        for label, variant, price in priced:
            if price.beats(best):
                chosen, found, best = label, variant, price
        if len({p for _, _, p in priced}) > 1:
            shown = tuple((label, p) for label, _, p in priced)
            record[decision.what] = Alternative(decision.what, shown, chosen)
        return found, best

    def _decisions(self, start: Variant) -> Iterator[Decision]:
        pieces = [w for w, _ in self._cut(True)]
        held = [self._algebra_of(start, n, w) for n, w in enumerate(pieces)]
        kinds = {name: (a, a.guessed[name]) for a in reversed(held) for name in a.guessed}
        folds = [_derivation(n, g, a.labels[n]) for n, (a, g) in kinds.items()]
        yield from (d for d in folds if "hoisted" not in dict(d.options))
        chunks = dict.fromkeys(n for w in pieces for n in lengths(w.graph))
        if chunks:
            named = [(f"by {n}", _set(chunk=n)) for n in chunks]
            yield Decision("recurrences", (("as written", _set(chunk=0)), *named))
        yield _either("products of activations", "through", ("stored", "streamed"))
        yield _either("stages that share an input", "siblings", ("apart", "together"))
        if self._written[True].graph is not self._written[False].graph:
            yield _either("the graph", "rewritten", ("as written", "rewritten"))
        yield from (d for d in folds if "hoisted" in dict(d.options))
        yield from map(_apart, dict.fromkeys(name for a in held for name in a.keeps))
        yield _either("products with weights", "weights_through", ("stored", "streamed"))

    def _of(self, variant: Variant) -> Price | None:
        """The price of a variant; None where it was not asked and there are no tries left."""
        if variant not in self._prices:
            if self._left <= 0:
                return None
            self._left -= 1
            total = Price(0, 0.0)
            for number, (written, times) in enumerate(self._cut(variant.rewritten)):
                one, _ = self._flow(variant, number, written)
                interpreted = total.interpreted + times * one.interpreted
                total = Price(interpreted, total.seconds + times * one.seconds)
            self._prices[variant] = total
        return self._prices[variant]

    def _flow(self, variant: Variant, number: int, written: Written) -> tuple[Price, Made | None]:
        """One piece, made and priced."""
        try:
            held = self._algebra_of(variant, number, written)
            variant = replace(
                variant,
                flipped=variant.flipped & frozenset(held.guessed),
                apart=variant.apart & frozenset(held.keeps),
                again=variant.again & frozenset(held.keeps),
            )
            if (number, variant) not in self._flows:
                flow = fused(written, variant, held)
                self._flows[number, variant] = self._priced(flow), Made(held, flow)
        except MaquetteError:
            if variant == Variant():
                raise  # what is asked for, not what was thought of
            return Price(0, math.inf), None
        return self._flows[number, variant]

    def _algebra_of(self, variant: Variant, number: int, written: Written) -> Algebra:
        key = variant.rewritten, number, variant.chunk
        base = self._algebra.get(key)  # decisions about kinds that a piece has not are left out
        flipped = variant.flipped if base is None else variant.flipped & frozenset(base.guessed)
        if (key, flipped) not in self._algebra:
            self._algebra[key, flipped] = algebra(written, variant, self._guess)
        self._algebra.setdefault(key, self._algebra[key, flipped])
        return self._algebra[key, flipped]

    def _priced(self, flow: Flow) -> Price:
        prices = [self._price(k) for k in flow.kernels]
        seconds = math.fsum(p for p in prices if p is not None)
        return Price(prices.count(None), seconds + self._handed(flow))

    def _cut(self, rewritten: bool) -> list[tuple[Written, int]]:
        """The pieces of a graph that differ, and how often each occurs."""
        if rewritten not in self._pieces:
            self._pieces[rewritten] = list(_pieces(self._written[rewritten]))
        return self._pieces[rewritten]


def _pieces(written: Written) -> Iterator[tuple[Written, int]]:
    """A graph cut between layers: pieces that differ by more than names, and how often each is."""
    values = [v for v in written.graph.values if not isinstance(v, Input)]
    if len(values) <= _WHOLE:
        yield written, 1
        return
    found: dict[tuple[object, ...], tuple[Written, int]] = {}
    for region in regions(written.graph, written.constants, _CUT):
        strides = {
            stand.name: written.strides[v.name]
            for stand, v in region.inputs.items()
            if isinstance(v, Input) and v.name in written.strides
        }
        outputs = tuple(region.neutral.outputs.values())
        key = outputs, region.constants, tuple(sorted(strides.items()))
        _, times = found.get(key, (None, 0))
        found[key] = Written(region.neutral, region.constants, strides), times + 1
    alike: dict[object, tuple[Written, int]] = {}
    for form, (piece, times) in found.items():
        name = _unnamed(piece.graph), *form[1:]
        first, before = alike.get(name, (piece, 0))
        alike[name] = first, before + times
    yield from alike.values()


def _unnamed(graph: Graph) -> str:
    """The text of a graph, its axes by number."""
    names = {a.name for v in graph.values for a in (*v.axes, *getattr(v, "domain", ()))}
    numbers: dict[str, str] = {}

    def number(word: re.Match[str]) -> str:
        held = word.group()
        return numbers.setdefault(held, f"#{len(numbers)}") if held in names else held

    return re.sub(r"[\w.]+", number, show(graph))


def _derivation(name: str, guessed: bool, labels: Sequence[str]) -> Decision:
    def flipped(variant: Variant) -> Variant:
        return replace(variant, flipped=variant.flipped | {name})

    def as_guessed(variant: Variant) -> Variant:
        return replace(variant, flipped=variant.flipped - {name})

    declined, taken = labels
    changes = (flipped, as_guessed) if guessed else (as_guessed, flipped)
    return Decision(name, ((declined, changes[0]), (taken, changes[1])))


def _apart(name: str) -> Decision:
    def by_rule(variant: Variant) -> Variant:
        return replace(variant, apart=variant.apart - {name}, again=variant.again - {name})

    def alone(variant: Variant) -> Variant:
        return replace(by_rule(variant), apart=variant.apart | {name})

    def again(variant: Variant) -> Variant:
        return replace(by_rule(variant), again=variant.again | {name})

    return Decision(name, (("by rule", by_rule), ("kept", alone), ("made again", again)))


def _either(what: str, field: str, labels: Sequence[str]) -> Decision:
    no, yes = labels
    return Decision(what, ((no, _set(**{field: False})), (yes, _set(**{field: True}))))


def _set(**values: object) -> Callable[[Variant], Variant]:
    return lambda variant: replace(variant, **values)  # type: ignore[arg-type]
