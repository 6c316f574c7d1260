"""Configurations as small as they can be, one or more of every family."""

from __future__ import annotations

import numpy as np

BASE = {
    "vocab_size": 23, "hidden_size": 12, "intermediate_size": 10, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
    "max_position_embeddings": 64, "hidden_act": "silu", "rms_norm_eps": 1e-5,
    "rope_theta": 100.0, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}  # fmt: skip
YARN = {"type": "yarn", "factor": 4, "original_max_position_embeddings": 16, "beta_fast": 8}
LATENT = {
    "q_lora_rank": 6, "kv_lora_rank": 5, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4,
    "v_head_dim": 3, "n_routed_experts": 8, "n_shared_experts": 2, "num_experts_per_tok": 3,
    "moe_intermediate_size": 5, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2,
}  # fmt: skip
MAMBA = {
    "mamba_n_heads": 6, "mamba_d_head": 4, "mamba_d_state": 5, "mamba_n_groups": 2,
    "mamba_d_conv": 4, "mamba_expand": 2,
}  # fmt: skip


def hf(model_type: str, architecture: str, **changes) -> dict:
    return {**BASE, "model_type": model_type, "architectures": [architecture], **changes}


MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 5}
LOCAL = {"num_local_experts": 6, "num_experts_per_tok": 3}

