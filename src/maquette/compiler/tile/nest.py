"""Loop nests: the stages of a kernel under loops in one order of axes, fused where that is legal.

A stage becomes steps, one per component (components of a fold that have the same axes stay
together).  For each axis in order, neighbouring steps share a loop over it unless one needs
another's result before it is complete, or at another coordinate.  What is not in a loop over an
axis runs before or after it: a nest is imperfect wherever the kernel is.

    n { t { ss }  t { y } }       # a norm: one sweep that reduces, one that maps
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from maquette.compiler.kernel import Kernel, Result, Stage
from maquette.ir.scalar import Arg, Index, Lit, Scalar, reads


@dataclass(frozen=True, eq=False)
class Step:
    """Components `parts` of a stage, computed at every point of `axes`."""

    stage: Stage
    parts: tuple[int, ...]
    axes: tuple[str, ...]
    stores: tuple[str, ...] = ()  # outputs that the results of a map are stored to

    @cached_property
    def results(self) -> tuple[Result, ...]:
        return tuple(self.stage.results[i] for i in self.parts)

    @property
    def reduced(self) -> tuple[str, ...]:
        return self.stage.over if self.stage.kind == "reduce" else ()

    @cached_property
    def operands(self) -> tuple[tuple[str, Arg], ...]:
        """What it reads: names with the reads.  A fold's components read all leaves they need."""
        found = (read for leaf in needed_leaves(self) for read in reads(leaf))
        return tuple((self.stage.reads[read.number], read) for read in found)

    @cached_property
    def reads(self) -> tuple[tuple[str, Arg], ...]:
        """What it reads, each once, in order."""
        return tuple(dict.fromkeys(self.operands))

    @cached_property
    def needs(self) -> frozenset[str]:
        """The names of what it reads."""
        return frozenset(name for name, _ in self.operands)


@dataclass(frozen=True, eq=False)
class Loop:
    """A loop over one axis around steps and loops, in order."""

    axis: str
    body: tuple[Node, ...]


Node: TypeAlias = Loop | Step


def steps(kernel: Kernel) -> tuple[Step, ...]:
    """The stages in steps.  What is folded or scanned and put out is stored by a map of its own."""
    outputs = {t.name: t.axes for t in kernel.outputs}
    found: list[Step] = []
    for stage in kernel.stages:
        if stage.kind == "map":
            for i, r in enumerate(stage.results):
                stored = (r.name,) if r.name in outputs else ()
                found.append(Step(stage, (i,), r.axes, stored))
            continue
        for parts in _alike(stage.results):
            axes = stage.results[parts[0]].axes
            over = tuple(a for a in stage.over if a not in axes)
            found.append(Step(stage, parts, (*axes, *over)))
        found += [_store(r, outputs[r.name]) for r in stage.results if r.name in outputs]
    return tuple(found)


def nest(sequence: Sequence[Step], order: Sequence[str]) -> tuple[Node, ...]:
    """Steps under loops over `order`, the first axis outermost."""
    return _nest(list(sequence), tuple(order), outermost=True)


def paths(nodes: Sequence[Node]) -> Mapping[Step, tuple[Loop, ...]]:
    """The loops around every step, outermost first."""
    return dict(_paths(nodes, ()))


def inner(node: Node) -> Iterator[Step]:
    """Every step of a node, in order."""
    if isinstance(node, Step):
        yield node
    else:
        for child in node.body:
            yield from inner(child)


def mapped(node: Node, axis: str) -> bool:
    """Whether iterations over `axis` are independent for every step: none folds along it."""
    return all(axis in r.axes and axis not in s.stage.over for s in inner(node) for r in s.results)


def pointwise(read: Arg, axis: str) -> bool:
    """Whether an operand is read at the point's own coordinate of `axis`."""
    return dict(read.at).get(axis, Index(axis)) == Index(axis)


def operands(step: Step) -> tuple[tuple[str, Arg], ...]:
    """What a step reads, see `Step.operands`."""
    return step.operands


def needed_leaves(step: Step) -> tuple[Scalar, ...]:
    """The leaves that the components of a step are computed from."""
    stage = step.stage
    if stage.monoid is None:
        return tuple(stage.leaves[i] for i in step.parts)
    n = len(stage.results)
    used = {a.number % n for i in step.parts for a in reads(stage.monoid.combine[i])}
    return tuple(stage.leaves[i] for i in sorted(used | set(step.parts)))


def _alike(results: Sequence[Result]) -> list[tuple[int, ...]]:
    """Components that have the same axes, those of fewer axes first: they depend on no others."""
    groups: dict[frozenset[str], list[int]] = {}
    for i, r in enumerate(results):
        groups.setdefault(frozenset(r.axes), []).append(i)
    return [tuple(groups[axes]) for axes in sorted(groups, key=len)]


def _store(result: Result, axes: tuple[str, ...]) -> Step:
    more = set(result.axes) - set(axes) if set(axes) < set(result.axes) else set()
    kept = tuple(a for a in result.axes if a not in more)
    copy = replace(result, name=f"{result.name}'", axes=kept)
    read = Arg(0, tuple((a, Lit(0)) for a in sorted(more)))
    stage = Stage("map", (copy,), (), None, (read,), (result.name,))
    return Step(stage, (0,), kept, (result.name,))


@dataclass
class _Group:
    looped: bool
    alone: bool  # along the axis iterations are independent
    members: list[Step] = field(default_factory=list)


def _nest(sequence: list[Step], order: tuple[str, ...], outermost: bool) -> tuple[Node, ...]:
    if not order:
        return tuple(sequence)
    axis, rest = order[0], order[1:]
    groups: list[_Group] = []
    for step in sequence:
        _place(step, axis, groups, outermost)
    found: list[Node] = []
    for group in groups:
        body = _nest(group.members, rest, outermost and not (group.looped and group.alone))
        found += [Loop(axis, body)] if group.looped else body
    return tuple(found)


def _place(step: Step, axis: str, groups: list[_Group], outermost: bool) -> None:
    """Put a step in the earliest group where all it needs is there already."""
    looped, alone = axis in step.axes, mapped(step, axis)
    home: _Group | None = None
    for group in reversed(groups):
        same = group.looped == looped and (not outermost or group.alone == alone)
        needs = [m for m in group.members if _depends(step, m)]
        if needs:
            if same and (not looped or all(_shares(step, m, axis) for m in needs)):
                home = group
            break
        if same:
            home = group
    if home is None:
        home = _Group(looped, alone)
        groups.append(home)
    home.members.append(step)


def _depends(step: Step, on: Step) -> bool:
    return step.stage is on.stage or any(r.name in step.needs for r in on.results)


def _shares(step: Step, on: Step, axis: str) -> bool:
    """Whether `step` finds what it reads of `on` within one iteration along `axis`."""
    if step.stage is on.stage:
        return True
    if axis in on.reduced:
        return False
    made = {r.name: r for r in on.results}
    return all(
        axis in made[name].axes and pointwise(read, axis)
        for name, read in operands(step)
        if name in made
    )


def _paths(
    nodes: Sequence[Node], above: tuple[Loop, ...]
) -> Iterator[tuple[Step, tuple[Loop, ...]]]:
    for node in nodes:
        if isinstance(node, Step):
            yield node, above
        else:
            yield from _paths(node.body, (*above, node))
