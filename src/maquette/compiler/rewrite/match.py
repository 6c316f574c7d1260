"""Finding a rule's left side in an e-graph, and adding its right side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from maquette.compiler.rewrite.building import build, coerced
from maquette.compiler.rewrite.egraph import COMMUTATIVE, Cause, EGraph, ENode, Untyped
from maquette.compiler.rewrite.mend import right_side
from maquette.compiler.rewrite.terms import OPERATORS, PARAMETERS, Expr, Node, Num, Rule, Term, Var
from maquette.ir.scalar import OPS

Env: TypeAlias = dict[str, Any]
Found: TypeAlias = tuple[Env, tuple[ENode, ...]]
Matcher: TypeAlias = Callable[[EGraph, int, Env, tuple[ENode, ...]], Iterator[Found]]

POINTWISE = {
    "f": frozenset(op for op, (n, _) in OPS.items() if n == 1 and not op.startswith("to_")),
    "g": frozenset(op for op, (n, _) in OPS.items() if n == 2 and op != "mul"),
}


@dataclass(frozen=True)
class Match:
    """One place where a rule applies."""

    rule: Rule
    roots: tuple[int, ...]
    env: Env
    nodes: tuple[ENode, ...]


Index: TypeAlias = Mapping[str, Sequence[int]]  # operator → classes that have a node of it


def index(graph: EGraph, ids: Iterable[int]) -> Index:
    """The classes among `ids` by the operators of their nodes."""
    found: dict[str, dict[int, None]] = {}
    for id in ids:
        for op, _, _ in graph.classes[id].nodes:
            found.setdefault(op, {})[id] = None
    return {op: list(held) for op, held in found.items()}


def matches(rule: Rule, graph: EGraph, ids: Index) -> Iterator[Match]:
    """Every place among the classes `ids` where a rule of one root applies."""
    root = rule.left[0]
    assert isinstance(root, Node)
    find = _matcher(root)
    for id in dict.fromkeys(
        i for op in POINTWISE.get(root.op, (root.op,)) for i in ids.get(op, ())
    ):
        for env, nodes in find(graph, id, {}, ()):
            if rule.once and graph.causes[nodes[0]] is not None:
                continue
            for full in bound(rule, env):
                yield Match(rule, (id,), full, nodes)


def bound(rule: Rule, env: Env) -> Iterator[Env]:
    """`env` with every choice of the axes that the rule ranges over, where its conditions hold."""
    choices: list[Env] = [env]
    for name, over in rule.binders:
        choices = [{**e, name: n} for e in choices for n in sorted(over(e))]
    for choice in choices:
        try:
            if all(condition(choice) for condition in rule.conditions):
                yield choice
        except Untyped:
            continue


def matches_of_groups(rule: Rule, graph: EGraph, ids: Iterable[int]) -> Iterator[list[Match]]:
    """For a rule of two roots: the values that share its common operands, oldest first.

    Every member is a match of the rule's second root, as the user wrote it.
    """
    groups: dict[Any, dict[int, Match]] = {}
    for id in ids:
        for match in ungrouped(rule, graph, id):
            if graph.causes[match.nodes[0]] is None:
                groups.setdefault(_common(match, graph), {}).setdefault(id, match)
    for found in groups.values():
        if len(found) > 1:
            yield [found[id] for id in sorted(found)]


def ungrouped(rule: Rule, graph: EGraph, id: int, like: Match | None = None) -> Iterator[Match]:
    """Matches of a rule's second root at a class, with the common operands of `like`."""
    for env, nodes in _matcher(rule.left[1])(graph, id, {}, ()):
        match = Match(rule, (id,), env, nodes)
        if like is None or _common(match, graph) == _common(like, graph):
            yield match


def _common(match: Match, graph: EGraph) -> tuple[Any, ...]:
    one, two = (set(_names(t)) for t in match.rule.left)
    return tuple(_key(graph, match.env[n]) for n in sorted(one & two))


