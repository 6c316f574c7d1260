"""How extra memory grows with the sequence length: measured, and fitted to a power."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from maquette.bench import framework
from maquette.bench.attention import Shape, inputs
from maquette.bench.framework import Compile
from maquette.bench.memory import available, extra_bytes
from maquette.bench.spellings import GROUPED, SPELLINGS
from maquette.errors import Fault, NotYet
from maquette.run.timing import timed


@dataclass(frozen=True)
class Point:
    """One length: what a call needs beyond its inputs, and what naive scores would take."""

    seq: int
    extra_bytes: int
    output_bytes: int  # of which the result is so much
    scores_bytes: int
    seconds: float
    eager_fits: bool


@dataclass(frozen=True)
class Growth:
    """Extra memory over S: ``power`` of S, and bytes per position by the longest pair."""

    spelling: str
    points: tuple[Point, ...]
    power: float
    bytes_per_position: float


def growth(
    spelling: str,
    shapes: Sequence[Shape],
    compile_: Compile,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Growth:
    """Compile, call and weigh a spelling at every shape, shortest first."""
    function, kind = {**SPELLINGS, **GROUPED}[spelling]
    if extra_bytes(lambda: None) is None:
        raise NotYet(Fault("memory", "this system does not keep the peak of a process", "Linux"))
    points = []
    ordered = sorted(shapes, key=lambda s: s.seq)
    for i, shape in enumerate(ordered):
        progress(f"S = {shape.seq}", i, len(ordered))
        given = inputs(shape, kind)
        contender = framework.ours(compile_, function, given)()
        took = timed(contender.run).seconds
        rise = extra_bytes(contender.run) or 0
        room = available()
        points.append(
            Point(
                seq=shape.seq,
                extra_bytes=rise + contender.held_bytes,
                output_bytes=given[0].numel() * given[0].element_size(),
                scores_bytes=shape.score_bytes,
                seconds=took,
                eager_fits=room is None or 3 * shape.score_bytes < 0.8 * room,
            )
        )
    lengths, extra = (
        np.array([getattr(p, k) for p in points], float) for k in ("seq", "extra_bytes")
    )
    power = float(np.polyfit(np.log(lengths), np.log(np.maximum(extra, 1.0)), 1)[0])
    slope = (extra[-1] - extra[0]) / (lengths[-1] - lengths[0])
    return Growth(spelling, tuple(points), power, float(slope))
