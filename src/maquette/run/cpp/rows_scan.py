"""Scans along the axis across lanes: prefixes in a vector by doubling, then what came before."""

from __future__ import annotations

from collections.abc import Mapping

from maquette.compiler.tile.nest import Step
from maquette.run.cpp import rows_folds as folds
from maquette.run.cpp.rows_state import State
from maquette.run.cpp.vector_code import TYPES, Val, whole


def across(s: State, step: Step) -> bool:
    """Whether a step scans along the axis across lanes."""
    return step.stage.kind == "scan" and s.plan.lanes in step.stage.over


def start(s: State, step: Step) -> None:
    """The carry of every result, neutral."""
    assert step.stage.monoid is not None
    for i, result in zip(step.parts, step.results, strict=True):
        neutral = folds.identity(step.stage.monoid, i, result.dtype.kind)
        for at in s.instances(result.axes):
            kind = TYPES[result.dtype.kind][False]
            s.w.line(f"{kind} {folds.accumulator(s, result, at)} = {s.w.scalar(neutral)};")


def update(s: State, step: Step) -> None:
    """Prefixes of the open vectors, in order."""
    stage, monoid = step.stage, step.stage.monoid
    assert monoid is not None
    outer = [a for a in step.axes if a not in stage.over]
    for at in s.instances(outer):
        for along in s.instances(stage.over):
            point = {**at, **along}
            leaves = folds.leaves(s, step, point)
            neutral = {i: folds.identity(monoid, i, stage.results[i].dtype.kind) for i in leaves}
            distance = 1
            while distance < s.w.lanes:
                before = {i: _shifted(s, v, distance, neutral[i]) for i, v in leaves.items()}
                leaves = {i: folds.combine(s, monoid, i, before, leaves) for i in leaves}
                distance *= 2
            _carry(s, step, at, point, leaves)


def _carry(
    s: State, step: Step, at: Mapping[str, int], point: Mapping[str, int], prefixes: folds.Tuple
) -> None:
    stage, monoid = step.stage, step.stage.monoid
    assert monoid is not None
    held = {}
    for i in step.parts:
        result = stage.results[i]
        name = s.w.name("o")
        kind = result.dtype.kind
        text = folds.accumulator(s, result, at)
        s.w.line(f"const {TYPES[kind][False]} {name} = {text};")
        value = Val(kind, name, False, s.w.level)
        held[i] = whole(s.w.atom(name, s.w.level, False)) if kind == "int" else value
    for i in step.parts:
        result = stage.results[i]
        value = folds.combine(s, monoid, i, held, prefixes)
        s.keep(s.plan.homes[result.name], point, value)
        last = f"{s.w.vector(value)}[{s.w.lanes - 1}]"
        if result.dtype.kind == "bool":
            last += " != 0"
        s.w.line(f"{folds.accumulator(s, result, at)} = {last};")


def _shifted(s: State, value: Val, distance: int, fill: Val) -> Val:
    text = f"shifted<{distance}>({s.w.vector(value)}, {s.w.vector(fill)})"
    return s.w.value(value.kind, text, True, s.w.level)
