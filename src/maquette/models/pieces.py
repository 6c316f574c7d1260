"""Pieces that many families' configurations spell the same way."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from maquette.models.config import (
    Activation,
    Attention,
    Dense,
    Layer,
    Norm,
    Quantised,
    Rope,
    Stretch,
)
from maquette.models.keys import Keys

# How a checkpoint holds what is not quantised; engines serve all of these in 16 bits.
STORED = {name: name for name in ("bfloat16", "float16", "float32")}
ELSEWHERE = ("norm", "indexer", "vision", "visual", "audio")  # no projections of a decoder's layers
ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "relu2": "relu2",
}


# What the width of a head comes of, in one family or another.
WIDTH = ("head_dim", "hidden_size", "num_attention_heads", "d_model", "n_heads", "qk_rope_head_dim",
         "partial_rotary_factor")  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What a family reads: its kinds of layers, their order, and what is particular to it."""

    kinds: dict[str, Layer]
    order: tuple[str, ...]
    norm: Norm
    options: dict[str, Any] = field(default_factory=dict)  # fields of ModelConfig


def uniform(kind: str, layer: Layer, layers: int, norm: Norm, **options: Any) -> Shape:
    return Shape({kind: layer}, (kind,) * layers, norm, options)


def assorted(kinds: dict[str, Layer], order: Sequence[str], norm: Norm, **options: Any) -> Shape:
    """Layers of several kinds; kinds that do not occur are dropped."""
    return Shape({k: v for k, v in kinds.items() if k in order}, tuple(order), norm, options)


def rms(k: Keys, key: str = "rms_norm_eps", default: float = 1e-6, offset: float = 0.0) -> Norm:
    return Norm("rms", k.number(key, default), offset=offset)


def layers(k: Keys, key: str = "num_hidden_layers") -> int:
    return k.count(key, most=10_000)


def activation(k: Keys, key: str = "hidden_act", default: str = "silu") -> Activation:
    return cast(Activation, k.choice(key, ACTIVATIONS, default))


def dense(k: Keys, key: str = "intermediate_size", bias: bool = False) -> Dense:
    return Dense(k.count(key), activation(k), bias=bias)


def attention(k: Keys, bias: bool | None = None, **options: Any) -> Attention:
    """Grouped attention; `bias` of the family, or the key ``attention_bias`` (all four)."""
    heads = k.count("num_attention_heads")
    kv_heads = k.count("num_key_value_heads", heads)
    k.divides("num_key_value_heads", "num_attention_heads", kv_heads, heads)
    out_bias = False
    if bias is None:
        bias = out_bias = k.flag("attention_bias")
    width = head_dim(k, heads)
    given: dict[str, Any] = {"out_bias": out_bias, "rope": rope(k, width)} | options
    return Attention(heads, kv_heads, width, bias=bias, **given)


def head_dim(k: Keys, heads: int) -> int:
    """Features of a head: stated, or an even share of the width."""
    if k.has("head_dim"):
        return k.count("head_dim")
    hidden = k.count("hidden_size")
    k.divides("num_attention_heads", "hidden_size", heads, hidden)
    return max(1, hidden // heads)


def windowed(attn: Attention, window: int | None, **changes: Any) -> Attention:
    return replace(attn, window=window, **changes)


def layer_kinds(k: Keys, names: dict[str, str], default: Sequence[str]) -> tuple[str, ...]:
    """``layer_types`` with its names replaced, or what the family does by default."""
    given = k.items("layer_types")
    for name in sorted({str(n) for n in given} - set(names)):
        k.fault("layer_types", f"{name!r} is not supported", f"one of {', '.join(names)}")
    if given and len(given) != len(default):
        what, expected = f"has {len(given)} entries", f"num_hidden_layers = {len(default)}"
        k.contradiction("layer_types", what, expected, of=("num_hidden_layers",))
    if not given or k.faults:
        return tuple(default)
    return tuple(names[n] for n in given)


def rope(k: Keys, width: int, interleaved: bool = False, theta: float | None = None) -> Rope:
    """Rotary positions of heads `width` features wide."""
    newer = k.table("rope_parameters")
    scaling = k.table("rope_scaling") if k.has("rope_scaling") else newer
    if theta is None:
        theta = newer.number("rope_theta", k.number("rope_theta", 10_000.0))
    if theta <= 1.0:
        k.contradiction("rope_theta", f"{theta} is not above 1", of=("rope_local_base_freq",))
        theta = 2.0
    dims = int(width * k.number("partial_rotary_factor", 1.0))
    if dims % 2:
        k.contradiction("", f"{dims} rotary features cannot be paired", "an even number", WIDTH)
    kind_key = "rope_type" if scaling.has("rope_type") else "type"
    kinds = {"default": "", "linear": "linear", "llama3": "llama3", "yarn": "yarn"}
    kind = scaling.choice(kind_key, kinds, "default")
    context = k.count("max_position_embeddings", 1)
    stretch = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}.get(kind)
    made = stretch(scaling, dims, theta, context) if stretch else None
    return Rope(theta, dims, interleaved, made)


