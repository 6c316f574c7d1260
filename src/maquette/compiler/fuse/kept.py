"""Which values get a tensor of their own, and which are made again wherever they are read.

Patterns that combine are kept.  A Map is inlined unless it would be computed more often than once
and costs more than reading it back, or lies too deep.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from maquette.compiler.fuse.choices import Choices
from maquette.compiler.fuse.cost import cost
from maquette.ir.graph import Graph
from maquette.ir.patterns import FlatMap, GroupBy, Input, Map, Reduce, Value, View
from maquette.ir.scalar import Apply, Arg, Scalar
from maquette.ir.semantics import Numbers

_DEEPEST = 40  # operations that one body nests: what walks bodies calls itself for each


@dataclass
class _Use:
    """How a value is read by the kept values, through views and inlined Maps."""

    readers: set[Value] = field(default_factory=set)
    reads: int = 0
    points: int = 0  # of the largest domain that reads it
    combined: bool = False  # by a pattern that combines


def kept_values(graph: Graph, numbers: Numbers, choices: Choices) -> dict[Value, None]:
    """The values of a graph that become stages or tensors, in order.

    What inlining a Map costs depends on which of its operands are kept, and that is decided from
    the other end: the second round knows what the first one kept.
    """
    facts = _Facts(graph, numbers)
    first = _Round(facts, choices, frozenset()).run()
    return _Round(facts, choices, first.keys()).run()


class _Facts:
    """What both rounds need of a graph."""

    def __init__(self, graph: Graph, numbers: Numbers) -> None:
        self.values = graph.values
        self.outputs = graph.outputs.values()
        self.points = {v: prod(numbers.shape(v.axes)) for v in graph.values}
        self.operands = {v: _operands(v) for v in graph.values}
        self.body: dict[Value, int] = {v: cost(v.body) for v in graph.values if isinstance(v, Map)}
        self.deep = _deep(graph.values)
        self.given = dict[Value, bool]()  # whether it needs an input
        for v in graph.values:
            self.given[v] = not isinstance(v, Map) or any(self.given[a] for a in v.args)
        self.folded: dict[Value, dict[Value, int]] = {
            v: _leaves(v, numbers) for v in graph.values if isinstance(v, Reduce)
        }


def _deep(values: Sequence[Value]) -> frozenset[Value]:
    """Maps at which a chain of them is cut."""
    cut = set[Value]()
    depths = dict[Value, int]()
    for value in values:
        below = max((depths[a] for a in value.operands), default=0)
        depths[value] = below + _depth(value.body) if isinstance(value, Map) else below
        if isinstance(value, Map) and depths[value] > _DEEPEST and below:
            cut.add(value)
        if value in cut or not isinstance(value, Map | View):
            depths[value] = 0
    return frozenset(cut)


def _depth(body: Scalar) -> int:
    return 1 + max(map(_depth, body.args), default=0) if isinstance(body, Apply) else 0


def _leaves(value: Reduce, numbers: Numbers) -> dict[Value, int]:
    """The points at which a fold needs each leaf.

    It goes over the axes that all components have, and along what it folds: a leaf that lacks
    some of them is needed again for each.
    """
    parts = (value.component(i) for i in range(len(value.args)))
    shared = set.intersection(*({a.name for a in axes} for axes in parts)) | set(value.over)
    nest = [a for a in value.domain if a.name in shared]
    found: dict[Value, int] = {}
    for arg in value.args:
        lacking = (a for a in nest if a.name not in arg.shape)
        points = prod(numbers.shape((*arg.axes, *lacking)))
        found[arg] = max(found.get(arg, 0), points)
    return found


class _Round:
    """One pass over a graph, readers before what they read."""

    def __init__(self, facts: _Facts, choices: Choices, before: Collection[Value]) -> None:
        self._facts = facts
        self._choices = choices
        self._before = before
        self._uses: dict[Value, _Use] = {v: _Use() for v in facts.values}
        self._kept: set[Value] = set(facts.outputs)
        for value in facts.values:  # what has no compiled form reads tensors
            if isinstance(value, FlatMap | GroupBy) and not _stored(value.key):
                self._kept.add(value.key)
        self._costs: dict[Value, int] = {}

    def run(self) -> dict[Value, None]:
        """The kept values."""
        for value in self._facts.values:
            self._costs[value] = self._cost(value)
        for value in reversed(self._facts.values):
            if value in self._kept or self._keep(value):
                self._kept.add(value)
                self._read_by(value)
            else:
                self._pass_on(value)
        return {v: None for v in self._facts.values if v in self._kept}

    def _cost(self, value: Value) -> int:
        """What computing a value again costs, with all that is computed again for it."""
        if not isinstance(value, Map | View) or _stored(value):
            return 0
        held = sum(self._costs[a] for a in self._facts.operands[value] if a not in self._before)
        return min(self._facts.body.get(value, 0) + held, 10**6)

    def _keep(self, value: Value) -> bool:
        if _stored(value):
            return False
        if isinstance(value, View):
            return self._keep_view(value)
        if not isinstance(value, Map) or value in self._choices.apart or value in self._facts.deep:
            return True
        if value in self._choices.inlined:
            return False
        use, points = self._uses[value], self._facts.points[value]
        price = self._costs[value]
        if not self._facts.given[value]:
            return price > self._choices.cheap and use.points > 0
        if use.combined and use.points > points:
            return price > self._choices.prologue or (price > 0 and self._epilogue(value))
        again = use.points > points or use.reads > 1 or len(use.readers) > 1
        return again and (price > self._choices.cheap or self._wide(value) > 1)

    def _epilogue(self, value: Map) -> bool:
        """Whether a fold makes what the Map reads, so that it is applied as that is stored."""
        points = self._facts.points
        bases = (_base(a) for a in value.args if points[a] == points[value])
        return any(isinstance(b, Reduce) for b in bases)

    def _wide(self, value: Map) -> int:
        """How many operands have as many elements as a value that several read."""
        if len(self._uses[value].readers) < 2:
            return 0
        points, given = self._facts.points, self._facts.given
        return sum(given[a] and points[a] >= points[value] for a in set(value.args))

    def _keep_view(self, view: View) -> bool:
        use = self._uses[view]
        if view.kind == "concat":
            return use.combined or use.reads > 1
        if view.kind != "merge" or not use.combined or use.points <= self._facts.points[view]:
            return False
        return not isinstance(_base(view), Input | Map) and not _adjacent(view)

    def _read_by(self, value: Value) -> None:
        """A kept value reads its operands over its own domain, a fold each leaf over its own."""
        combined = not isinstance(value, Map | View)
        folded = self._facts.folded.get(value, {})
        for operand, times in self._facts.operands[value].items():
            use = self._uses[operand]
            use.readers.add(value)
            use.reads += times
            use.points = max(use.points, folded.get(operand, self._facts.points[value]))
            use.combined |= combined

    def _pass_on(self, value: Value) -> None:
        """Whoever reads an inlined value reads its operands."""
        use = self._uses[value]
        if not use.readers:
            return
        points = max(use.points, self._facts.points[value])
        for operand, times in self._facts.operands[value].items():
            held = self._uses[operand]
            held.readers |= use.readers
            held.reads += times * use.reads
            held.points = max(held.points, points)
            held.combined |= use.combined


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


def _base(value: Value) -> Value:
    while isinstance(value, View) and value.kind in ("rename", "split", "merge"):
        value = value.args[0]
    return value


def _adjacent(view: View) -> bool:
    """Whether the merged axes lie side by side in the argument, in order."""
    names = [a.name for a in view.args[0].axes]
    *parts, _ = view.names
    first = names.index(parts[0])
    return names[first : first + len(parts)] == parts
