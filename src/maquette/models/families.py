"""How each architecture's configuration reads: dense decoders and mixtures of experts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

from maquette.models.config import Attention, Dense, Experts, Latent, Layer, Norm, Router
from maquette.models.keys import Keys
from maquette.models.pieces import (
    Shape,
    activation,
    assorted,
    attention,
    dense,
    layer_kinds,
    layers,
    magnitude,
    rms,
    rope,
    uniform,
    windowed,
)

WINDOWS = {"sliding_attention": "local", "full_attention": "full"}


def llama(k: Keys) -> Shape:
    """Llama 1–3, and all that share its shape: CodeLlama, Yi, DeepSeek LLM."""
    layer = Layer(attention(k), dense(k, bias=k.flag("mlp_bias")))
    return uniform("dense", layer, layers(k), rms(k))


def granite(k: Keys) -> Shape:
    """Granite 3: Llama with four fixed multipliers."""
    attn = attention(k, scale=k.number("attention_multiplier", 1.0))
    layer = Layer(attn, dense(k, bias=k.flag("mlp_bias")))
    return uniform("dense", layer, layers(k), rms(k), **granite_scales(k))


def granite_scales(k: Keys) -> dict[str, float]:
    return {
        "embedding_scale": k.number("embedding_multiplier", 1.0),
        "residual_scale": k.number("residual_multiplier", 1.0),
        "logit_scale": 1 / k.number("logits_scaling", 1.0),
    }


def mistral(k: Keys) -> Shape:
    """Mistral: Llama with a window on every layer, where it has one."""
    attn = windowed(attention(k, bias=False), _window(k))
    return uniform("dense", Layer(attn, dense(k)), layers(k), rms(k))


def _window(k: Keys) -> int | None:
    return k.count("sliding_window") if k.has("sliding_window") else None


def mixtral(k: Keys) -> Shape:
    """Mixtral: a mixture of experts in every layer."""
    moe = experts(k, "num_local_experts", "num_experts_per_tok", "intermediate_size", Router())
    attn = windowed(attention(k, bias=False), _window(k))
    return uniform("moe", Layer(attn, moe), layers(k), rms(k, default=1e-5))


def experts(
    k: Keys, count: str, top_k: str, hidden: str, router: Router, **options: Any
) -> Experts:
    """A mixture whose numbers are under the given keys."""
    n, chosen = k.count(count), k.count(top_k)
    if chosen > n:
        k.contradiction(top_k, f"{chosen} chosen experts exceed {count} = {n}", of=(count,))
    expert = options.pop("expert", None) or Dense(k.count(hidden), activation(k))
    return Experts(n, chosen, expert, router, **options)


def qwen2(k: Keys) -> Shape:
    return _qwen(k, attention(k, bias=True, out_bias=False), dense(k))


def qwen3(k: Keys) -> Shape:
    return _qwen(k, attention(k, qk_norm=True), dense(k))


def _qwen(k: Keys, attn: Attention, ffn: Dense) -> Shape:
    n = layers(k)
    first = k.count("max_window_layers", n, least=0) if k.flag("use_sliding_window") else n
    order = layer_kinds(k, WINDOWS, ["full"] * min(first, n) + ["local"] * max(0, n - first))
    kinds = {"full": Layer(attn, ffn)}
    if "local" in order:
        kinds["local"] = Layer(windowed(attn, k.count("sliding_window")), ffn)
    return assorted(kinds, order, rms(k))


def qwen2_moe(k: Keys) -> Shape:
    """Qwen1.5 and Qwen2 mixtures: one gated shared expert."""
    shared = Dense(k.count("shared_expert_intermediate_size"), activation(k))
    attn = attention(k, bias=True, out_bias=False)
    return _qwen_moe(k, attn, False, shared=shared, shared_gate=True)


def qwen3_moe(k: Keys) -> Shape:
    return _qwen_moe(k, attention(k, qk_norm=True), True)


def _qwen_moe(k: Keys, attn: Attention, normalise: bool, **options: Any) -> Shape:
    if k.flag("use_sliding_window"):
        k.fault("use_sliding_window", "is not supported for this architecture", "false")
    router = Router(normalise=k.flag("norm_topk_prob", normalise))
    moe = experts(
        k, "num_experts", "num_experts_per_tok", "moe_intermediate_size", router, **options
    )
    plain, every = k.items("mlp_only_layers"), k.count("decoder_sparse_step", 1)
    order = ["dense" if i in plain or (i + 1) % every else "moe" for i in range(layers(k))]
    kinds = {"moe": Layer(attn, moe)}
    if "dense" in order:
        kinds["dense"] = Layer(attn, dense(k))
    return assorted(kinds, order, rms(k))


def phi3(k: Keys) -> Shape:
    """Phi-3 and Phi-4; their fused weights count as separate ones."""
    attn = windowed(attention(k, bias=False), _window(k))
    return uniform("dense", Layer(attn, dense(k)), layers(k), rms(k, default=1e-5))


def gemma(k: Keys) -> Shape:
    """Gemma: norms scale by one plus their weight, GELU, one table."""
    layer = Layer(attention(k), _gelu(k))
    return uniform("dense", layer, layers(k), rms(k, offset=1.0), **_gemma_scales(k))


def _gemma_scales(k: Keys) -> dict[str, Any]:
    return {"embedding_scale": math.sqrt(k.count("hidden_size")), "tied": True}


def _gelu(k: Keys) -> Dense:
    key = "hidden_activation" if k.has("hidden_activation") else "hidden_act"
    kind = activation(k, key, "gelu_pytorch_tanh")
    return Dense(k.count("intermediate_size"), "gelu_tanh" if kind == "gelu" else kind)


def gemma2(k: Keys) -> Shape:
    """Every other layer looks back on a window; scores and logits are capped."""
    cap = k.number("attn_logit_softcapping") if k.has("attn_logit_softcapping") else None
    final = k.number("final_logit_softcapping") if k.has("final_logit_softcapping") else None
    attn = attention(k, softcap=cap, scale=k.number("query_pre_attn_scalar", 256.0) ** -0.5)
    order = [("local", "full")[i % 2] for i in range(layers(k))]
    options = {"sandwich": True, "logit_softcap": final}
    return _gemma_layers(k, attn, attn, order, **options)


def gemma3(k: Keys) -> Shape:
    """Five windowed layers, with their own rotary base, for every full one."""
    scale = k.number("query_pre_attn_scalar", 256.0) ** -0.5
    attn = attention(k, qk_norm=True, scale=scale)
    slow = rope(Keys({"max_position_embeddings": 1}, k.where, k), attn.head_dim,
                theta=k.number("rope_local_base_freq", 10_000.0))  # fmt: skip
    every = k.count("sliding_window_pattern", 6)
    order = ["local" if (i + 1) % every else "full" for i in range(layers(k))]
    return _gemma_layers(k, replace(attn, rope=slow), attn, order, sandwich=True)


def _gemma_layers(
    k: Keys, local: Attention, full: Attention, default: list[str], **options: Any
) -> Shape:
    ffn = _gelu(k)
    kinds = {
        "local": Layer(windowed(local, k.count("sliding_window", 4096)), ffn),
        "full": Layer(full, ffn),
    }
    order = layer_kinds(k, WINDOWS, default)
    return assorted(kinds, order, rms(k, offset=1.0), **_gemma_scales(k), **options)


def gpt_oss(k: Keys) -> Shape:
    """Windowed and full layers in turn, attention sinks, biases everywhere, clamped SwiGLU."""
    limit = k.number("swiglu_limit", 7.0)
    if limit != 7.0:
        k.fault("swiglu_limit", f"{limit} is not supported", "7.0")
    expert = Dense(k.count("intermediate_size"), "clamped_swiglu", bias=True)
    router = Router(bias=True)
    moe = experts(
        k, "num_local_experts", "num_experts_per_tok", "intermediate_size", router, expert=expert
    )
    bias = k.flag("attention_bias", True)
    attn = attention(k, bias=bias, out_bias=bias, sinks=True)
    order = layer_kinds(k, WINDOWS, [("local", "full")[i % 2] for i in range(layers(k))])
    kinds = {
        "local": Layer(windowed(attn, k.count("sliding_window", 128)), moe),
        "full": Layer(attn, moe),
    }
    return assorted(kinds, order, rms(k, default=1e-5))


def dbrx(k: Keys) -> Shape:
    """DBRX: layer norms without bias, bounded projections, 16 fine-grained experts."""
    a, f = k.table("attn_config"), k.table("ffn_config")
    heads, hidden = k.count("n_heads"), k.count("d_model")
    k.divides("n_heads", "d_model", heads, hidden)
    kv_heads = a.count("kv_n_heads", 1)
    a.divides("kv_n_heads", "n_heads", kv_heads, heads)
    clip = a.number("clip_qkv") if a.has("clip_qkv") else None
    turn = rope(Keys({"max_position_embeddings": 1}, k.where, k), hidden // heads,
                theta=a.number("rope_theta", 10_000.0))  # fmt: skip
    attn = Attention(heads, kv_heads, hidden // heads, turn, clip=clip)
    if f.count("moe_normalize_expert_weights", 1) != 1:
        f.fault("moe_normalize_expert_weights", "is not supported", "1")
    act = activation(f.table("ffn_act_fn"), "name", "silu")
    expert = Dense(f.count("ffn_hidden_size"), act)
    moe = experts(f, "moe_num_experts", "moe_top_k", "", Router(), expert=expert)
    norm = Norm("layer", 1e-5)
    return uniform("moe", Layer(attn, moe), layers(k, "n_layers"), norm)


def arctic(k: Keys) -> Shape:
    """Every layer a dense part of width d_model on the residual, beside a mixture of experts."""
    n, every = layers(k), k.count("moe_layer_frequency", 1)
    router = Router(normalise=k.count("num_experts_per_tok") > 1)
    residual = Dense(k.count("hidden_size"), activation(k))
    moe = experts(
        k, "num_local_experts", "num_experts_per_tok", "intermediate_size", router,
        residual=residual if k.flag("use_residual", True) else None,
    )  # fmt: skip
    attn = attention(k, bias=False)
    kinds = {"moe": Layer(attn, moe), "dense": Layer(attn, dense(k))}
    order = ["dense" if (i + 1) % every else "moe" for i in range(n)]
    return assorted(kinds, order, rms(k, default=1e-5))


def deepseek_v2(k: Keys) -> Shape:
    """Latent attention, fine-grained experts with shared ones, softmax scores."""
    methods = {"greedy": "plain", "gready": "plain", "group_limited_greedy": "grouped"}
    grouped = k.choice("topk_method", methods, "greedy") == "grouped"
    return _deepseek(k, "softmax", grouped, normalise=False, correction=False, group_top=1)


def deepseek_v3(k: Keys) -> Shape:
    """Latent attention, sigmoid scores steered by a learnt bias, the best two of each group."""
    return _deepseek(k, "sigmoid", True, normalise=True, correction=True, group_top=2)


def _deepseek(
    k: Keys,
    scoring: Literal["softmax", "sigmoid"],
    grouped: bool,
    normalise: bool,
    correction: bool,
    group_top: int,
) -> Shape:
    groups = k.count("n_group", 1) if grouped else 1
    kept = k.count("topk_group", groups) if grouped else 1
    k.divides("n_group", "n_routed_experts", groups, k.count("n_routed_experts"))
    normal = k.flag("norm_topk_prob", normalise)
    scale = k.number("routed_scaling_factor", 1.0)
    # DeepSeek-V2 scales the weights only where it does not normalise them.
    if scoring == "softmax" and normal:
        scale = 1.0
    router = Router(scoring, normal, scale, False, correction, groups, kept, group_top)
    shared = k.count("n_shared_experts", 0, least=0) if k.has("n_shared_experts") else 0
    width = k.count("moe_intermediate_size")
    moe = experts(
        k, "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", router,
        shared=Dense(shared * width, activation(k)) if shared else None,
    )  # fmt: skip
    mla = _latent(k)
    first, every = k.count("first_k_dense_replace", 0, least=0), k.count("moe_layer_freq", 1)
    order = ["moe" if i >= first and i % every == 0 else "dense" for i in range(layers(k))]
    kinds = {"dense": Layer(mla, dense(k)), "moe": Layer(mla, moe)}
    return assorted(kinds, order, rms(k))


def _latent(k: Keys) -> Latent:
    rope_dim, nope_dim = k.count("qk_rope_head_dim"), k.count("qk_nope_head_dim")
    scale = (rope_dim + nope_dim) ** -0.5
    scaling = k.table("rope_scaling")
    if scaling.has("mscale_all_dim"):
        scale *= magnitude(scaling.number("factor"), scaling.number("mscale_all_dim")) ** 2
    return Latent(
        heads=k.count("num_attention_heads"),
        q_rank=k.count("q_lora_rank") if k.has("q_lora_rank") else None,
        kv_rank=k.count("kv_lora_rank"),
        nope_dim=nope_dim,
        value_dim=k.count("v_head_dim"),
        rope=rope(k, rope_dim, interleaved=True),
        scale=scale,
        bias=k.flag("attention_bias"),
    )
