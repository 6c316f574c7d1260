"""How Nemotron-H reads: one mixer or one feed-forward part a layer, in the order of a pattern."""

from __future__ import annotations

from maquette.models.config import Dense, Experts, Layer, StateSpace
from maquette.models.families import experts
from maquette.models.glm import steered
from maquette.models.keys import Keys
from maquette.models.pieces import Shape, activation, assorted, attention, layers, rms

PATTERN = {"M": "mamba", "*": "full", "E": "moe", "-": "dense"}


def nemotron_h(k: Keys) -> Shape:
    """Nemotron-H and Nemotron 3: Mamba-2, attention without positions, and squared ReLU parts."""
    order = _order(k)
    kinds = {"mamba": Layer(_mamba(k), None)}
    if "full" in order:
        kinds["full"] = Layer(attention(k, rope=None), None)
    if "moe" in order:
        kinds["moe"] = Layer(None, _experts(k))
    if "dense" in order:
        kinds["dense"] = Layer(None, _part(k, "intermediate_size"))
    return assorted(kinds, order, rms(k, "layer_norm_epsilon", 1e-5))


def _order(k: Keys) -> list[str]:
    """The kind of every layer, a letter of the pattern each."""
    n, pattern = layers(k), k.data.get("hybrid_override_pattern")
    if not isinstance(pattern, str) or set(pattern) - set(PATTERN):
        expected = f"letters of {''.join(PATTERN)}"
        k.fault("hybrid_override_pattern", f"{pattern!r} is not a pattern", expected)
        return ["mamba"] * n
    if len(pattern) != n:
        what = f"has {len(pattern)} letters"
        expected, of = f"num_hidden_layers = {n}", ("num_hidden_layers",)
        k.contradiction("hybrid_override_pattern", what, expected, of)
    return [PATTERN[letter] for letter in pattern]


def _part(k: Keys, width: str) -> Dense:
    kind = activation(k, "mlp_hidden_act", "relu2")
    return Dense(k.count(width), kind, gated=False, bias=k.flag("mlp_bias"))


def _experts(k: Keys) -> Experts:
    """DeepSeek-V3's routing over parts without a gate, one of them shared."""
    shared = k.count("n_shared_experts", 1, least=0)
    return experts(
        k, "n_routed_experts", "num_experts_per_tok", "moe_intermediate_size", steered(k),
        expert=_part(k, "moe_intermediate_size"),
        shared=_part(k, "moe_shared_expert_intermediate_size") if shared else None,
    )  # fmt: skip


def _mamba(k: Keys) -> StateSpace:
    heads, groups = k.count("mamba_num_heads"), k.count("n_groups", 8)
    k.divides("n_groups", "mamba_num_heads", groups, heads)
    return StateSpace(
        heads=heads,
        head_dim=k.count("mamba_head_dim", 64),
        state=k.count("ssm_state_size", 128),
        groups=groups,
        conv=k.count("conv_kernel", 4),
        conv_bias=k.flag("use_conv_bias", True),
        bias=k.flag("mamba_proj_bias"),
        norm_by_group=True,
    )
