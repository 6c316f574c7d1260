"""How configurations read whose layers run attention and feed-forward part side by side."""

from __future__ import annotations

from maquette.models.config import Attention, Dense, Layer, Norm, Rope
from maquette.models.keys import Keys
from maquette.models.pieces import Shape, activation, layers, rope, uniform


def gptj(k: Keys) -> Shape:
    """GPT-J: one norm ahead of both halves, rotary positions on part of each head, in pairs."""
    heads, width = k.count("n_head"), k.count("n_embd")
    k.divides("n_head", "n_embd", heads, width)
    each = max(1, width // heads)
    dims = k.count("rotary_dim", each)
    if dims % 2 or dims > each:
        what, expected = f"{dims} is no even part of a head", f"an even number to {each}"
        k.contradiction("rotary_dim", what, expected, of=("n_head", "n_embd"))
    attn = Attention(heads, heads, each, Rope(10_000.0, dims, interleaved=True))
    kind = activation(k, "activation_function", "gelu_new")
    ffn = Dense(k.count("n_inner", 4 * width), kind, gated=False, bias=True)
    norm = Norm("layer", k.number("layer_norm_epsilon", 1e-5), bias=True)
    options = {"parallel": 1, "head_bias": True}
    return uniform("dense", Layer(attn, ffn), layers(k, "n_layer"), norm, **options)


def falcon(k: Keys) -> Shape:
    """Falcon: one key-value head (7B) or several (40B, 180B), and then a norm for each half."""
    if k.flag("alibi"):
        k.fault("alibi", "is not supported", "false")
    newer, bias = k.flag("new_decoder_architecture"), k.flag("bias")
    heads, width = k.count("num_attention_heads"), k.count("hidden_size")
    k.divides("num_attention_heads", "hidden_size", heads, width)
    several = newer or not k.flag("multi_query", True)
    kv_heads = k.count("num_kv_heads", heads) if several else 1
    k.divides("num_kv_heads", "num_attention_heads", kv_heads, heads)
    each = max(1, width // heads)
    attn = Attention(heads, kv_heads, each, rope(k, each), bias=bias, out_bias=bias)
    kind = activation(k, "activation", "gelu")
    ffn = Dense(k.count("ffn_hidden_size", 4 * width), kind, gated=False, bias=bias)
    norm = Norm("layer", k.number("layer_norm_epsilon", 1e-5), bias=True)
    norms = k.count("num_ln_in_parallel_attn", 2 if newer else 1, most=2)
    return uniform(
        "dense", Layer(attn, ffn), layers(k), norm,
        parallel=norms if newer or k.flag("parallel_attn", True) else 0,
        # What transformers takes where nothing is said.
        context=k.count("max_position_embeddings", 2048),
        tied=k.flag("tie_word_embeddings", True),
    )  # fmt: skip
