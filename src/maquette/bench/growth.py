"""How extra memory grows with the sequence length: measured, and fitted to a line and a power."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from maquette.bench import framework
from maquette.bench.attention import Shape, inputs, lacking_room
from maquette.bench.contest import Contender
from maquette.bench.framework import Compile
from maquette.bench.memory import extra_bytes
from maquette.bench.spellings import GROUPED, SPELLINGS
from maquette.errors import Fault, NotYet


@dataclass(frozen=True)
class Weighed:
    """One call: what it needed beyond its inputs, and how long it took."""

    extra_bytes: int
    seconds: float


@dataclass(frozen=True)
class Point:
    """One length: ours and eager, which is None where it does not fit."""

    seq: int
    output_bytes: int  # that much of the extra bytes is the result
    scores_bytes: int  # of one matrix of scores of all heads
    ours: Weighed
    eager: Weighed | None


@dataclass(frozen=True)
class Growth:
    """Extra memory of ours over S, fitted twice by least squares.

    A line, ``fixed_bytes + bytes_per_position · S``, from which points are `away` at most, as a
    share of the point; and a power of S, on logarithms.
    """

    spelling: str
    points: tuple[Point, ...]
    power: float
    bytes_per_position: float
    fixed_bytes: float
    away: float


def growth(
    spelling: str,
    shapes: Sequence[Shape],
    compile_: Compile,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Growth:
    """Compile, call and weigh a spelling at every shape, shortest first."""
    if extra_bytes(lambda: None) is None:
        raise NotYet(Fault("memory", "this system does not keep the peak of a process", "Linux"))
    points = []
    ordered = sorted(shapes, key=lambda s: s.seq)
    for i, shape in enumerate(ordered):
        progress(f"S = {shape.seq}", i, len(ordered))
        points.append(_point(spelling, shape, compile_))
    lengths = np.array([p.seq for p in points], float)
    extra = np.array([p.ours.extra_bytes for p in points], float)
    power = float(np.polyfit(np.log(lengths), np.log(np.maximum(extra, 1.0)), 1)[0])
    slope, fixed = map(float, np.polyfit(lengths, extra, 1))
    away = float(np.max(np.abs(fixed + slope * lengths - extra) / np.maximum(extra, 1.0)))
    return Growth(spelling, tuple(points), power, slope, fixed, away)


def _point(spelling: str, shape: Shape, compile_: Compile) -> Point:
    function, kind = {**SPELLINGS, **GROUPED}[spelling]
    given = inputs(shape, kind)
    eager = None
    if not lacking_room(shape):
        eager = _weighed(framework.eager(function, given)())
    return Point(
        seq=shape.seq,
        output_bytes=given[0].numel() * given[0].element_size(),
        scores_bytes=shape.score_bytes,
        ours=_weighed(framework.ours(compile_, function, given)()),
        eager=eager,
    )


def _weighed(contender: Contender) -> Weighed:
    seconds = []

    def call() -> object:
        start = time.perf_counter()
        found = contender.run()
        seconds.append(time.perf_counter() - start)
        return found

    rise = extra_bytes(call) or 0
    return Weighed(rise + contender.held_bytes, seconds[0])
