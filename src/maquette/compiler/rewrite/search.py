"""Equality saturation: apply every rule everywhere, then choose the cheapest graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from maquette.compiler.rewrite.decode import Decoder, part
from maquette.compiler.rewrite.egraph import EGraph, ENode
from maquette.compiler.rewrite.encode import Encoder
from maquette.compiler.rewrite.exact import exact
from maquette.compiler.rewrite.explain import Step, explain
from maquette.compiler.rewrite.extract import Choice, Extraction, total
from maquette.compiler.rewrite.facts import Facts
from maquette.compiler.rewrite.match import (
    Index,
    Match,
    apply,
    bound,
    index,
    matches,
    matches_of_groups,
    ungrouped,
)
from maquette.compiler.rewrite.regions import Region, rebuilt, regions
from maquette.compiler.rewrite.rules import RULES
from maquette.compiler.rewrite.terms import OPERATORS, Rule, operators, variables
from maquette.compiler.rewrite.values import Part
from maquette.ir.axes import points
from maquette.ir.graph import Graph
from maquette.ir.patterns import Input, Map, Value, make
from maquette.ir.scalar import Lit

Price: TypeAlias = Callable[[Value], float]


@dataclass(frozen=True)
class Limit:
    """How far to search: counts, so that the same graph always gives the same answer."""

    rounds: int = 6
    nodes: int = 3000
    matches: int = 400  # of one rule in one round
    region: int = 80  # values searched together: about a layer
    exact: int = 100  # e-nodes to choose among exactly; of more, greedily: layers of models, whose
    # choice takes 0.2 to 3 s and bought 1 to 6 % by this price, but nothing once all was fused
    branches: int = 50  # of the exact choice, before the greedy one is taken after all


@dataclass(frozen=True)
class Explored:
    """How much was looked at."""

    classes: int
    nodes: int
    rounds: int
    regions: int = 1
    reused: int = 0
    greedy: tuple[str, ...] = ()  # why regions were chosen from greedily, those that were

    def __str__(self) -> str:
        again = f", {self.reused} of {self.regions} regions as seen before" if self.reused else ""
        how = f", chosen greedily: {'; '.join(self.greedy)}" if self.greedy else ", chosen exactly"
        found = f"{self.nodes} e-nodes in {self.classes} e-classes after {self.rounds} rounds"
        return f"{found}{again}{how}"


@dataclass(frozen=True)
class Rewritten:
    """A graph of the same meaning, its price before and after, and the rules that made it."""

    graph: Graph
    before: float
    after: float
    steps: tuple[Step, ...]
    explored: Explored

    @property
    def gain(self) -> float:
        """How many times cheaper."""
        return self.before / self.after if self.after else 1.0

    @property
    def grouped(self) -> dict[str, list[Step]]:
        """The steps by rule."""
        found: dict[str, list[Step]] = {}
        for step in self.steps:
            found.setdefault(step.rule, []).append(step)
        return found

    def __str__(self) -> str:
        head = f"rewrite {self.graph.name}: {self.before:.3g} s → {self.after:.3g} s"
        lines = [f"{head} ({self.gain:.2f}×), {self.explored}", *map(_line, self.grouped.items())]
        return "\n".join(lines if self.steps else [*lines, "  nothing cheaper found"])


def _line(item: tuple[str, list[Step]]) -> str:
    rule, steps = item
    more = f" and {len(steps) - 1} more" if len(steps) > 1 else ""
    return f"  {rule}: {steps[0].why}\n    at {steps[0].at}{more}"


def saturate(graph: EGraph, rules: Sequence[Rule], limit: Limit) -> int:
    """Apply `rules` until nothing is new or a limit is reached; how many rounds it took."""
    done: set[object] = set()
    for number in range(limit.rounds):
        ids = _around(graph) if number != 1 else sorted(graph.classes)
        if not ids:
            return number
        graph.touched.clear()
        here, able = index(graph, ids), _able(rules, graph, number)
        found = [m for rule in able for m in _new(rule, graph, here, done, limit)]
        for match in found:
            if graph.size > limit.nodes:
                break
            if isinstance(match, list):
                _chain(match, graph)
            else:
                apply(match, graph)
        graph.rebuild()
        if graph.size > limit.nodes:
            return number + 1
    return limit.rounds


def _able(rules: Sequence[Rule], graph: EGraph, number: int) -> list[Rule]:
    """The rules all of whose operators are there; those that enlarge, in the second round only."""
    present = {node[0] for node in graph.nodes} | OPERATORS
    return [
        rule
        for rule in rules
        if (number == 1 or not rule.once)
        and present.issuperset(op for t in rule.left for op in operators(t))
    ]


def _around(graph: EGraph) -> list[int]:
    """Classes that changed and their users: where a rule may apply that did not before."""
    changed = dict.fromkeys(graph.find(id) for id in graph.touched)
    return sorted({**changed, **graph.users(changed)})


def _new(
    rule: Rule, graph: EGraph, ids: Index, done: set[object], limit: Limit
) -> Iterable[Match | list[Match]]:
    """Matches not seen before, no more than the limit."""
    count = 0
    if len(rule.left) > 1:
        for group in matches_of_groups(rule, graph, sorted(graph.classes)):
            members = (rule.name, tuple(m.roots[0] for m in group))
            if members not in done:
                done.add(members)
                yield group
        return
    for match in matches(rule, graph, ids):
        extra = tuple((n, match.env[n]) for n, _ in rule.binders)
        held = tuple(
            sorted((n, graph.find(v.held)) for n, v in match.env.items() if hasattr(v, "held"))
        )
        key = (rule.name, match.nodes, (*extra, *held))
        if key in done:
            continue
        done.add(key)
        yield match
        count += 1
        if count >= limit.matches:
            return


def _chain(group: list[Match], graph: EGraph) -> None:
    """A rule of two roots on a group of many: two become one, which meets the next."""
    first = group[0]
    for other in group[1:]:
        made = pair(first, other, graph)
        first = made if made is not None else first


def pair(first: Match, second: Match, graph: EGraph) -> Match | None:
    """Rewrite two matches together; the match of what they now share, if it was done."""
    rule = first.rule
    own = dict(zip(variables(rule.left[1]), variables(rule.left[0]), strict=True))
    held = {own[n]: v for n, v in first.env.items() if n in own}
    for full in bound(rule, {**second.env, **held}):
        match = Match(rule, (*first.roots, *second.roots), full, (*first.nodes, *second.nodes))
        apply(match, graph)
        shared = match.env.get(rule.shared[-1][0])
        if shared is None:
            return None
        return next(ungrouped(rule, graph, graph.find(shared.held), first), None)
    return None


def rewrite(
    graph: Graph,
    price: Price,
    *,
    rules: Sequence[Rule] = RULES,
    limit: Limit = Limit(),
    constants: Collection[str] | None = None,
    worth: float = 0.02,
) -> Rewritten:
    """The cheapest graph of the same meaning that `rules` lead to.

    ``price(value)`` is the time of one value from its operands, which are given as inputs; a
    contraction comes as one, the product inside its sum.  Values that depend on `constants` alone
    (names of inputs, all weights if not given) cost nothing: they are made once, see `fold`.
    What saves less than the share `worth` of the whole is left as it was written.  An input that
    cancels is no input of the new graph.

    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.facts import flops
    >>> x, a, b = activation("x", s=64, d=64), weight("a", d=64, r=64), weight("b", r=64, e=4)
    >>> y = dot(dot(x, a, "d"), b, "r")
    >>> found = rewrite(Graph("chain", {"y": y.value}), lambda v: float(flops(v).constant))
    >>> [step.rule for step in found.steps]
    ['reassociate']
    """
    if constants is None:
        constants = {n for n, v in graph.inputs.items() if v.role == "weight"}
    seen: dict[object, Rewritten] = {}
    known: dict[Value, Value] = {}
    parts: list[Rewritten] = []
    steps: list[Step] = []
    for region in regions(graph, constants, limit.region):
        key = (tuple(region.neutral.outputs.items()), region.constants)
        if key not in seen:
            seen[key] = _region(region.neutral, price, rules, limit, region.constants, worth)
            steps += [_located(s, region.sections) for s in seen[key].steps]
        parts.append(seen[key])
        _replace(region, seen[key], known)
    outputs = rebuilt(graph.outputs.values(), known, {})
    found = Graph(graph.name, {n: outputs[v] for n, v in graph.outputs.items()})
    same = all(found.outputs[n] is v for n, v in graph.outputs.items())
    return Rewritten(
        graph if same else found,
        sum(p.before for p in parts),
        sum(p.after for p in parts),
        tuple(dict.fromkeys(steps)),
        Explored(
            sum(p.explored.classes for p in seen.values()),
            sum(p.explored.nodes for p in seen.values()),
            max((p.explored.rounds for p in seen.values()), default=0),
            len(parts),
            len(parts) - len(seen),
            tuple(dict.fromkeys(why for p in seen.values() for why in p.explored.greedy)),
        ),
    )


def _located(step: Step, sections: Mapping[str, str]) -> Step:
    """A step with the name that its section has in the graph."""
    at, _, neutral = step.at.partition(" @")
    place = sections.get(neutral, neutral)
    return Step(step.rule, step.why, f"{at} @{place}" if place else at)


def _replace(region: Region, found: Rewritten, known: dict[Value, Value]) -> None:
    """Put what was found for a region in place of its outputs, over what its inputs became."""
    if found.graph is region.neutral:
        return
    outside = rebuilt(region.inputs.values(), known, {})
    made: dict[Value, Value] = {new: outside[old] for new, old in region.inputs.items()}
    rebuilt(found.graph.outputs.values(), made, region.sections)
    for name, value in enumerate(region.outputs):
        known[value] = made[found.graph.outputs[str(name)]]


def _region(
    graph: Graph,
    price: Price,
    rules: Sequence[Rule],
    limit: Limit,
    constants: Collection[str],
    worth: float,
) -> Rewritten:
    """The search in one piece."""
    egraph = EGraph()
    encoder = Encoder(egraph, constants)
    encoder.encode(graph.outputs.values())
    written = egraph.size
    cost = _cost(egraph, price)
    roots = [encoder.at(v) for v in graph.outputs.values()]
    first = _as_written(egraph, written)
    before = total(first, roots, cost)
    rounds = saturate(egraph, rules, limit)
    roots = [encoder.at(v) for v in graph.outputs.values()]
    start = _as_written(egraph, written)
    choice, after, greedy = _chosen(Extraction(egraph, roots, cost), start, worth, limit)
    outputs = Decoder(encoder, choice).values(graph.outputs)
    found = Graph(graph.name, outputs)
    if all(outputs[n] is v for n, v in graph.outputs.items()):
        found, after = graph, before
    steps = explain(egraph, rules, start, choice, roots)
    explored = Explored(len(egraph.classes), egraph.size, rounds, greedy=greedy)
    return Rewritten(found, before, after, steps, explored)


def _chosen(
    extraction: Extraction, start: Choice, worth: float, limit: Limit
) -> tuple[dict[int, ENode], float, tuple[str, ...]]:
    """The cheapest choice and its cost; why it may not be the cheapest of all, if it may not."""
    choice, amount = extraction.best(start, worth)
    if not limit.exact:
        return choice, amount, ("as asked for",)
    found = exact(
        extraction, amount, most=limit.exact, branches=limit.branches, gap=max(worth / 4, 1e-6)
    )
    if not found.solved:
        why = f"not decided among {found.size} e-nodes in {limit.branches} branches"
        if found.size > limit.exact:
            why = f"{found.size} e-nodes are too many to decide"
        return choice, amount, (why,)
    if found.choice is not None:
        least = max(worth, 1e-9) * total(start, extraction.roots, extraction.price)
        other, less = extraction.settled(start, found.choice, least)
        if less < amount - least / 4:
            return other, less, ()
    return choice, amount, ()


def _as_written(graph: EGraph, count: int) -> dict[int, ENode]:
    """Of every class the e-node that came first, if the user wrote one."""
    chosen: dict[int, ENode] = {}
    for known in graph.ordered():
        node = min(known.nodes, key=graph.rank.__getitem__)
        if graph.rank[node] < count:
            chosen[known.id] = node
    return chosen


def _cost(graph: EGraph, price: Price) -> Callable[[int, ENode], float]:
    """The price of an e-node: nothing for what is given or can be made ahead of time."""
    known: dict[object, float] = {}
    held = sum(_points(c.facts) for c in graph.ordered() if c.facts.constant and not c.facts.weak)

    def cost(id: int, node: ENode) -> float:
        facts = graph[id].facts
        if facts.number is not None:
            return 0.0
        if facts.constant and not facts.weak and _points(facts) <= held:
            return 1e-15  # once, ahead of time; of two ways the one of fewer operations
        value = part(graph, node, [_stand_in(graph, k) for k in node[2]], "", facts.axes)
        if not isinstance(value, Value) or isinstance(value, Input):
            return 0.0
        if value not in known:
            known[value] = price(value)
        return known[value]

    return cost


def _points(facts: Facts) -> float:
    """How many numbers a value is; none where that is a symbol."""
    found = points(facts.axes).constant
    return float(found) if found is not None else 0.0


def _stand_in(graph: EGraph, id: int) -> Part:
    """An operand as the price sees it: an input of the same axes and format."""
    facts = graph[id].facts
    if facts.number is not None:
        return Lit(facts.number)
    if facts.weak:
        return make(Map, section="", axes=facts.axes, dtype=facts.dtype, args=(), body=Lit(0))
    role = "weight" if facts.constant else "activation"
    parts = {"axes": facts.axes, "dtype": facts.dtype, "section": ""}
    return make(Input, name=f"%{graph.find(id)}", role=role, **parts)
