"""Virtual compute units cut to the size of physical ones, and small ones put together.

A virtual unit is the dataflow of one stage's scalar body, however long.  A physical unit has so
many pipeline stages, so many values alive between two of them, and so many streams in and out
(Plasticine, ISCA 2017, §3.6).  Cutting is greedy in two topological orders, merging first-fit
decreasing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from maquette.compiler.kernel import Stage as Pattern
from maquette.errors import Fault, InputError
from maquette.ir.scalar import OPS, Apply, Arg, Scalar
from maquette.machines.types import Fabric

REGISTERS = 6  # between two stages of a unit, per lane: Plasticine, ISCA 2017, table 3


@dataclass(frozen=True)
class Operation:
    """One functional unit's work: a value from others, which are operations or inputs."""

    name: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Virtual:
    """The dataflow of a body; operations in topological order."""

    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    scalars: frozenset[str] = frozenset()  # inputs that are one number for all lanes

    @cached_property
    def by_name(self) -> Mapping[str, Operation]:
        return {o.name: o for o in self.operations}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for o in self.operations:
            for name in dict.fromkeys(o.operands):
                found.setdefault(name, []).append(o.name)
        return {n: tuple(r) for n, r in found.items()}


@dataclass(frozen=True)
class Limits:
    """What one physical unit has."""

    stages: int
    registers: int
    vector_inputs: int
    vector_outputs: int
    scalar_inputs: int

    @classmethod
    def of(cls, fabric: Fabric) -> Limits:
        return cls(
            fabric.stages.value,
            REGISTERS,
            fabric.vector_inputs.value,
            fabric.vector_outputs.value,
            fabric.scalar_inputs.value,
        )


@dataclass(frozen=True)
class Needs:
    """What a set of operations asks of the unit that it is in."""

    stages: int
    registers: int
    vector_inputs: int
    vector_outputs: int
    scalar_inputs: int

    def within(self, limits: Limits) -> bool:
        return (
            self.stages <= limits.stages
            and self.registers <= limits.registers
            and self.vector_inputs <= limits.vector_inputs
            and self.vector_outputs <= limits.vector_outputs
            and self.scalar_inputs <= limits.scalar_inputs
        )

    def __add__(self, other: Needs) -> Needs:
        return Needs(*(a + b for a, b in zip(self._all(), other._all(), strict=True)))

    def _all(self) -> tuple[int, ...]:
        return (
            self.stages,
            self.registers,
            self.vector_inputs,
            self.vector_outputs,
            self.scalar_inputs,
        )


def virtual(pattern: Pattern, scalars: Iterable[str] = ()) -> Virtual:
    """The dataflow of a stage's leaves and of the combine of its monoid, common parts once.

    `scalars` are reads that are one number for all lanes.

    >>> from maquette.ir.scalar import Apply, Arg, Lit
    >>> body = Apply("mul", (Apply("exp", (Arg(0),)), Apply("exp", (Arg(0),))))
    >>> found = virtual(Pattern("map", (), (), None, (body,), ("x",)))
    >>> [o.operands for o in found.operations]
    [('x',), ('o0', 'o0')]
    """
    names: dict[Scalar, str] = {}
    made: list[Operation] = []

    def name(body: Scalar) -> str:
        if isinstance(body, Arg):
            return pattern.reads[body.number]
        if not isinstance(body, Apply):
            return ""
        if body not in names:
            operands = tuple(n for n in (name(a) for a in body.args) if n)
            if not OPS[body.op][1] and len(operands) <= 1:  # a cast, or arithmetic of constants
                return operands[0] if operands else ""
            names[body] = f"o{len(made)}"
            made.append(Operation(names[body], operands))
        return names[body]

    outputs = tuple(n for n in (name(leaf) for leaf in pattern.leaves) if n)
    if pattern.monoid is not None:
        combined = [f"c{i}" for i in range(len(pattern.monoid.combine))]
        made += [Operation(n, outputs[i : i + 1]) for i, n in enumerate(combined)]
        outputs = tuple(combined)
    return Virtual(tuple(made), outputs, frozenset(scalars))


def needs(held: Iterable[str], whole: Virtual) -> Needs:
    """What the operations `held` ask for, run in the order of the whole."""
    inside = set(held)
    order = [o for o in whole.operations if o.name in inside]
    inputs = dict.fromkeys(n for o in order for n in o.operands if n not in inside)
    scalars = sum(n in whole.scalars for n in inputs)
    leaving = [o.name for o in order if _leaves(o.name, inside, whole)]
    return Needs(
        len(order), _alive(order, set(leaving)), len(inputs) - scalars, len(leaving), scalars
    )


def _leaves(name: str, inside: set[str], whole: Virtual) -> bool:
    return name in whole.outputs or any(r not in inside for r in whole.readers.get(name, ()))


def _alive(order: Sequence[Operation], leaving: set[str]) -> int:
    """The most values carried from one pipeline stage to the next; inputs wait in their queues."""
    last = {n: i for i, o in enumerate(order) for n in o.operands}
    most = 0
    for place in range(len(order) - 1):
        own = order[: place + 1]
        most = max(most, sum(o.name in leaving or last.get(o.name, -1) > place for o in own))
    return most


def partition(whole: Virtual, limits: Limits) -> tuple[tuple[str, ...], ...]:
    """Operations by physical unit, units in an order that no value goes against.

    Raises InputError where a single operation asks for more than a unit has.
    """
    orders = (_breadth(whole), _depth(whole))
    return min((tuple(_greedy(order, whole, limits)) for order in orders), key=len)


def _greedy(order: Sequence[str], whole: Virtual, limits: Limits) -> Iterator[tuple[str, ...]]:
    held: list[str] = []
    for name in order:
        if needs([*held, name], whole).within(limits):
            held.append(name)
            continue
        if held:
            yield tuple(held)
        held = [name]
        if not needs(held, whole).within(limits):
            raise InputError(Fault(name, "one operation asks for more than a unit has"))
    if held:
        yield tuple(held)


def _breadth(whole: Virtual) -> list[str]:
    level: dict[str, int] = {}
    for o in whole.operations:
        level[o.name] = 1 + max((level.get(n, 0) for n in o.operands), default=0)
    return sorted(level, key=lambda n: level[n])


def _depth(whole: Virtual) -> list[str]:
    seen: dict[str, None] = {}

    def visit(name: str) -> None:
        if name in whole.by_name and name not in seen:
            for n in whole.by_name[name].operands:
                visit(n)
            seen[name] = None

    for name in (*whole.outputs, *whole.by_name):
        visit(name)
    return list(seen)


def merge(parts: Mapping[str, Needs], limits: Limits) -> tuple[tuple[str, ...], ...]:
    """Parts that may share a unit, first-fit decreasing by operations."""
    bins: list[tuple[list[str], Needs]] = []
    for name in sorted(parts, key=lambda n: -parts[n].stages):
        for i, (held, total) in enumerate(bins):
            if (total + parts[name]).within(limits):
                bins[i] = ([*held, name], total + parts[name])
                break
        else:
            bins.append(([name], parts[name]))
    return tuple(tuple(held) for held, _ in bins)