def _linear(k: Keys, dims: int, theta: float, context: int) -> Stretch:
    return Stretch(k.number("factor"))


def _llama3(k: Keys, dims: int, theta: float, context: int) -> Stretch:
    low, high = k.number("low_freq_factor"), k.number("high_freq_factor")
    if low > high:
        what = f"{low} is above high_freq_factor = {high}"
        k.contradiction("low_freq_factor", what, of=("high_freq_factor",))
    high = high if high > low else low * (1 + 1e-9)  # a step in place of a ramp
    original = k.count("original_max_position_embeddings")
    return Stretch(k.number("factor"), "turns", low, high, original)


def _yarn(k: Keys, dims: int, theta: float, context: int) -> Stretch:
    factor = k.number("factor")
    original = k.count("original_max_position_embeddings", max(1, int(context / factor)))

    def number(turns: float) -> float:
        return dims * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    fast, slow = number(k.number("beta_fast", 32.0)), number(k.number("beta_slow", 1.0))
    if k.flag("truncate", True):
        fast, slow = math.floor(fast), math.ceil(slow)
    fast, slow = max(fast, 0), min(slow, dims - 1)
    slow = slow if slow != fast else slow + 0.001
    return Stretch(factor, "number", slow, fast, original, _amplitude(k, factor))


def _amplitude(k: Keys, factor: float) -> float:
    if k.has("attention_factor"):
        return k.number("attention_factor")
    if k.has("mscale") and k.has("mscale_all_dim"):
        mine, all_dims = k.number("mscale"), k.number("mscale_all_dim")
        return magnitude(factor, mine) / magnitude(factor, all_dims)
    return magnitude(factor, 1.0)


def magnitude(factor: float, weight: float) -> float:
    """YaRN's growth of the scores with the stretch of the context."""
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def published_format(k: Keys) -> tuple[str, Quantised]:
    """The number format of the weights as published, and which weights are in it."""
    for key in ("torch_dtype", "dtype"):  # of transformers before 4.56 and since
        if k.has(key):
            k.choice(key, STORED)
    q = k.table("quantization_config")
    if not q.data:
        return "bf16", "none"
    methods = {n: n for n in ("fp8", "fbgemm_fp8", "mxfp4", "awq", "gptq", "compressed-tensors")}
    method = q.choice("quant_method", methods)
    if method == "mxfp4":
        return "mxfp4", "experts"
    which: Quantised = "feed-forward" if _leaves_attention(q, k) else "linear"
    if method in ("fp8", "fbgemm_fp8"):
        return "fp8", which
    if method == "compressed-tensors":
        groups = q.table("config_groups")
        first = next(iter(groups.data), "group_0")
        weights = groups.table(first).table("weights")
        integer = weights.choice("type", {"int": "int", "float": "float"}) == "int"
        bits = weights.count("num_bits")
    else:
        integer, bits = True, q.count("bits")
    name = {(True, 4): "int4", (True, 8): "int8", (False, 8): "fp8"}.get((integer, bits))
    if name is None:
        kind = "integer" if integer else "float"
        q.fault("", f"{bits}-bit {kind} weights are not supported", "int4, int8 or fp8")
    return name or "bf16", which


def _leaves_attention(q: Keys, k: Keys) -> bool:
    """Whether a quantised checkpoint leaves attention's projections as they were, in most layers.

    Parts of it that are no projection of the decoder's, or of a layer or two, do not count.
    """
    lists = ("modules_to_not_convert", "ignored_layers", "ignore")
    left = [str(x) for name in lists if q.has(name) for x in q.items(name)]
    own = [x for x in left if "self_attn" in x and not any(w in x for w in ELSEWHERE)]
    numbers = [re.search(r"layers\.(\d+)\.", x) for x in own]
    if any(n is None for n in numbers):
        return True
    return 2 * len({n[1] for n in numbers if n}) > k.count("num_hidden_layers", 1)
