"""One of the flows that mean what a graph means: everything that is chosen before tiling.

What occurs many times, as in layers of one form, is chosen once: a choice is by *kind*, a text
that tells what is derived or kept by its pattern and sizes and not by its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from maquette.compiler.derive import Derivation, Derived, chunked, derive
from maquette.compiler.fuse import Choices, fuse, without_constants
from maquette.compiler.fuse.cost import cost
from maquette.compiler.kernel import Flow
from maquette.ir.axes import Axis, points
from maquette.ir.facts import contraction
from maquette.ir.graph import Graph
from maquette.ir.monoids import ADD
from maquette.ir.patterns import Input, Map, Reduce, Scan, Value, View

Strides = Mapping[str, tuple[int, ...]]
Guess = Callable[[Derivation], bool]
LENGTHS = (32, 64, 128, 256)  # of chunks
_APART = 4  # kinds of values that may start a kernel of their own


@dataclass(frozen=True)
class Variant:
    """What is chosen; the defaults are the guess that a search starts from."""

    rewritten: bool = True
    flipped: frozenset[str] = frozenset()  # kinds of derivations decided against the guess
    chunk: int = 0  # positions that a recurrence runs over at once; 0: as it is written
    through: bool = True  # these three as in `Choices`
    weights_through: bool = False
    siblings: bool = True
    apart: frozenset[str] = frozenset()  # kinds of values that start a kernel of their own
    again: frozenset[str] = frozenset()  # and that are made again at every point that reads them


@dataclass(frozen=True)
class Written:
    """A graph as the passes are given it."""

    graph: Graph
    constants: frozenset[str] = frozenset()
    strides: Strides = field(default_factory=dict)


@dataclass(frozen=True)
class Algebra:
    """What a variant is before anything is fused."""

    derived: Derived
    once: Graph  # what constants alone decide
    rest: Graph
    guessed: Mapping[str, bool]  # kinds of derivations, and whether the guess takes each
    labels: Mapping[str, tuple[str, str]]  # of those kinds: what declining and taking is called
    keeps: Mapping[str, Sequence[Value]]  # values that may start a kernel of their own, by kind


@dataclass(frozen=True)
class Made:
    """What a variant is made into."""

    algebra: Algebra
    flow: Flow


def made(written: Written, variant: Variant, guess: Guess) -> Made:
    """The flow of a graph under the choices of a variant."""
    found = algebra(written, variant, guess)
    return Made(found, fused(written, variant, found))


def algebra(written: Written, variant: Variant, guess: Guess) -> Algebra:
    """What of a variant is decided before fusion: chunks and derivations."""
    source, chunks = written.graph, Derived(written.graph, (), ())
    if variant.chunk:
        chunks = chunked(source, variant.chunk)
        source = chunks.graph
    guessed: dict[str, bool] = {}
    labels: dict[str, tuple[str, str]] = {}

    def choose(candidate: Derivation) -> bool:
        name = kind(candidate)
        guessed.setdefault(name, guess(candidate))
        labels.setdefault(name, _label(candidate))
        return guessed[name] != (name in variant.flipped)

    found = derive(source, choose=choose)
    once, rest = without_constants(found.graph, written.constants)
    derivations = (*chunks.derivations, *found.derivations)
    derived = Derived(found.graph, derivations, (*chunks.refusals, *found.refusals))
    return Algebra(derived, once, rest, guessed, labels, kept_apart(rest))


def fused(written: Written, variant: Variant, found: Algebra) -> Flow:
    """The flow of what algebra made."""
    choices = Choices(
        through=variant.through,
        weights_through=variant.weights_through,
        siblings=variant.siblings,
        apart=frozenset(v for name in variant.apart for v in found.keeps.get(name, ())),
        inlined=unpacking(found.rest).union(
            v for name in variant.again for held in found.keeps.get(name, ()) for v in _chain(held)
        ),
    )
    held = {n: s for n, s in written.strides.items() if n in found.rest.inputs}
    return fuse(found.rest, strides=held, choices=choices)


def lengths(graph: Graph) -> tuple[int, ...]:
    """The chunks that a graph's recurrences may run by; none where it has none."""
    if not any(map(_recurs, graph.values)):
        return ()
    return LENGTHS if chunked(graph, LENGTHS[0]).derivations else ()


