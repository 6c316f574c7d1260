"""What linear attention and state-space layers take: prompts in chunks, decoding step by step.

A prompt is cut into chunks.  Inside one every position meets every earlier one, as in attention:
work that rises with the square of the chunk and runs on matrix engines.  From chunk to chunk a
state of keys × values goes on: work along the prompt, which one head can share among few units, so
that a long prompt of few heads waits for it.  A decoding sequence reads its state, changes it and
writes it back.

Between the products of a chunk lie decays, masks and conversions of everything that is not a long
sum: scores, queries, keys, values and the state.  They set the pace of kernels written in Triton:
FLA 0.5 takes 211 SM-nanoseconds for a position of a head of gated delta rule on an H200 and 209 on
a GB200, whose tensor cores are more than twice as fast (FlashQLA's benchmark, 2026); `passes` of
vector operations over each element make that up.  Kernels that keep a head on one unit from end to
end need fewer of them, but use no more units than there are heads (`fused`).

Chunks: GLA (arXiv 2312.06635), Mamba-2 (2405.21060), gated delta rule (2412.06464).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from maquette.machines.facts import bandwidth
from maquette.machines.types import Machine
from maquette.price.calibration import Calibration
from maquette.price.rates import vector_peak
from maquette.price.surfaces import Pair, stream, units

CHUNK = 256.0  # positions, as Mamba-2 in engines has them (Bamba, Granite); 64 of a delta rule
FUSED = 8.0  # passes of one kernel that holds elements in registers from product to product
SHARED = 4.0  # units that one head's state is cut over: 128 values in blocks of 32
# Kernels that change a state in place reach this of what streams do: on an H200 and a B200 vLLM's
# gated delta rule is at 53 and 42 % of the bandwidth with 1024 and 256 sequences.
IN_PLACE = 0.65


class Rule(NamedTuple):
    """What is computed of a chunk, and how much lies between its products."""

    keys: float  # products of positions with positions over keys …
    values: float  # … and over positions into values
    state: float  # products of keys with values: into the state, or out of it
    scores: float  # squares of positions that are held, half of one where all are causal
    passes: float  # vector operations for each element, of kernels that follow one another


# Scores, their sum over values; the state changed and read.  Between two of them:
# FLA's retention takes 58 passes on a GB200, TileLang's last kernel of Mamba-2, written by
# hand for an H800, 14.
LINEAR = Rule(1.0, 1.0, 2.0, 0.5, passes=40.0)
# And keys with keys, the inverse of that, and what corrects keys, values and the state.
DELTA = Rule(3.0, 2.0, 3.0, 2.0, passes=72.0)


class Shape(NamedTuple):
    """Heads of one device, and what each of them keeps: a state of `keys` × `values`."""

    heads: Any
    keys: Any
    values: Any
    chunk: Any = CHUNK
    rule: Rule = LINEAR


def chunked(
    machine: Machine,
    cal: Calibration,
    peak: Any,
    shape: Shape,
    tokens: Any,
    nbytes: Any,
    longest: Any = 0.0,
    fused: bool = False,
) -> Pair:
    """Seconds of the scan of prompts of `tokens` positions that move `nbytes` besides states.

    `longest` is the longest prompt: one head's chain of chunks.

    >>> from maquette.catalogue.machines import machine
    >>> from maquette.price.calibration import first_principles
    >>> h200, cal = machine("h200"), first_principles("h200", "any")
    >>> few, many = (Shape(heads, 128, 128, 64, DELTA) for heads in (8, 64))
    >>> one, eight = (chunked(h200, cal, 989e12, s, 32768, 0, 32768) for s in (few, many))
    >>> bool(eight.matrix < 5 * one.matrix)  # few heads wait for their chain
    True
    """
    chunk, area = shape.chunk, shape.keys * shape.values
    if cal.ideal:  # no chunk at all: the state changed and read once a position
        return Pair(4.0 * area * shape.heads * tokens / peak, nbytes / float(bandwidth(machine)))
    parts = units(machine)
    passed = shape.rule.scores * chunk + shape.keys + shape.values  # elements besides the state
    inside = chunk * (shape.rule.keys * shape.keys + shape.rule.values * shape.values)
    passes = FUSED if fused else shape.rule.passes
    within = _each(machine, cal, peak, inside + 2.0 * area, passed, passes)
    along = _each(machine, cal, peak, 2.0 * (shape.rule.state - 1.0) * area, area / chunk, passes)
    work = shape.heads * tokens
    # Written after each chunk and read by the next kernel, in four bytes.
    moved = nbytes + (0.0 if fused else 8.0) * work * area / chunk
    memory = stream(machine, cal["memory"], cal["draw"], moved)
    if fused:  # heads of all sequences in turns; the longest ones set the pace of each turn
        tasks = shape.heads * tokens / np.maximum(longest, 1.0)
        turns = np.maximum(np.ceil(tasks / parts), 1.0)
        return Pair(turns * longest * parts * (within + along), memory)
    chain = longest * along * parts / SHARED
    return Pair(work * within + np.maximum(work * along, chain), memory)


def _each(
    machine: Machine, cal: Calibration, peak: Any, flops: Any, elements: Any, passes: float
) -> Any:
    """Seconds of all units for one position of one head: products, and what lies between them."""
    between = passes * elements / (vector_peak(machine) * cal["vector"])
    return flops / (peak * cal["matrix"]) + between


def recurrent(machine: Machine, cal: Calibration, state: Any) -> Any:
    """Seconds to read and write `state` bytes, both counted, of sequences that each add a token."""
    reached = cal["memory"] * (1.0 if cal.ideal else IN_PLACE)
    return stream(machine, reached, cal["draw"], state)
