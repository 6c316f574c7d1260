"""How the configurations of state-space models and hybrids read."""

from __future__ import annotations

import math

from maquette.models.config import Dense, Experts, Layer, Norm, Router, StateSpace
from maquette.models.families import experts, granite_scales
from maquette.models.keys import Keys
from maquette.models.pieces import (
    Shape,
    activation,
    assorted,
    attention,
    dense,
    layer_kinds,
    layers,
    rms,
    uniform,
)

HYBRID = {"mamba": "mamba", "attention": "full"}
# What heads of state-space layers are counted by, as transformers writes it.
SIZES = ("expand", "mamba_expand", "hidden_size", "head_dim", "mamba_d_head")


def mamba2(k: Keys) -> Shape:
    """Mamba-2 as transformers writes it."""
    hidden, width = k.count("hidden_size"), k.count("head_dim", 64)
    inner = int(k.number("expand", 2.0) * hidden)
    heads = k.count("num_heads", inner // width)
    if heads * width != inner:
        what = f"{heads} heads of {width} are not expand · hidden_size = {inner}"
        k.contradiction("num_heads", what, of=SIZES)
    mixer = StateSpace(
        heads=heads,
        head_dim=width,
        state=k.count("state_size", 128),
        groups=k.count("n_groups", 8),
        conv=k.count("conv_kernel", 4),
        conv_bias=k.flag("use_conv_bias", True),
        bias=k.flag("use_bias"),
        dt_range=_range(k, "time_step_limit"),
    )
    k.divides("n_groups", "num_heads", mixer.groups, heads, of=SIZES)
    norm = rms(k, "layer_norm_epsilon", 1e-5)
    return uniform("mamba", Layer(mixer, None), layers(k), norm)


def mamba2_original(k: Keys) -> Shape:
    """Mamba-2 as its authors write it: ``d_model``, ``n_layer`` and a table ``ssm_cfg``."""
    ssm = k.table("ssm_cfg")
    ssm.choice("layer", {"Mamba2": "Mamba2"}, "Mamba1")
    if k.items("attn_layer_idx"):
        k.fault("attn_layer_idx", "attention layers are not supported", "an empty list")
    if k.has("d_intermediate") and k.data["d_intermediate"] != 0:
        k.fault("d_intermediate", "feed-forward parts are not supported", "0")
    width, inner = ssm.count("headdim", 64), ssm.count("expand", 2) * k.count("d_model")
    ssm.divides("headdim", "expand · d_model", width, inner, of=("expand", "d_model"))
    mixer = StateSpace(
        heads=inner // width,
        head_dim=width,
        state=ssm.count("d_state", 128),
        groups=ssm.count("ngroups", 1),
        conv=ssm.count("d_conv", 4),
    )
    multiple = k.count("pad_vocab_size_multiple", 8)
    padded = math.ceil(k.count("vocab_size") / multiple) * multiple
    options = {"tied": k.flag("tie_embeddings", True), "vocab": padded}
    return uniform("mamba", Layer(mixer, None), layers(k, "n_layer"), Norm("rms", 1e-5), **options)


def bamba(k: Keys) -> Shape:
    """Mamba-2 and attention layers, each followed by a feed-forward part."""
    at = k.items("attn_layer_indices")
    n = layers(k)
    for index in at:
        if not isinstance(index, int) or not 0 <= index < n:
            what, expected = f"{index!r} is not a layer", f"0 … {n - 1}"
            k.contradiction("attn_layer_indices", what, expected, of=("num_hidden_layers",))
    default = ["full" if i in at else "mamba" for i in range(n)]
    ffn = dense(k, bias=k.flag("mlp_bias"))
    rotary = Keys({"partial_rotary_factor": 0.5, **k.data}, k.where, k)
    kinds = {"mamba": Layer(_mamba(k), ffn), "full": Layer(attention(rotary, bias=False), ffn)}
    return assorted(kinds, layer_kinds(k, HYBRID, default), rms(k, default=1e-5))


def granite_hybrid(k: Keys) -> Shape:
    """Granite 4: Mamba-2 and a few attention layers without positions, over experts."""
    n = layers(k)
    positions = {"rope": True, "nope": ""}
    attn = attention(k, scale=k.number("attention_multiplier", 1.0))
    if not k.choice("position_embedding_type", {a: str(b) for a, b in positions.items()}, "nope"):
        attn = attention(k, scale=attn.scale, rope=None)
    ffn = _granite_ffn(k)
    kinds = {"mamba": Layer(_mamba(k), ffn), "full": Layer(attn, ffn)}
    if not k.items("layer_types"):
        k.fault("layer_types", "is missing", "a list of 'mamba' and 'attention'")
    order = layer_kinds(k, HYBRID, ["mamba"] * n)
    return assorted(kinds, order, rms(k), **granite_scales(k))


def _granite_ffn(k: Keys) -> Dense | Experts:
    width = k.count("shared_intermediate_size", 0, least=0)
    shared = Dense(width, activation(k)) if width else None
    if not k.count("num_local_experts", 0, least=0):
        return shared or dense(k)
    return experts(
        k, "num_local_experts", "num_experts_per_tok", "intermediate_size", Router(), shared=shared
    )


def _mamba(k: Keys) -> StateSpace:
    heads = k.count("mamba_n_heads")
    inner = k.count("mamba_expand", 2) * k.count("hidden_size")
    width = inner // heads
    if k.has("mamba_d_head") and k.data["mamba_d_head"] != "auto":
        width = k.count("mamba_d_head")
    if width * heads != inner:
        what = f"{heads} heads of {width} are not mamba_expand · hidden_size"
        k.contradiction("mamba_n_heads", what, of=SIZES)
    groups = k.count("mamba_n_groups", 1)
    k.divides("mamba_n_groups", "mamba_n_heads", groups, heads)
    return StateSpace(
        heads=heads,
        head_dim=width,
        state=k.count("mamba_d_state", 256),
        groups=groups,
        conv=k.count("mamba_d_conv", 4),
        conv_bias=k.flag("mamba_conv_bias", True),
        bias=k.flag("mamba_proj_bias"),
    )


def _range(k: Keys, key: str) -> tuple[float, float]:
    """A pair of bounds; JSON writers spell an infinite one in several ways."""
    given = k.items(key)
    if not given:
        return (0.0, math.inf)
    bounds = [math.inf if v in ("Infinity", "inf", {"__float__": "Infinity"}) else v for v in given]
    if len(bounds) != 2 or not all(isinstance(v, int | float) for v in bounds):
        k.fault(key, f"{given!r} is not a pair of bounds")
        return (0.0, math.inf)
    return (float(bounds[0]), float(bounds[1]))
