"""Intervals hold what they say, on machines whose constants are known.

In full: docs/coverage.md.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from maquette.validate import trial
from maquette.validate.validation import validate

FEW = tuple((b, i, o, 1) for b in (1, 8, 64) for i, o in ((128, 256), (1024, 128)))
WORLD = trial.World(
    machines=("h100-sxm",), models=("llama-2-7b", "qwen2-7b"), shapes=FEW,
    serving=False,
)  # fmt: skip


def test_rows_of_unseen_models_lie_inside_their_intervals(known):
    runs = (trial.run(WORLD, known, seed, ("model",), ("static",)) for seed in (1, 2, 3))
    found = trial.pooled(one for run in runs for one in run)
    assert {(f.way, f.lane, f.quantity) for f in found} == {
        ("model", "static", "ttft"), ("model", "static", "e2e"),
    }  # fmt: skip
    inside = np.concatenate([f.inside for f in found])
    gap = np.concatenate([f.gap for f in found])
    width = np.concatenate([f.width for f in found])
    assert len(inside) == 3 * 24 and 0.6 < inside.mean() < 0.95
    # Not by being wide: a normal of the spread seen would need about as much.
    assert np.median(width) < 2 * 2.56 * gap.std()


def test_serving_rows_of_the_truth_lie_inside(known, tmp_path):
    """Priced by the very constants that made them, what is left is chance."""
    world = trial.World(machines=("h100-sxm",), models=("llama-3-8b",), shapes=FEW[:2])
    inside = []
    for seed in (5, 6):
        trial.write(tmp_path, world, known, seed)
        truths = trial.truths(world, known, np.random.default_rng(seed))
        cal = replace(truths["h100-sxm"], residual=0.05)
        shelf = replace(known, calibration=lambda machine, engine, cal=cal: cal)
        found = validate(tmp_path, shelf, ("stages", "closed"))
        n = sum(g.errors.n for g in found.groups)
        inside.append(sum(g.coverage_80 * g.errors.n for g in found.groups) / n)
        assert n == 2 * 4 + 2 * 2
    assert np.mean(inside) > 0.7
    assert {s.quantity for s in found.summaries} == {"ttft", "ttft_p99", "tpot", "e2e"}


def test_the_same_seed_gives_the_same_bytes(known, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trial.write(tmp_path / name, WORLD, known, 7)
    (a,), (b,) = ([*(tmp_path / n).iterdir()] for n in ("a", "b"))
    assert a.read_bytes() == b.read_bytes()


def test_relatives_resemble_the_first(known):
    world = trial.World(apart=0.0)
    first, second = trial.truths(world, known, np.random.default_rng(0)).values()
    assert first.values == pytest.approx(second.values)
