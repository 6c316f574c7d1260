"""Which values get a tensor of their own, and which are made again wherever they are read.

Patterns that combine are kept.  A Map is inlined unless it would be computed more often than once
and costs more than reading it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from maquette.compiler.fuse.choices import Choices
from maquette.compiler.fuse.cost import cost
from maquette.ir.graph import Graph
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Scan, Value, View
from maquette.ir.scalar import Apply, Arg, Scalar
from maquette.ir.semantics import Numbers


@dataclass
class _Use:
    """How a value is read by the kept values, through views and inlined Maps."""

    readers: set[Value] = field(default_factory=set)
    reads: int = 0
    points: int = 0  # of the largest domain that reads it
    combined: bool = False  # by a pattern that combines


def kept_values(graph: Graph, numbers: Numbers, choices: Choices) -> dict[Value, None]:
    """The values of a graph that become stages or tensors, in order."""
    return _Keeping(graph, numbers, choices).run()


class _Keeping:
    def __init__(self, graph: Graph, numbers: Numbers, choices: Choices) -> None:
        self._graph = graph
        self._numbers = numbers
        self._choices = choices
        self._uses: dict[Value, _Use] = {v: _Use() for v in graph.values}
        self._kept: set[Value] = set(graph.outputs.values())
        for value in graph.values:  # what has no compiled form reads tensors
            if isinstance(value, FlatMap | GroupBy) and not _stored(value.key):
                self._kept.add(value.key)
        self._costs: dict[Value, int] = {}
        self._points = {v: _count(numbers.shape(v.axes)) for v in graph.values}

    def run(self) -> dict[Value, None]:
        for value in self._graph.values:  # operands first: what inlining each would cost
            self._costs[value] = self._cost(value)
        for value in reversed(self._graph.values):
            if value in self._kept or self._keep(value):
                self._kept.add(value)
                self._kept_uses(value)
            else:
                self._pass_on(value)
        return {v: None for v in self._graph.values if v in self._kept}

    def _cost(self, value: Value) -> int:
        if isinstance(value, Map):
            return min(cost(value.body) + sum(self._costs[a] for a in set(value.args)), 10**6)
        return sum(self._costs[a] for a in value.args) if isinstance(value, View) else 0

    def _keep(self, value: Value) -> bool:
        if _stored(value):
            return False
        if isinstance(value, View):
            return self._keep_view(value)
        if not isinstance(value, Map):
            return True
        if value in self._choices.inlined:
            return False
        use = self._uses[value]
        price = self._costs[value]
        if value in self._choices.apart:
            return True
        if not any(_reads_inputs(a) for a in value.args):
            return price > self._choices.cheap and use.points > 0
        again = use.points > self._points[value] or use.reads > 1 or len(use.readers) > 1
        if use.combined and use.points > self._points[value]:
            return price > self._choices.prologue
        return again and (price > self._choices.cheap or self._wide(value) > 1)

    def _wide(self, value: Map) -> int:
        """How many operands have as many elements as the value itself."""
        if len(self._uses[value].readers) < 2:
            return 0
        large = (a for a in set(value.args) if self._points[a] >= self._points[value])
        return sum(1 for a in large if _reads_inputs(a))

    def _keep_view(self, view: View) -> bool:
        use = self._uses[view]
        if view.kind == "concat":
            return use.combined or use.reads > 1
        if view.kind != "merge" or not use.combined or use.points <= self._points[view]:
            return False
        base = _base(view)
        return base is not None and not isinstance(base, Input | Map) and not _adjacent(view)

    def _kept_uses(self, value: Value) -> None:
        """A kept value reads its operands over its own domain."""
        combined = isinstance(value, Reduce | Scan | FlatMap | GroupBy)
        for operand, times in _operands(value).items():
            folded = isinstance(value, Reduce)  # each leaf over the axes that it has
            points = self._points[operand if folded else value]
            self._note(operand, value, times, points, combined)

    def _pass_on(self, value: Value) -> None:
        """Whoever reads an inlined value reads its operands."""
        use = self._uses[value]
        for operand, times in _operands(value).items():
            held = self._uses[operand]
            held.readers |= use.readers
            held.reads += times * max(use.reads, 1) if use.readers else 0
            grown = use.points if use.points >= self._points[value] else self._points[value]
            held.points = max(held.points, grown if use.readers else 0)
            held.combined |= use.combined

    def _note(self, operand: Value, reader: Value, times: int, points: int, comb: bool) -> None:
        use = self._uses[operand]
        use.readers.add(reader)
        use.reads += times
        use.points = max(use.points, points)
        use.combined |= comb


def _operands(value: Value) -> Mapping[Value, int]:
    """Each operand, with how often the body names it."""
    found: dict[Value, int] = dict.fromkeys(value.operands, 0)
    if isinstance(value, Map):
        for number in _named(value.body):
            found[value.args[number]] += 1
    else:
        for operand in value.operands:
            found[operand] += 1
    return found


def _named(body: Scalar) -> list[int]:
    match body:
        case Arg(number, at):
            return [number, *(n for _, c in at for n in _named(c))]
        case Apply(_, args):
            return [n for a in args for n in _named(a)]
    return []


def _stored(value: Value) -> bool:
    return isinstance(value, Input) or (isinstance(value, View) and value.kind == "item")


def _base(value: Value) -> Value | None:
    while isinstance(value, View) and value.kind in ("rename", "split", "merge"):
        value = value.args[0]
    return value


def _adjacent(view: View) -> bool:
    """Whether the merged axes lie side by side in the argument, in order."""
    names = [a.name for a in view.args[0].axes]
    *parts, _ = view.names
    first = names.index(parts[0])
    return names[first : first + len(parts)] == parts


def _reads_inputs(value: Value) -> bool:
    return not isinstance(value, Map) or any(map(_reads_inputs, value.args))


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for n in shape:
        total *= n
    return total
