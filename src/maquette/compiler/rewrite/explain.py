"""Which rules the chosen graph rests on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maquette.compiler.rewrite.egraph import Cause, EGraph, ENode
from maquette.compiler.rewrite.extract import Choice, reachable
from maquette.compiler.rewrite.terms import Rule


@dataclass(frozen=True)
class Step:
    """A rule that the chosen graph rests on, and what it matched."""

    rule: str
    why: str
    at: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.at}: {self.why}"


def explain(
    graph: EGraph, rules: Sequence[Rule], start: Choice, choice: Choice, roots: Iterable[int]
) -> tuple[Step, ...]:
    """The rules behind every e-node that was chosen otherwise than written, oldest first."""
    why = {rule.name: rule.why for rule in rules}
    causes: dict[Cause, int] = {}
    todo: list[ENode] = []
    seen: set[ENode] = set()
    for id in reachable(choice, roots):
        if choice[id] != start.get(id):
            todo.append(choice[id])
            todo += _between(graph, start.get(id), choice[id], causes)
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        cause = graph.causes.get(node)
        if cause is not None:
            causes.setdefault(cause, graph.rank[node])
            todo.extend(cause.matched)
    ordered = sorted(causes, key=lambda c: causes[c])
    steps = [
        Step(c.rule, why[c.rule], shown(graph, c.matched[0])) for c in ordered if c.rule in why
    ]
    return tuple(dict.fromkeys(steps))


def _between(
    graph: EGraph, start: ENode | None, end: ENode, causes: dict[Cause, int]
) -> list[ENode]:
    """Why two e-nodes of one class are equal: the unions on the shortest way between them."""
    if start is None:
        return []
    came: dict[ENode, tuple[ENode, Cause]] = {}
    queue = [start]
    for node in queue:
        for other, cause in graph.joined.get(node, ()):
            if other not in came and other != start:
                came[other] = (node, cause)
                queue.append(other)
    matched: list[ENode] = []
    while end in came:
        end, cause = came[end]
        causes.setdefault(cause, max((graph.rank.get(n, 0) for n in cause.matched), default=0))
        matched.extend(cause.matched)
    return matched


def shown(graph: EGraph, node: ENode) -> str:
    """An e-node in a few words: its operator and the axes of what it gives."""
    op, params, _ = node
    id = graph.add(*graph.canonical(node))
    axes = ", ".join(map(str, graph[id].facts.axes))
    over = (
        f" over {', '.join(sorted(params[0]))}"
        if op in ("dot", "sum", "amax", "amin") and params[0]
        else ""
    )
    name = "product" if op == "dot" else op
    place = f" @{graph[id].section}" if graph[id].section else ""
    return f"{name}{over} [{axes}]{place}"
