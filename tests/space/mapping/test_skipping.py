"""Blocks that a mask leaves empty are left out: closed forms, and what it saves a mapping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.fuse.programs import causal
from maquette.catalogue.machines import machine
from maquette.compiler.fuse import parse_kernel
from maquette.ir.graph import Graph
from maquette.space.mapping import Options, mapped, part, stages
from maquette.space.mapping.skipping import live

SN40L = machine("sn40l")
HBM = dict.fromkeys(("weight", "state", "activation", "index"), "hbm")


def fold(condition, s, t):
    return parse_kernel(f"""kernel fold
  extent s={s}, t={t}
  in x f32[s, t] strides {t}, 1
  out m f32[s] strides 1
  f32 e[s, t] = exp(%x)
  f32 m[s] = max over t: where({condition}, %e, -inf)
""")


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_of_a_causal_mask_the_triangle_is_left(n):
    """n (n + 1) / 2 of n² blocks, of the fold and of what is made for it alone."""
    found = live(fold("t <= s", 16 * n, 16 * n), 16)
    if n == 1:
        assert found == {}
    else:
        assert found == {"m": (n + 1) / (2 * n), "e": (n + 1) / (2 * n)}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["t <= s", "t <= s + 24", "and(t <= s, s - t < 20)", "t >= s + 8", "t != s",
                     "or(t <= s, t < 8)", "not(t <= s)", "t < 30"]),
    st.integers(1, 70), st.integers(1, 70), st.sampled_from([4, 8, 16]),
)  # fmt: skip
def test_no_block_that_holds_something_is_left_out(condition, s, t, block):
    """No fewer than the blocks of any position that the condition lets through, row by row."""
    kernel = fold(condition, s, t)
    rows, columns = np.arange(s)[:, None], np.arange(t)[None]
    text = condition.replace("and(", "np.logical_and(").replace("or(", "np.logical_or(")
    text = text.replace("np.logical_and(np.logical_or(", "np.logical_and(").replace("not(", "~(")
    mask = np.broadcast_to(eval(text, {"np": np, "s": rows, "t": columns}), (s, t))
    kept = 0
    for r in range(0, s, block):
        for c in range(0, t, block):
            piece = mask[r : r + block, c : c + block]
            kept += piece.size if piece.any() else 0
    share = live(kernel, block).get("m", 1.0)
    assert share >= kept / (s * t) - 1e-12
    if condition in ("t <= s", "t <= s + 24", "and(t <= s, s - t < 20)", "t < 30"):
        assert share == pytest.approx(kept / (s * t))  # one interval a block of rows: exactly


def test_a_mask_that_is_no_fold_s_identity_leaves_all():
    assert live(fold("t <= s", 64, 64), 16)
    kernel = parse_kernel("""kernel fold
  extent s=64, t=64
  in x f32[s, t] strides 64, 1
  out m f32[s] strides 1
  f32 m[s] = max over t: where(t <= s, %x, 0.0)
""")
    assert live(kernel, 16) == {}


def test_what_is_stored_is_made_everywhere():
    kernel = parse_kernel("""kernel fold
  extent s=64, t=64
  in x f32[s, t] strides 64, 1
  out e f32[s, t] strides 64, 1
  out m f32[s] strides 1
  f32 e[s, t] = exp(%x)
  f32 m[s] = max over t: where(t <= s, %e, -inf)
""")
    assert live(kernel, 16).keys() == {"m"}


def attention(s):
    return part(Graph("attention", {"y": causal(b=1, h=4, s=s, d=64).value}), {})


@pytest.mark.parametrize("s", [256, 1024])
def test_a_long_prompt_takes_half_the_work_and_half_the_words(s):
    whole = attention(s)
    every = stages(whole, 1, SN40L.fabric, HBM)
    folds = {x.name for x in every if x.live < 1}
    assert folds and {x.live for x in every} - {1.0} == {(s / 16 + 1) / (2 * s / 16)}
    found = mapped(whole, SN40L, Options(tiles=(1,), cuts=()))
    before = {x.name: x for x in every}
    for share in found.sections[0].shares:
        then, now = before[share.stage.name], share.stage
        assert now.work == pytest.approx(then.work * then.live)
        assert now.port == pytest.approx(then.port * then.live)
    full = sum(x.work for x in every)
    assert sum(x.stage.work for x in found.sections[0].shares) < 0.56 * full