def apply(match: Match, graph: EGraph) -> bool:
    """Add the right side and join it with what was matched; whether anything is new."""
    env = dict(match.env)
    graph.cause = Cause(match.rule.name, match.nodes)
    before = graph.size
    joined = False
    try:
        for name, shared in match.rule.shared:
            env[name] = (
                shared(env) if isinstance(shared, Expr) else _held(graph, build(shared, env, graph))
            )
        for n, root in enumerate(match.roots):
            graph.section = graph[root].section
            made = right_side(match.rule, n, env, graph)
            joined = graph.union(root, made, match.nodes[n] if n else match.nodes[0]) or joined
    except Untyped:
        pass  # the right side makes no sense here; nothing was joined
    finally:
        graph.cause = None
        match.env.update({n: env[n] for n, _ in match.rule.shared if n in env})
    return joined or graph.size > before


def _held(graph: EGraph, id: int) -> Any:
    return graph[id].facts.names


def _key(graph: EGraph, value: Any) -> Any:
    return graph.find(value.held) if hasattr(value, "held") else value


def _names(term: Term) -> Iterator[str]:
    if isinstance(term, Var):
        yield term.name
    elif not isinstance(term, Num):
        yield from (p.name for p in term.params if p.name is not None and p.name != "NONE")
        for a in term.args:
            yield from _names(a)


@cache
def _matcher(term: Term) -> Matcher:
    match term:
        case Var(name):
            return _variable(name)
        case Num(value):
            return _number(value)
    return _operator(term.op, term.params, tuple(_matcher(a) for a in term.args))


def _variable(name: str) -> Matcher:
    def find(graph: EGraph, id: int, env: Env, nodes: tuple[ENode, ...]) -> Iterator[Found]:
        held = env.get(name)
        if held is None:
            yield {**env, name: graph[id].facts.names}, nodes
        elif graph.find(held.held) == graph.find(id):
            yield env, nodes

    return find


def _number(value: float) -> Matcher:
    def find(graph: EGraph, id: int, env: Env, nodes: tuple[ENode, ...]) -> Iterator[Found]:
        if graph[id].facts.number == value:
            yield env, nodes

    return find


def _operator(op: str, params: tuple[Expr, ...], args: tuple[Matcher, ...]) -> Matcher:
    swaps = op in COMMUTATIVE or op == "g"
    wanted = tuple(
        (None if p.name == "NONE" else p.name, p, kind)
        for p, kind in zip(params, PARAMETERS.get(op, ()), strict=True)
    )
    known = POINTWISE[op] if op in OPERATORS else None

    def find(graph: EGraph, id: int, env: Env, nodes: tuple[ENode, ...]) -> Iterator[Found]:
        for node in graph[id].nodes:
            if node[0] != op and (known is None or node[0] not in known):
                continue
            if known is not None and env.get(op, node[0]) != node[0]:
                continue
            start = env if known is None else {**env, op: node[0]}
            bound = _bound(wanted, node[1], start)
            if bound is None:
                continue
            kids, more = node[2], (*nodes, node)
            yield from _arguments(args, graph, kids, bound, more)
            if swaps and node[0] in COMMUTATIVE and kids[0] != kids[1]:
                yield from _arguments(args, graph, kids[::-1], bound, more)

    return find


def _arguments(
    args: tuple[Matcher, ...],
    graph: EGraph,
    kids: tuple[int, ...],
    env: Env,
    nodes: tuple[ENode, ...],
) -> Iterator[Found]:
    if len(args) == 1:
        yield from args[0](graph, kids[0], env, nodes)
        return
    for inner, more in args[0](graph, kids[0], env, nodes):
        yield from _arguments(args[1:], graph, kids[1:], inner, more)


def _bound(
    wanted: Sequence[tuple[str | None, Expr, str]], given: Sequence[Any], env: Env
) -> Env | None:
    """`env` with the parameters of a node bound to their names; None if they are others."""
    for (name, expr, kind), value in zip(wanted, given, strict=True):
        if name is not None and name not in env:
            env = {**env, name: value}
        elif coerced(kind, expr(env)) != value:
            return None
    return env
