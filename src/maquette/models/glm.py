"""How GLM-4.5 and later ones read: attention rotated by half, DeepSeek-V3's routing."""

from __future__ import annotations

from maquette.models.config import Dense, Layer, Router
from maquette.models.families import experts
from maquette.models.keys import Keys
from maquette.models.pieces import Shape, activation, assorted, attention, dense, layers, rms


def glm4_moe(k: Keys) -> Shape:
    """A few dense layers, then experts steered by a learnt bias, one of them shared."""
    half = Keys({"partial_rotary_factor": 0.5, **k.data}, k.where, k)
    bias, normed = k.flag("attention_bias"), k.flag("use_qk_norm")
    attn = attention(half, bias=bias, qk_norm=normed)
    width, shared = k.count("moe_intermediate_size"), k.count("n_shared_experts", 1, least=0)
    moe = experts(
        k, "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", steered(k),
        shared=Dense(shared * width, activation(k)) if shared else None,
    )  # fmt: skip
    first = k.count("first_k_dense_replace", 1, least=0)
    order = ["dense" if i < first else "moe" for i in range(layers(k))]
    kinds = {"dense": Layer(attn, dense(k)), "moe": Layer(attn, moe)}
    return assorted(kinds, order, rms(k, default=1e-5))


def steered(k: Keys) -> Router:
    """Sigmoid scores, the choice steered by a learnt bias, within the best groups if any."""
    groups = k.count("n_group", 1)
    kept = k.count("topk_group", groups)
    k.divides("n_group", "n_routed_experts", groups, k.count("n_routed_experts"))
    normal, scale = k.flag("norm_topk_prob", True), k.number("routed_scaling_factor", 1.0)
    return Router("sigmoid", normal, scale, False, True, groups, kept, group_top=2)
