"""Counts out of the Programs equal what was published."""

from __future__ import annotations

from decimal import Decimal

import pytest

from maquette.catalogue.models import model, names, row
from maquette.ir.dtypes import DType
from maquette.models.facts import (
    flops_per_token,
    kv_bytes_per_token,
    parameters,
    recurrent_bytes,
    state_bytes,
    weight_bytes,
)

WANTED = [
    "llama-2-7b", "llama-2-13b", "llama-2-70b", "llama-3-8b", "llama-3-70b", "llama-3.1-8b",
    "llama-3.1-70b", "llama-3.1-405b", "codellama-34b", "mistral-7b", "qwen2-7b", "qwen2.5-7b",
    "qwen2-72b", "qwen2.5-72b", "qwen3-32b", "qwen3-30b-a3b", "qwen3-235b-a22b", "mixtral-8x7b",
    "mixtral-8x22b", "dbrx", "arctic", "deepseek-67b", "deepseek-v2", "deepseek-v3",
    "gpt-oss-120b", "gpt-oss-20b", "mamba2-2.7b", "bamba-9b", "granite-4.0-h-small",
]  # fmt: skip


def last_digit(count: int) -> int:
    """What one unit of the last digit that is not zero is worth: 12.9B → 0.1B."""
    return 10 ** Decimal(count).normalize().as_tuple().exponent


def test_the_catalogue_has_what_it_must():
    assert not set(WANTED) - set(names())


@pytest.mark.parametrize("name", names())
def test_total_parameters_are_the_published_ones(name):
    """Within 0.5 %; a figure published in whole billions may instead round to the same one."""
    found, stated = parameters(model(name)).total, row(name).parameters.total
    near = abs(found - stated) <= 0.005 * stated
    assert near or abs(found - stated) <= last_digit(stated) / 2 <= 1e9


@pytest.mark.parametrize("name", [n for n in names() if row(n).parameters.active])
def test_active_parameters_are_the_published_ones(name):
    """Within 0.5 %, or within the last digit given, since some round and some cut."""
    config, stated = model(name), row(name).parameters
    found = parameters(config).active
    if stated.active_embedding:
        found += config.vocab * config.d_model
    assert abs(found - stated.active) <= max(0.005 * stated.active, last_digit(stated.active))


def test_dense_models_use_all_but_the_embedding_table():
    config = model("llama-3.1-8b")
    found = parameters(config)
    assert found.total - found.active == (config.vocab - 1) * config.d_model
    tied = parameters(model("llama-3.2-1b"))
    assert tied.active == tied.total


def test_deepseek_v2_keeps_93_3_percent_less_than_deepseek_67b():
    """arXiv:2405.04434: DeepSeek-V2 is deployed with its cache at 6 bits on average (§3.2.3)."""
    before = kv_bytes_per_token(model("deepseek-67b"), "bf16")
    after = kv_bytes_per_token(model("deepseek-v2"), DType("kv6", "float", 6))
    assert 1 - after / before == pytest.approx(0.933, abs=0.0005)
    assert before == 95 * 2 * 8 * 128 * 2


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("llama-2-7b", 32 * 2 * 32 * 128),
        ("llama-3.1-70b", 80 * 2 * 8 * 128),
        ("deepseek-v3", 61 * (512 + 64)),
        ("bamba-9b", 3 * 2 * 8 * 128),
        ("mamba2-2.7b", 0),
        ("llama-4-scout", 48 * 2 * 8 * 128),
        ("gpt-j-6b", 28 * 2 * 16 * 256),
        ("falcon-180b", 80 * 2 * 8 * 64),
        ("nemotron-3-nano-30b-a3b", 6 * 2 * 2 * 128),
        ("glm-4.5-air", 46 * 2 * 8 * 128),
    ],
)
def test_kv_cache_per_token(name, elements):
    assert kv_bytes_per_token(model(name)) == elements * 2
    assert kv_bytes_per_token(model(name), "fp8") == elements


def test_windowed_layers_stop_growing():
    config = model("gpt-oss-120b")
    per_layer = 2 * 8 * 64 * 2
    assert state_bytes(config, 100) == 36 * per_layer * 100
    assert state_bytes(config, 5000) == 18 * per_layer * (128 + 5000)


def test_vision_encoder_of_llama_4_is_what_is_left_out():
    """Counted by hand from vision_config: 34 layers 1408 wide, patches of 14 × 14 of 336 × 336."""
    d, hidden, up = 1408, 5632, 4096
    layer = 4 * (d * d + d) + (d * hidden + hidden) + (hidden * d + d) + 4 * d
    ends = 3 * 14 * 14 * d + d + (24 * 24 + 1) * d + 4 * d
    vision = 34 * layer + ends + hidden * up + up * up + up * 5120
    assert vision == 871_932_416
    for name, shown in (("scout", 108_641_793_536), ("maverick", 401_583_781_376)):
        assert parameters(model(f"llama-4-{name}")).total + vision == shown


def test_chunks_stop_growing_at_a_chunk():
    config, per_layer = model("llama-4-maverick"), 2 * 8 * 128 * 2
    assert state_bytes(config, 20_000) == per_layer * (36 * 8192 + 12 * 20_000)


def test_recurrent_state_is_that_of_the_paper():
    """64 layers of 80 heads · 64 · 128 in single precision, and 3 rows of convolution inputs."""
    layer = 80 * 64 * 128 * 4 + 3 * (80 * 64 + 2 * 128) * 2
    assert recurrent_bytes(model("mamba2-2.7b")) == 64 * layer
    assert state_bytes(model("mamba2-2.7b"), 9999) == 64 * layer


@pytest.mark.parametrize(
    ("name", "size"), [("gpt-oss-120b", 60.8 * 2**30), ("gpt-oss-20b", 12.8 * 2**30)]
)
def test_published_checkpoint_sizes(name, size):
    """gpt-oss model card (arXiv:2508.10925), table 1: experts in MXFP4, the rest in 16 bits."""
    assert weight_bytes(model(name)) == pytest.approx(size, rel=0.005)


def test_weight_formats():
    config = model("llama-3.1-8b")
    total = parameters(config).total
    assert weight_bytes(config) == weight_bytes(config, "bf16") == 2 * total
    kept = 2 * config.vocab * config.d_model + (2 * 32 + 1) * config.d_model
    assert weight_bytes(config, "fp8") == (total - kept) + 2 * kept


def test_flops_of_a_token_are_two_per_weight_and_attention():
    """Matrix work alone is 2 · weights + 4 · layers · context · heads · head_dim."""
    config, context = model("llama-3.1-8b"), 4096
    closed = 2 * parameters(config).active + 4 * 32 * context * 32 * 128
    assert flops_per_token(config, context) == pytest.approx(closed, rel=0.01)
