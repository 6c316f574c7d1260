"""Folds of a nest: accumulators before the loops, updates inside, what is left after them.

Across lanes every lane folds its own share with several accumulators; they meet at the end.  A
streamed monoid takes a block of leaves at a time: first the new value of what is not repaired,
then every leaf and what was there before, repaired to it once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from maquette.compiler.kernel import Result
from maquette.compiler.tile.homes import Home, started
from maquette.compiler.tile.nest import Step
from maquette.ir.dtypes import Kind
from maquette.ir.monoids import Monoid, Streamed
from maquette.ir.scalar import Arg, Scalar, reads
from maquette.run.cpp.rows_state import Coordinate, Instance, State, identifier
from maquette.run.cpp.vector_bodies import Point, apply, evaluate
from maquette.run.cpp.vector_code import TYPES, Val, number, truth, whole
from maquette.run.cpp.vector_index import Affine, Atom, lane
from maquette.run.cpp.vector_memory import load

Homes = Mapping[str, Home]
Tuple = dict[int, Val]  # components of a monoid, those that are needed


def identity(monoid: Monoid, i: int, kind: Kind) -> Val:
    """The neutral element of a component, among the numbers of its kind."""
    value = monoid.identity[i].value
    if kind == "bool":
        return truth(bool(value))
    if kind == "int":
        limit = 2**31 - 1
        return whole(Affine((), int(np.clip(value, -limit - 1, limit))))
    return number(float(value))


def combine(s: State, monoid: Monoid, i: int, left: Tuple, right: Tuple) -> Val:
    """Component `i` of two tuples combined."""
    n = monoid.width

    def read(arg: Arg) -> Val:
        return (left if arg.number < n else right)[arg.number % n]

    return _at(s, monoid.combine[i], read)


def start(s: State, step: Step, homes: Homes) -> None:
    """Accumulators of a fold, neutral."""
    assert step.stage.monoid is not None
    for i, result in zip(step.parts, step.results, strict=True):
        home = homes[result.name]
        neutral = identity(step.stage.monoid, i, result.dtype.kind)
        if _in_memory(step, home, s):
            _fill(s, step, home, neutral)
            continue
        vector = s.plan.lanes in (*result.axes, *step.stage.over)
        kind = TYPES[result.dtype.kind][vector]
        text = s.w.vector(neutral) if vector else s.w.scalar(neutral)
        for at in s.instances(result.axes):
            for share in range(shares(s, step)):
                s.w.line(f"{kind} {accumulator(s, result, at, share)} = {text};")


def update(s: State, step: Step, homes: Homes) -> None:
    """Fold the leaves of the open iteration in."""
    stage = step.stage
    outer = [a for a in step.axes if a not in stage.over]
    for at in s.instances(outer):
        points = [{**at, **over} for over in s.instances(stage.over)]
        lanes = s.plan.lanes if s.plan.lanes in stage.over and shares(s, step) > 1 else ""
        for share in range(len(s.bound[lanes]) if lanes else 1):
            block = [p for p in points if not lanes or p[lanes] == share]
            _fold(s, step, at, block, share, homes)


def finish(s: State, step: Step, keep: Callable[[Result, Val], None] | None = None) -> None:
    """Bring the lanes of a fold together; `keep` them, or put them where they are read."""
    stage, monoid = step.stage, step.stage.monoid
    assert monoid is not None
    if any(_in_memory(step, s.plan.homes[r.name], s) for r in step.results):
        return
    across = s.plan.lanes in stage.over
    for at in s.instances(step.results[0].axes):
        held = [
            {i: _snapshot(s, r, at, share, across) for i, r in enumerate(stage.results)
             if _present(step, i)}
            for share in range(shares(s, step))
        ]  # fmt: skip
        total = _meet(s, monoid, step, held) if across else held[0]
        for i, result in zip(step.parts, step.results, strict=True):
            if keep:
                keep(result, total[i])
            else:
                s.keep(s.plan.homes[result.name], at, total[i])


def shares(s: State, step: Step) -> int:
    """How many accumulators one result has: one per vector of the loop across lanes."""
    lanes = s.plan.lanes
    if lanes not in step.stage.over or step.stage.kind == "scan":
        return 1
    if isinstance(step.stage.monoid, Streamed):
        return 1
    vectors = -(-s.plan.kernel.extents[lanes] // s.w.lanes)
    return max(1, min(s.plan.step(lanes) // s.w.lanes, vectors))


def accumulator(s: State, result: Result, at: Instance, share: int = 0) -> str:
    """The variable that holds what an instance of a result has been folded to."""
    which = [str(at[a]) for a in result.axes if a in at and len(s.bound[a]) > 1]
    return "_".join(["a", identifier(result.name), *which, f"s{share}"])


def _at(s: State, body: Scalar, read: object) -> Val:
    return evaluate(s.w, body, Point(read, lambda axis: Affine()))  # type: ignore[arg-type]


def _present(step: Step, i: int) -> bool:
    monoid = step.stage.monoid
    assert monoid is not None
    n = monoid.width
    used = {a.number % n for j in step.parts for a in reads(monoid.combine[j])}
    return i in used or i in step.parts


def _in_memory(step: Step, home: Home, s: State) -> bool:
    """Whether accumulators are a tile: loops over the result are inside those of the fold."""
    made = started(step, s.plan.paths[step])
    inside = {loop.axis for loop in made}
    return any(a not in inside and a not in step.stage.over for a in home.result.axes)


def _fill(s: State, step: Step, home: Home, neutral: Val) -> None:
    """Set every element of a tile of accumulators that the open loops own."""
    openings, bound = [], {}
    for axis in home.rest:
        if axis not in s.bound:
            extent, stride = s.plan.kernel.extents[axis], 1
            steps = Affine()
            if axis == s.plan.lanes:
                stride, steps = s.w.lanes, lane(s.w.lanes)
            name = s.w.name("z")
            openings.append(f"for (long {name} = 0; {name} < {extent}; {name} += {stride})")
            last = max(0, (extent - 1) // stride * stride)
            base = Affine(((Atom(name, s.w.level + 1, 0, last, stride), 1),))
            bound[axis] = (Coordinate(base + steps),)
    with s.loops(openings, bound):
        for at in s.instances(home.result.axes):
            s.keep(home, at, neutral, _stem(step))


def _stem(step: Step) -> str:
    return "c" if step.stage.kind == "scan" else "t"


def _snapshot(s: State, result: Result, at: Instance, share: int, across: bool) -> Val:
    """What an accumulator in a register holds now."""
    vector = across or s.plan.lanes in result.axes
    kind = result.dtype.kind
    name = s.w.name("o")
    s.w.line(f"const {TYPES[kind][vector]} {name} = {accumulator(s, result, at, share)};")
    if kind == "int":
        return whole(s.w.atom(name, s.w.level, vector))
    return Val(kind, name, vector, s.w.level)


def _held(s: State, step: Step, i: int, at: Instance, share: int, home: Home) -> Val:
    """What has been folded so far."""
    result = step.stage.results[i]
    if not _in_memory(step, home, s):
        return _snapshot(s, result, at, share, s.plan.lanes in step.stage.over)
    where = {a: s.coordinate(a, at).at for a in home.rest}
    place, coordinates = s.tile(home, at, where, _stem(step))
    found = load(s.w, place, coordinates, s.active(at), s.w.level)
    return s.w.fresh(found)


def _fold(
    s: State, step: Step, at: Instance, points: Sequence[Instance], share: int, homes: Homes
) -> None:
    stage = step.stage
    monoid, results = stage.monoid, stage.results
    assert monoid is not None
    known: list[Tuple] = [{} for _ in range(len(points) + 1)]
    for j, result in enumerate(results):
        if j in step.parts:
            known[0][j] = _held(s, step, j, at, share, homes[result.name])
            s.values[s.key(result, at, "after", share, 0)] = known[0][j]
        elif _present(step, j):
            for q in range(len(points) + 1):
                found = s.values.get(s.key(result, at, "after", share, q))
                if found is not None:
                    known[q][j] = found
    taken = [leaves(s, step, p) for p in points]
    at_once = isinstance(monoid, Streamed) and stage.kind == "reduce"
    if isinstance(monoid, Streamed) and at_once:
        _fold_block(s, step, monoid, known, taken)
    else:
        for q, leaf in enumerate(taken):
            for i in step.parts:
                value = combine(s, monoid, i, known[q], leaf)
                known[q + 1][i] = s.w.cast(value, results[i].dtype.kind)
    for q in range(len(points)) if not at_once else [len(points) - 1]:
        for i in step.parts:
            s.values[s.key(results[i], at, "after", share, q + 1)] = known[q + 1][i]
            if stage.kind == "scan":
                s.keep(s.plan.homes[results[i].name], points[q], known[q + 1][i])
    for i in step.parts:
        _assign(s, step, i, at, share, homes[results[i].name], known[len(points)][i])


def _fold_block(
    s: State, step: Step, monoid: Streamed, known: list[Tuple], block: list[Tuple]
) -> None:
    """All leaves of a block at once, repaired to the new values of the earlier components."""
    old, new = known[0], known[-1]
    for i in step.parts:
        part = monoid.parts[i]
        folded = [_repaired(s, monoid, i, leaf, new) for leaf in block]
        while len(folded) > 1:  # by halves: a short chain of operations
            pairs = [folded[j : j + 2] for j in range(0, len(folded), 2)]
            folded = [
                combine(s, part.op, 0, {0: p[0]}, {0: p[1]}) if len(p) > 1 else p[0] for p in pairs
            ]
        before = _repaired(s, monoid, i, old, new)
        total = combine(s, part.op, 0, {0: before}, {0: folded[0]})
        new[i] = s.w.cast(total, step.stage.results[i].dtype.kind)


def _repaired(s: State, monoid: Streamed, i: int, held: Tuple, now: Tuple) -> Val:
    """A component as it would be had the earlier ones been what they are now."""
    part, n = monoid.parts[i], monoid.width

    def read(arg: Arg) -> Val:
        return (held if arg.number < n else now)[arg.number % n]

    value = held[i]
    if part.factor is not None:
        value = apply(s.w, part.action, [_at(s, part.factor, read), value])
    if part.shift is not None:
        value = apply(s.w, "add", [value, _at(s, part.shift, read)])
    return value


def leaves(s: State, step: Step, at: Instance) -> Tuple:
    """The leaves that a step folds at a point; neutral in lanes that do not matter."""
    stage = step.stage
    assert stage.monoid is not None
    active = s.active(at) if s.plan.lanes in stage.over else None
    found: Tuple = {}
    for i, leaf in enumerate(stage.leaves):
        if not _present(step, i):
            continue
        kind = stage.results[i].dtype.kind
        value = s.w.cast(s.value(stage, leaf, at), kind)
        if active is not None:
            inside = Val("bool", s.w.let("VI", f"lane() < {active}", 0), True, 0)
            value = apply(s.w, "where", [inside, value, identity(stage.monoid, i, kind)])
        found[i] = value
    return found


def _assign(s: State, step: Step, i: int, at: Instance, share: int, home: Home, value: Val) -> None:
    result = step.stage.results[i]
    if _in_memory(step, home, s):
        s.keep(home, at, value, _stem(step))
        return
    vector = s.plan.lanes in (*result.axes, *step.stage.over)
    text = s.w.vector(value) if vector else s.w.scalar(value)
    s.w.line(f"{accumulator(s, result, at, share)} = {text};")


def _meet(s: State, monoid: Monoid, step: Step, held: Sequence[Tuple]) -> Tuple:
    """All lanes of all accumulators as one tuple of scalars."""
    if isinstance(monoid, Streamed):
        return _meet_streamed(s, monoid, step, held[0])
    found = dict(held[0])
    for other in held[1:]:
        found = {i: combine(s, monoid, i, found, other) for i in found}
    distance = s.w.lanes // 2
    while distance:
        turned = {i: _turned(s, v, distance) for i, v in found.items()}
        found = {i: combine(s, monoid, i, found, turned) for i in found}
        distance //= 2
    return {i: _first(s, v) for i, v in found.items()}


def _meet_streamed(s: State, monoid: Streamed, step: Step, held: Tuple) -> Tuple:
    total: Tuple = {}
    for i in sorted(held):
        value = _repaired(s, monoid, i, held, total)
        op, distance = monoid.parts[i].op, s.w.lanes // 2
        while distance:
            value = combine(s, op, 0, {0: value}, {0: _turned(s, value, distance)})
            distance //= 2
        total[i] = _first(s, value)
    return total


def _turned(s: State, value: Val, distance: int) -> Val:
    text = f"rotate<{distance}>({s.w.vector(value)})"
    return s.w.value(value.kind, text, True, s.w.level)


def _first(s: State, value: Val) -> Val:
    text = f"{s.w.vector(value)}[0]"
    if value.kind == "bool":
        text += " != 0"
    return s.w.value(value.kind, text, False, s.w.level)
