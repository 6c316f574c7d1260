"""Buffers: how many tiles wait between stages, and what of each operand is on the chip.

A tile that skips stages waits for those that work on it meanwhile: with a start for every stage,
counted in intervals, a buffer is as deep as its reader starts after its writer, and one more.  The
starts that need least memory are a linear programme of difference constraints, whose optimum is
whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

from maquette.errors import Fault, InputError
from maquette.space.mapping.types import Buffer, Loading, Stage, Stream

CHUNK = 65536.0  # bytes of an operand that wait where it is used as it arrives


@dataclass(frozen=True)
class Edge:
    """A stream: its reader starts at least `least` after its writer; a token has `width` bytes."""

    source: str
    sink: str
    width: float
    least: float = 1.0


def starts(edges: Sequence[Edge]) -> dict[str, float]:
    """When each node starts, so that ``Σ width · (start of reader - start of writer)`` is least.

    Raises InputError where edges go round.

    >>> a, b = Edge("a", "b", 1), Edge("b", "c", 1)
    >>> starts([a, b, Edge("a", "c", 8)])["c"]
    2.0
    """
    names = list(dict.fromkeys(n for e in edges for n in (e.source, e.sink)))
    if not edges:
        return {}
    number = {n: i for i, n in enumerate(names)}
    cost = np.zeros(len(names))
    rows, columns, entries = [], [], []
    for row, e in enumerate(edges):
        cost[number[e.sink]] += e.width
        cost[number[e.source]] -= e.width
        rows += [row, row]
        columns += [number[e.source], number[e.sink]]
        entries += [1.0, -1.0]
    matrix = csr_array((entries, (rows, columns)), shape=(len(edges), len(names)))
    found = linprog(cost, matrix, [-e.least for e in edges], bounds=(0, None), method="highs")
    if not found.success:
        raise InputError(Fault(edges[0].source, "streams go round", "a network without cycles"))
    return {n: float(t) - float(found.x.min()) for n, t in zip(names, found.x, strict=True)}


def fifo_depths(edges: Sequence[Edge], interval: float = 1.0) -> dict[tuple[str, str], int]:
    """Tokens each queue must hold so that none of them ever stops its writer.

    `least` is the writer's latency: what is under way in its pipeline needs no queue.  Reconvergent
    paths get ``⌈(long - short) / interval⌉`` and one more on the short side.
    """
    at = starts(edges)
    return {
        (e.source, e.sink): ceil((at[e.sink] - at[e.source] - e.least) / interval - 1e-9) + 1
        for e in edges
    }


def buffers(
    stages: Sequence[Stage], tiles: int, loading: Loading, exact: bool = False
) -> tuple[Buffer, ...]:
    """What lies in the memory units of each stage.

    Depths follow levels, stages starting as early as they can; where `exact`, the programme.  What
    a later phase reads waits whole.
    """
    at = _levels(stages)
    if exact:
        at |= starts(list(_edges(stages)))
    inside = {s.name for s in stages}
    begun = _begun(stages)
    found = []
    for s in stages:
        for r in s.reads:
            buffer = _buffer(s, r, _source(r, inside), tiles, loading, at)
            waits = r.access == "tile" and begun[s.name] > begun[_source(r, inside)]
            found.append(replace(buffer, depth=tiles) if waits else buffer)
    return tuple(found)


def _begun(stages: Sequence[Stage]) -> dict[str, int]:
    """The phase in which each stage, and each load, begins."""
    found = phases(stages)
    own = set(found)
    for s in stages:
        for r in s.reads:
            if r.other not in own:
                source = f"{r.other}.{r.name}"
                found[source] = min(found.get(source, found[s.name]), found[s.name])
    return found


def _source(read: Stream, inside: Collection[str]) -> str:
    """Who fills a buffer: a stage, or the load of an operand, one for all that read it."""
    return read.other if read.other in inside else f"{read.other}.{read.name}"


def _buffer(
    stage: Stage, read: Stream, source: str, tiles: int, loading: Loading, at: Mapping[str, float]
) -> Buffer:
    size, depth = read.tile, 1
    made = source == read.other
    if read.block and read.access in ("tile", "held"):
        return Buffer(read.name, read.other, stage.name, read.block, 2, read.across)
    if read.access == "tile" and (tiles > 1 or not made):
        depth = max(1, round(at[stage.name] - at[source])) + 1
    elif made:  # before any tile, or gathered from all of them
        size = max(read.tile, read.total)
    elif loading == "again" or (tiles == 1 and loading == "before"):
        size, depth = min(read.tile, CHUNK), 2
    elif (loading == "ahead" and tiles > 1) or read.total > read.tile:
        depth = 2
    return Buffer(read.name, read.other, stage.name, size, depth, read.across)


def _edges(stages: Sequence[Stage]) -> Iterator[Edge]:
    inside = {s.name for s in stages}
    for s in stages:
        for r in s.reads:
            if r.other in inside or r.access == "tile":
                width = r.tile if r.access == "tile" else 0.0
                yield Edge(_source(r, inside), s.name, width)


def _levels(stages: Sequence[Stage]) -> dict[str, float]:
    """Starts as early as they can be, loads just before their first reader."""
    own = levels(stages)
    found: dict[str, float] = {n: float(level) for n, level in own.items()}
    for s in stages:
        for r in s.reads:
            if r.other not in own:
                source = f"{r.other}.{r.name}"
                found[source] = min(found.get(source, found[s.name] - 1), found[s.name] - 1)
    return found


def levels(stages: Sequence[Stage]) -> dict[str, int]:
    """How many stages lie before each on the longest way to it."""
    found: dict[str, int] = {}
    for s in stages:
        found[s.name] = 1 + max((found[r.other] for r in s.reads if r.other in found), default=-1)
    return found


def phases(stages: Sequence[Stage]) -> dict[str, int]:
    """How many times all tiles must have passed before each stage starts."""
    found: dict[str, int] = {}
    for s in stages:
        before = (found[r.other] + (r.access == "whole") for r in s.reads if r.other in found)
        found[s.name] = max(before, default=0)
    return found