def kind(derivation: Derivation) -> str:
    """What is derived, by pattern and sizes: layers of one form have the same."""
    first = derivation.replaced[0]
    if derivation.fold is not None:
        over, domain = _over(derivation.fold), derivation.fold.domain
        return f"{derivation.fold.monoid} over {_sizes(over)} of {_sizes(domain)}"
    assert isinstance(first, Reduce)
    what = "+".join(derivation.rules)
    return f"{what} {first.monoid} over {_sizes(_over(first))} of {_sizes(first.domain)}"


def _label(derivation: Derivation) -> tuple[str, str]:
    if derivation.fold is None:
        return "in place", "hoisted"
    if "moment" in derivation.rules:
        return "pass by pass", "moments"
    return "pass by pass", "online"


def _over(value: Reduce) -> list[Axis]:
    return [a for a in value.domain if a.name in value.over]


def _sizes(axes: Iterable[Axis]) -> str:
    return "×".join(str(a.size) for a in axes) or "1"


def _recurs(value: Value) -> bool:
    """Whether it may be a recurrence: a scan, or a sum over some of the positions."""
    if isinstance(value, Scan):
        return True
    return isinstance(value, Reduce) and value.monoid == ADD and len(value.over) == 1


def kept_apart(graph: Graph) -> dict[str, list[Value]]:
    """Maps that a product would compute again at every point of it, by kind, the dearest first."""
    found: dict[str, list[Value]] = {}
    saved: dict[str, float] = {}
    for value in graph.values:
        if not isinstance(value, Reduce) or contraction(value) is None:
            continue
        domain = _number(value.domain)
        for operand in _operands(value):
            if not isinstance(operand, Map) or not cost(operand.body):
                continue
            own = _number(operand.axes)
            if not 0 < own < domain:
                continue
            name = f"{_sizes(operand.axes)} for a product over {_sizes(value.domain)}"
            held = found.setdefault(name, [])
            if operand not in held:
                held.append(operand)
                saved[name] = saved.get(name, 0.0) + cost(operand.body) * own
    first = sorted(found, key=lambda name: -saved[name])[:_APART]
    return {name: found[name] for name in first}


def _chain(value: Value) -> Iterable[Value]:
    """A Map and the Maps behind it, through views, that have as many points."""
    stack = [value]
    while stack:
        held = stack.pop()
        if isinstance(held, Map):
            yield held
        if isinstance(held, Map | View):
            size = _number(held.axes)
            stack.extend(a for a in held.operands if _number(a.axes) == size)


def _operands(value: Reduce) -> Iterable[Value]:
    """What a product multiplies, behind views."""
    (product,) = value.args
    stack = list(product.operands)
    while stack:
        operand = stack.pop(0)
        if isinstance(operand, View):
            stack.extend(operand.args)
        else:
            yield operand


@lru_cache(4096)
def _number(axes: tuple[Axis, ...]) -> float:
    found = points(axes).constant
    return 0.0 if found is None else float(found)


def unpacking(graph: Graph) -> frozenset[Value]:
    """Whole numbers made of bytes alone, such as halves of them: cheaper to make than to read."""
    found: set[Value] = set()

    def narrow(value: Value) -> bool:
        if isinstance(value, View):
            return all(map(narrow, value.args))
        if isinstance(value, Input):
            return value.dtype.kind == "int" and value.dtype.bits <= 8
        return value in found

    for value in graph.values:
        whole = isinstance(value, Map) and value.dtype.kind == "int" and value.args
        if whole and all(map(narrow, value.operands)):
            found.add(value)
    return frozenset(found)
