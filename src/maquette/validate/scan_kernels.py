"""Measured scans: linear attention and state spaces, of prompts in chunks and step by step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from maquette.machines.facts import bandwidth
from maquette.machines.types import Machine
from maquette.price import scans
from maquette.price.calibration import Calibration
from maquette.price.rates import matrix_peak
from maquette.price.scans import DELTA, LINEAR, Rule
from maquette.validate.rows import NEVER, Floats, Table
from maquette.validate.shelf import Shelf
from maquette.validate.sort import Sort

OUTPUTS = Rule(
    0.0, 1.0, 1.0, 0.5, passes=40.0
)  # the last kernel of Mamba-2 alone: scores are given, states too
RULES = {"delta": DELTA, "chunk scan": OUTPUTS}  # words in a rule's name; all others are linear
KERNELS, ALONE = 6.0, 1.0  # launched for a prompt: sums, scores, inverse, keys, states, outputs


def scan(table: Table, machine: Machine, _: Shelf) -> Iterator[Sort]:
    """Rows by rule: flops and bytes of a chunk differ, and so do the kernels behind them."""
    rules = np.array([str(w).lower() for w in table.words("rule", "linear")])
    phase = np.array([str(p).lower() for p in table.words("phase")])
    decode = np.array(["gen" in p or "dec" in p for p in phase])
    fused = np.array([str(w).lower() not in ("", *NEVER) for w in table.words("fused")])
    for name in sorted(set(rules)):
        rule = next((r for word, r in RULES.items() if word in name), LINEAR)
        for whole in (False, True):
            here = (rules == name) & (fused == whole)
            if np.any(here & ~decode):
                yield _prompts(table, machine, rule, here & ~decode, whole, name)
        if np.any((rules == name) & decode):
            yield _steps(table, machine, (rules == name) & decode, name)


def _prompts(
    table: Table, machine: Machine, rule: Rule, here: np.ndarray, fused: bool, name: str
) -> Sort:
    shape, positions, length = _shape(table, rule)
    moved = _moved(table)
    launches = ALONE if fused or rule is OUTPUTS else KERNELS
    peak = matrix_peak(machine, "bf16")

    def predict(cal: Calibration) -> Floats:
        pair = scans.chunked(machine, cal, peak, shape, positions, moved, length, fused)
        return np.asarray(pair.longest + launches * cal["launch"])

    area = shape.keys * shape.values
    inside = shape.chunk * (rule.keys * shape.keys + rule.values * shape.values)
    flops = shape.heads * positions * (inside + 2.0 * rule.state * area) / peak
    known = here & np.isfinite(flops) & np.isfinite(moved)
    said = name if name.endswith("scan") else f"{name} scan"
    said += ", one kernel" if fused else ""
    light = flops, moved / float(bandwidth(machine))
    return Sort(said, "scans", known, predict, *light, np.zeros_like(known))


def _steps(table: Table, machine: Machine, here: np.ndarray, name: str) -> Sort:
    shape, _, _ = _shape(table, LINEAR)
    each = table.values("state_bytes", 2.0)
    state = 2.0 * each * table.values("batch") * shape.heads * shape.keys * shape.values
    total = state + _moved(table)

    def predict(cal: Calibration) -> Floats:
        return np.asarray(scans.recurrent(machine, cal, total) + cal["launch"])

    known = here & np.isfinite(total)
    light = 0.0 * total, total / float(bandwidth(machine))
    return Sort(f"{name} decode", "scans", known, predict, *light, np.zeros_like(known))


def _shape(table: Table, rule: Rule) -> tuple[scans.Shape, Floats, Floats]:
    """Heads and chunks, positions of all prompts, and of the longest."""
    length = table.values("input_tokens", 1.0)
    shape = scans.Shape(
        table.values("heads"),
        table.values("state_dim"),
        table.values("head_dim"),
        table.values("chunk", 64.0),
        rule,
    )
    return shape, table.values("batch") * length, length


def _moved(table: Table) -> Floats:
    """Bytes of queries, keys, values and outputs, in 16 bits."""
    heads, keys, values = (table.values(c) for c in ("heads", "state_dim", "head_dim"))
    asked = table.values("qk_heads")
    asked = np.where(np.isnan(asked), heads, asked)
    length = table.values("input_tokens", 1.0)
    return 2.0 * table.values("batch") * length * 2.0 * (asked * keys + heads * values)
