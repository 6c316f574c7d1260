"""Sections as the kernels a machine launches one after another: their shapes, and what those take.

The shapes follow from counts: two flops for each weight and row give the rows of a product, and
weights over depth its columns, of every group of experts that a batch touches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from maquette.compiler.schedule import Section
from maquette.machines.types import Machine
from maquette.price import scans, surfaces
from maquette.price.calibration import Calibration
from maquette.price.rates import matrix_rate, product_peak, vector_peak
from maquette.price.states import States, states
from maquette.price.work import Busy, Env, Work, phases, split


def launched(section: Section, machine: Machine, cal: Calibration, env: Env) -> Iterator[Busy]:
    """The parts of a section under features and formats `env` (scalars or arrays)."""
    vector = vector_peak(machine) * cal["vector"]
    shaped = section.kind in ("product", "grouped") and bool(section.depth.terms)
    for work in split(section):
        for phase, values in phases(section, work.part, env):
            if shaped and work.part != "attention":
                pair = _product(section, work, machine, cal, values)
            elif section.kind == "scan" and (held := states(section)):
                yield _scan(held, work, machine, cal, values)
                continue
            else:
                reached = cal["kv"] if phase == "decode" else cal["memory"]
                pair = surfaces.Pair(
                    work.matrix(values) / matrix_rate(section, work, cal, values),
                    surfaces.stream(machine, reached, cal["draw"], work.bytes(values)),
                )
                if section.unshared and phase == "decode" and not cal.ideal:
                    pair = pair._replace(matrix=_one_by_one(work, machine, cal, values))
            other = work.vector(values) / vector
            if section.kind == "attention" and not cal.ideal:  # between its products, not beside
                between = work.vector(values) / surfaces.SOFTMAX * surfaces.softmax(machine, cal)
                pair = pair._replace(matrix=pair.matrix + between)
            yield Busy(work.part, phase, pair.matrix, other, pair.memory)
    if section.kind == "attention" and "seqs" in env:
        yield _unseen(section, machine, cal, env)
        filling = np.where(np.asarray(env["seqs"]) > 0, surfaces.ramp(cal), 0.0)
        if section.phase == "decode":
            filling = filling + _joined(section, machine, cal, env)
        yield Busy("seqs", "seqs", 0.0, 0.0, filling)


def _one_by_one(work: Work, machine: Machine, cal: Calibration, env: Env) -> Any:
    """Seconds of multiply-adds with cached elements, each query head for itself.

    Every one is loaded, converted and added up by a lane, which takes about as long as an
    exponential.  TensorRT-LLM 0.10 on an H100 and an H200, which differ in their memory only, so
    takes 3-4.5e12 elements a second with Mistral 7B, Llama 3 8B and Falcon 180B, a third of which
    0.11 takes (tokens per second of NVIDIA/TensorRT-LLM, perf-overview.md of 0.8 to 0.12).
    """
    return work.matrix(env) / 2 * surfaces.softmax(machine, cal)


def _product(
    section: Section, work: Work, machine: Machine, cal: Calibration, env: Env
) -> surfaces.Pair:
    weights = np.maximum(section.weights(env), 1e-9)
    depth = section.depth(env)
    groups = env["hit"] if section.kind == "grouped" else None
    pair = surfaces.product(
        machine,
        cal,
        product_peak(section, env, 1.0 if cal.ideal else env["reach"]),
        rows=work.matrix(env) / (2 * weights),
        columns=weights / (depth * (1.0 if groups is None else groups)),
        depth=depth,
        nbytes=work.bytes(env),
        groups=groups,
    )
    took = looked_up(section, work, cal, env)
    if took is None:
        return pair
    took = np.maximum(took - cal["launch"], 0.0)  # which is counted for every kernel
    return surfaces.Pair(*(np.where(np.isnan(took), own, took) for own in pair))


def looked_up(section: Section, work: Work, cal: Calibration, env: Env) -> Any:
    """Measured seconds of a section that is one product, NaN where its shape was not measured.

    None where there are no measurements, or the section is more than one kernel.
    """
    if cal.tables is None or section.kind != "product" or section.launches != 1:
        return None
    if not section.depth.terms or not work.matrix.terms or work.part == "attention":
        return None
    held = [env[name] for name in section.bytes.symbols if name.startswith("w:")]
    weights, depth = section.weights(env), section.depth(env)
    if not held or not np.all(np.asarray(weights) > 0):
        return None
    fmt = (sum(held) / len(held), product_peak(section, env, 1.0))
    rows = np.asarray(work.matrix(env) / (2 * weights))
    return cal.tables.product(fmt, rows, weights / depth, depth)


def _scan(held: States, work: Work, machine: Machine, cal: Calibration, env: Env) -> Busy:
    """New positions in chunks, or one by one where that is less arithmetic; states by sequence."""
    if work.part == "seqs":
        return Busy("seqs", "seqs", 0.0, 0.0, scans.recurrent(machine, cal, work.bytes(env)))
    shape = held.shape(env)
    pair = scans.chunked(machine, cal, env["full_peak"], shape, env["tokens"], work.bytes(env))
    alone = work.vector(env) / (vector_peak(machine) * cal["vector"])
    return Busy(work.part, work.part, np.minimum(pair.matrix, alone), 0.0, pair.memory)


def _joined(section: Section, machine: Machine, cal: Calibration, env: Env) -> Any:
    """Where sequences decode over latents: outputs as wide as these, joined from their parts.

    Rows of queries follow from what a token's outputs hold, over the widest state they read.
    """
    one = {**env, "tokens": 1.0, **{n: 1.0 for n in section.bytes.symbols if "context" in n}}
    wide = max(float(np.max(m.bytes(one | {"tokens": 0.0}) / env["cb"]))
               for m in section.reads if m.role == "state")  # fmt: skip
    outputs = sum(m.bytes(one) for m in section.writes) / env["ab"]
    return surfaces.joined(machine, cal, env["seqs"], outputs / wide, wide)


def _unseen(section: Section, machine: Machine, cal: Calibration, env: Env) -> Busy:
    """Pairs that queries of prompts pay for beyond those they see.

    Where a part has a form of its own for prompts, tokens are counted in the other one, and these
    few pairs are not counted at all.
    """
    pairs: dict[str, Any] = {
        name: cal["keys"] * env["tokens"]
        for name in section.matrix.symbols
        if name.startswith("pairs:")
    }
    if section.phase or not pairs:
        return Busy("tokens", "tokens", 0.0, 0.0, 0.0)
    works = [w for w in split(section) if w.part == "attention"]
    # What else it computes for each key, as of an indexer, has no such pairs.
    pairs |= {n: 0.0 for n in section.vector.symbols if n.startswith("context:")}
    flops = sum(w.matrix({**env, **pairs}) for w in works)
    others = sum(w.vector({**env, **pairs}) for w in works) / surfaces.SOFTMAX
    took = flops / (env["full_peak"] * cal["attention"])
    took = took + others * surfaces.softmax(machine, cal)
    return Busy("tokens", "tokens", took, 0.0, 0.0)
