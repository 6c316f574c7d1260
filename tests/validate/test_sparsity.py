"""Flops of sparse training against published factors and a closed form."""

from __future__ import annotations

import json

import pytest

from maquette.catalogue.engines import engine
from maquette.catalogue.models import model
from maquette.compiler.lower import lower
from maquette.models.decoder import program
from maquette.validate.sparsity import flop_reduction


@pytest.fixture(scope="module")
def gpt3_xl(tmp_path_factory):
    """Sizes of GPT-3 XL; 8·d² weights of its feed-forward layers, in three matrices."""
    sizes = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 2048,
        "intermediate_size": 5461, "num_hidden_layers": 24, "num_attention_heads": 16,
        "num_key_value_heads": 16, "vocab_size": 50257, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    }  # fmt: skip
    path = tmp_path_factory.mktemp("gpt3-xl") / "config.json"
    path.write_text(json.dumps(sizes))
    return lower(program(model(str(path))), engine("vendor"))


@pytest.mark.parametrize(("sparsity", "published"), [(0.75, 2.5), (0.838, 3.0), (0.5, 1.67)])
def test_published_factors_within_two_percent(gpt3_xl, sparsity, published):
    found = flop_reduction(gpt3_xl, 2048, sparsity, causal=False)
    assert found == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("causal", [True, False])
def test_closed_form(gpt3_xl, causal):
    """12·L·d² weights shrink; 2·S·d·L of attention (half of it under a mask) and V·d do not."""
    d, layers, s, v = 2048, 24, 2048, 50257
    pairs = (s + 1) / 2 if causal else s
    big, attention, head = 12 * layers * d**2, 2 * pairs * d * layers, v * d
    found = flop_reduction(gpt3_xl, s, 0.75, causal=causal)
    whole = big + attention + head
    assert found == pytest.approx(whole / (whole - 0.75 * big), rel=2e-3)


def test_nothing_pruned_saves_nothing(gpt3_xl):
    assert flop_reduction(gpt3_xl, 2048, 0.0) == 1.0
