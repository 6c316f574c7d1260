"""Folds to single numbers by all threads: each folds a share, then the shares are folded."""

from __future__ import annotations

from collections.abc import Callable

from maquette.compiler.kernel import Result
from maquette.compiler.tile.homes import Plan, started
from maquette.compiler.tile.nest import Loop, Node, Step, inner
from maquette.run.cpp import rows_folds as folds
from maquette.run.cpp.rows_state import TILED, State, identifier
from maquette.run.cpp.vector_code import TYPES, Val, whole

LINE = 16  # elements from one thread's share to the next's: no two in one line of a cache
Take = Callable[[str, int], str]  # a name and bytes → C for a place in the workspace


def shareable(made: Plan, node: Node) -> bool:
    """Whether iterations of a node fold into single numbers and do nothing else together."""
    if not isinstance(node, Loop):
        return False
    for step in inner(node):
        if node.axis in step.stage.over:
            monoid = step.stage.monoid
            whole_number = all(r.axes == () for r in step.results)
            if step.stage.kind != "reduce" or not whole_number or not monoid:
                return False
            if not monoid.commutative or len(step.parts) < monoid.width:
                return False
        elif any(node.axis not in r.axes for r in step.results):
            return False
    return any(_folded(made, node))


def pointers(made: Plan, node: Loop, threads: int, take: Take) -> list[str]:
    """Declarations of the shares of every thread."""
    lines = []
    for result in _results(made, node):
        held, name = TILED[result.dtype.kind], _name(result)
        place = take(name, threads * LINE * 4)
        lines.append(f"{held} *const {name} = ({held} *){place};")
    return lines


def before(made: Plan, node: Loop, threads: int, s: State) -> None:
    """Shares are neutral: a team may be smaller than was asked for."""
    for step in _folded(made, node):
        assert step.stage.monoid is not None
        for i, result in zip(step.parts, step.results, strict=True):
            neutral = folds.identity(step.stage.monoid, i, result.dtype.kind)
            for t in range(threads):
                s.w.line(f"ss({_name(result)} + {t * LINE}, {s.w.scalar(neutral)});")


def keep(s: State, result: Result, value: Val) -> None:
    """A thread's share."""
    s.w.line(f"ss({_name(result)} + {LINE} * thread(), {s.w.scalar(value)});")


def after(made: Plan, node: Loop, threads: int, s: State) -> None:
    """Fold the shares, and put the results where they are read."""
    for step in _folded(made, node):
        monoid = step.stage.monoid
        assert monoid is not None
        held = [
            {
                i: _share(s, r, t)
                for i, r in zip(step.parts, step.results, strict=True)
            }
            for t in range(threads)
        ]  # fmt: skip
        total = held[0]
        for other in held[1:]:
            total = {i: folds.combine(s, monoid, i, total, other) for i in total}
        for i, result in zip(step.parts, step.results, strict=True):
            s.keep(made.homes[result.name], {}, total[i])


def _share(s: State, result: Result, thread: int) -> Val:
    kind, name = result.dtype.kind, s.w.name("o")
    s.w.line(f"const {TYPES[kind][False]} {name} = ls({_name(result)} + {thread * LINE});")
    if kind == "int":
        return whole(s.w.atom(name, s.w.level, False))
    return Val(kind, name, False, s.w.level)


def _folded(made: Plan, node: Loop) -> list[Step]:
    return [s for s in inner(node) if node.axis in s.stage.over and started(s, made.paths[s]) == ()]


def _results(made: Plan, node: Loop) -> list[Result]:
    return [r for s in _folded(made, node) for r in s.results]


def _name(result: Result) -> str:
    return f"share_{identifier(result.name)}"