CONFIGS = {
    "llama": hf("llama", "LlamaForCausalLM"),
    "llama-mha": hf("llama", "LlamaForCausalLM", num_key_value_heads=4, tie_word_embeddings=True),
    "llama-mqa": hf("llama", "LlamaForCausalLM", num_key_value_heads=1, attention_bias=True,
                    mlp_bias=True),
    "llama-3.1": hf("llama", "LlamaForCausalLM", head_dim=12, rope_scaling=LLAMA3),
    "llama-linear": hf("llama", "LlamaForCausalLM",
                       rope_scaling={"type": "linear", "factor": 3.0}),
    "mistral": hf("mistral", "MistralForCausalLM", sliding_window=3),
    "mixtral": hf("mixtral", "MixtralForCausalLM", **LOCAL),
    "qwen2": hf("qwen2", "Qwen2ForCausalLM", use_sliding_window=True, sliding_window=3,
                max_window_layers=1),
    "qwen2-moe": hf("qwen2_moe", "Qwen2MoeForCausalLM", shared_expert_intermediate_size=7,
                    norm_topk_prob=False, **MOE),
    "qwen3": hf("qwen3", "Qwen3ForCausalLM", head_dim=6),
    "qwen3-moe": hf("qwen3_moe", "Qwen3MoeForCausalLM", norm_topk_prob=True, mlp_only_layers=[0],
                    **MOE),
    "phi3": hf("phi3", "Phi3ForCausalLM", sliding_window=4, partial_rotary_factor=0.5),
    "gemma": hf("gemma", "GemmaForCausalLM", hidden_act="gelu_pytorch_tanh",
                num_key_value_heads=1, tie_word_embeddings=True),
    "gemma2": hf("gemma2", "Gemma2ForCausalLM", hidden_activation="gelu_pytorch_tanh",
                 sliding_window=3, query_pre_attn_scalar=9, attn_logit_softcapping=2.0,
                 final_logit_softcapping=1.5),
    "gemma3": hf("gemma3_text", "Gemma3ForCausalLM", hidden_activation="gelu_pytorch_tanh",
                 sliding_window=3, query_pre_attn_scalar=9, sliding_window_pattern=2,
                 rope_local_base_freq=20.0),
    "granite": hf("granite", "GraniteForCausalLM", attention_multiplier=0.3, logits_scaling=4.0,
                  embedding_multiplier=3.0, residual_multiplier=0.5),
    "gpt-oss": hf("gpt_oss", "GptOssForCausalLM", sliding_window=3, attention_bias=True,
                  head_dim=12, rope_scaling={**YARN, "truncate": False}, **LOCAL),
    "dbrx": {
        "model_type": "dbrx", "architectures": ["DbrxForCausalLM"], "vocab_size": 23,
        "d_model": 12, "n_heads": 3, "n_layers": 2, "max_seq_len": 64,
        "attn_config": {"clip_qkv": 0.7, "kv_n_heads": 1, "rope_theta": 100.0},
        "ffn_config": {"ffn_hidden_size": 10, "moe_num_experts": 5, "moe_top_k": 2},
    },
    "arctic": hf("arctic", "ArcticForCausalLM", use_residual=True, moe_layer_frequency=2,
                 **LOCAL),
    "deepseek-v2": hf("deepseek_v2", "DeepseekV2ForCausalLM", topk_method="group_limited_greedy",
                      routed_scaling_factor=4.0, norm_topk_prob=False, **LATENT),
    "deepseek-v2-yarn": hf("deepseek_v2", "DeepseekV2ForCausalLM", norm_topk_prob=False,
                           rope_scaling={**YARN, "mscale": 0.7, "mscale_all_dim": 0.5},
                           **{**LATENT, "q_lora_rank": None, "qk_rope_head_dim": 12,
                              "n_group": 1, "topk_group": 1}),
    "deepseek-v3": hf("deepseek_v3", "DeepseekV3ForCausalLM", norm_topk_prob=True,
                      routed_scaling_factor=2.5, **LATENT),
    "llama4": hf("llama4_text", "Llama4ForCausalLM", num_hidden_layers=4, intermediate_size_mlp=7,
                 attention_chunk_size=3, num_local_experts=5, num_experts_per_tok=1,
                 rope_scaling={**LLAMA3, "high_freq_factor": 1.0}, floor_scale=2, attn_scale=0.3,
                 attn_temperature_tuning=4, no_rope_layer_interval=2),
    "llama4-interleaved": hf("llama4_text", "Llama4ForCausalLM", intermediate_size_mlp=7,
                             attention_chunk_size=4, num_local_experts=5, use_qk_norm=False,
                             interleave_moe_layer_step=2, no_rope_layers=[0, 1],
                             attn_temperature_tuning=False),
    "gptj": {
        "model_type": "gptj", "architectures": ["GPTJForCausalLM"], "vocab_size": 23,
        "n_embd": 12, "n_head": 2, "n_layer": 2, "n_positions": 64, "rotary_dim": 4,
        "activation_function": "gelu_new", "tie_word_embeddings": False,
    },
    "falcon": hf("falcon", "FalconForCausalLM", new_decoder_architecture=True, num_kv_heads=2,
                 hidden_size=16, tie_word_embeddings=None),
    "falcon-7b": hf("falcon", "FalconForCausalLM", multi_query=True, parallel_attn=True,
                    hidden_size=16, bias=True, max_position_embeddings=None),
    "falcon-in-turn": hf("falcon", "FalconForCausalLM", multi_query=False, parallel_attn=False,
                         hidden_size=16, ffn_hidden_size=10),
    "glm4-moe": hf("glm4_moe", "Glm4MoeForCausalLM", head_dim=8, attention_bias=True,
                   use_qk_norm=True, partial_rotary_factor=0.5, moe_intermediate_size=5,
                   n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=3, n_group=2,
                   topk_group=1, routed_scaling_factor=2.5, first_k_dense_replace=1),
    "nemotron-h": hf("nemotron_h", "NemotronHForCausalLM", hybrid_override_pattern="M-*E",
                     num_hidden_layers=4, layer_norm_epsilon=1e-5, mlp_hidden_act="relu2",
                     mamba_num_heads=6, mamba_head_dim=4, ssm_state_size=5, n_groups=2,
                     n_routed_experts=8, n_group=4, topk_group=2, num_experts_per_tok=3,
                     moe_intermediate_size=5, moe_shared_expert_intermediate_size=7,
                     routed_scaling_factor=2.5),
    "mamba2": {
        "model_type": "mamba2", "architectures": ["Mamba2ForCausalLM"], "vocab_size": 23,
        "hidden_size": 12, "num_hidden_layers": 2, "num_heads": 6, "head_dim": 4, "state_size": 5,
        "n_groups": 2, "conv_kernel": 4, "expand": 2, "tie_word_embeddings": True,
    },
    "bamba": hf("bamba", "BambaForCausalLM", attn_layer_indices=[1], **MAMBA),
    "granite-hybrid": hf("granitemoehybrid", "GraniteMoeHybridForCausalLM", **MAMBA, **LOCAL,
                         layer_types=["mamba", "attention"], position_embedding_type="nope",
                         shared_intermediate_size=7, attention_multiplier=0.4,
                         residual_multiplier=0.5, tie_word_embeddings=True),
}  # fmt: skip


def weights_of(program, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights for every place of a Program, under the names that ``run`` takes."""
    rng = np.random.default_rng(seed)
    found = {}
    for i, part in enumerate(program.order):
        for name, value in program.parts[part].inputs.items():
            if value.role == "weight":
                shape = [int((a.within or a.size)({})) for a in value.axes]
                place = name if name in program.shared else f"{i}.{name}"
                found[place] = rng.normal(0, 0.6, shape)
    return found


def empty_states(program, b: int) -> dict[str, np.ndarray]:
    """States before the first token."""
    zero = {"b": b, "t": 0, "s": 0, **dict.fromkeys(program.windows, 0)}
    return {
        f"{i}.{name}": np.zeros([int(a.size(zero)) for a in value.axes])
        for i, part in enumerate(program.order)
        for name, value in program.parts[part].inputs.items()
        if value.role == "state"
    }
