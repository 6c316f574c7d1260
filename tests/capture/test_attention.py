"""Attention however it is written means what torch computes, and its masks are comparisons."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from capture.oracle import same  # noqa: E402
from capture.spellings import SPELLINGS  # noqa: E402
from maquette.ir import Input, show  # noqa: E402


def operands(heads=4, groups=4, s=9, d=8):
    torch.manual_seed(0)
    return torch.randn(2, heads, s, d), *torch.randn(2, 2, groups, s, d).unbind()


@pytest.mark.parametrize("name", SPELLINGS)
def test_every_spelling_means_what_torch_computes(name):
    captured = same(SPELLINGS[name], *operands(groups=2 if name.startswith("gqa") else 4))
    assert not captured.constants
    assert {v.name for v in captured.graph.values if isinstance(v, Input)} == {"q", "k", "v"}
    assert " rename " not in show(captured.graph)


@pytest.mark.parametrize(
    "name", ["boolean_causal", "additive_causal", "where_causal", "fused_causal"]
)
def test_a_causal_mask_is_a_comparison_of_coordinates(name):
    text = show(same(SPELLINGS[name], *operands()).graph)
    assert any(test in text for test in ("t > s", "t <= s", "s >= t"))
    masks = [
        line for line in text.splitlines() if line.strip().startswith("%") and "[s=9, t=9]" in line
    ]
    assert not masks
