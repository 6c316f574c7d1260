"""A decoder the plain way, in NumPy: loops, no cache, no named axes.  The oracle of these tests.

Everything is recomputed from the HuggingFace configuration and weights in the Program's names.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


ACT = {
    "silu": silu,
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_new": gelu_tanh,
    "relu2": lambda x: np.maximum(x, 0) ** 2,
}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def inverse_frequencies(dims, theta, scaling=None, context=None):
    """As transformers computes them, branch by branch; and the factor on cosine and sine."""
    inv = np.array([theta ** (-i / dims) for i in range(0, dims, 2)])
    if not scaling:
        return inv, 1.0
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling["factor"]
    if kind == "linear":
        return inv / factor, 1.0
    original = scaling["original_max_position_embeddings"]
    if kind == "llama3":
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        out = []
        for f in inv:
            wave = 2 * math.pi / f
            if wave > original / low:
                out.append(f / factor)
            elif wave < original / high:
                out.append(f)
            else:
                smooth = (original / wave - low) / (high - low)
                out.append((1 - smooth) * f / factor + smooth * f)
        return np.array(out), 1.0
    assert kind == "yarn"

    def dim(rotations):
        return dims * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dim(scaling.get("beta_fast", 32)), dim(scaling.get("beta_slow", 1))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dims - 1)
    ramp = np.clip((np.arange(dims // 2) - low) / (high - low), 0, 1)
    out = inv / factor * ramp + inv * (1 - ramp)

    def grown(m):
        return 0.1 * m * math.log(factor) + 1

    if "mscale" in scaling:
        return out, grown(scaling["mscale"]) / grown(scaling["mscale_all_dim"])
    return out, grown(1)


def rotate(x, inv, gain=1.0, interleaved=False):
    """x[S, D] turned as complex numbers, pair by pair."""
    x = np.array(x, dtype=float)
    half = len(inv)
    first, second = (
        (x[:, 0 : 2 * half : 2], x[:, 1 : 2 * half : 2])
        if interleaved
        else (x[:, :half], x[:, half : 2 * half])
    )
    z = (first + 1j * second) * np.exp(1j * np.arange(len(x))[:, None] * inv) * gain
    out = x.copy()
    if interleaved:
        out[:, 0 : 2 * half : 2], out[:, 1 : 2 * half : 2] = z.real, z.imag
    else:
        out[:, :half], out[:, half : 2 * half] = z.real, z.imag
    return out


class Reference:
    """One model: the configuration as published, and weights as ``run`` takes them."""

    def __init__(self, hf, config, weights):
        self.hf, self.config, self.weights = hf, config, weights

    def w(self, name):
        return self.weights[f"{self.place}.{name}"]

    def logits(self, ids):
        """Logits of the last position; ids[B, S]."""
        return np.stack([self.sequence(row) for row in ids])

    def sequence(self, ids):
        c = self.config
        x = self.weights["embedding"][ids] * c.embedding_scale
        for i, kind in enumerate(c.order):
            self.place = i + 1
            x = self.layer(x, kind)
        self.place = len(c.order) + 1
        x = self.norm(x[-1:], "norm_final")[0]
        table = self.weights["embedding"] if c.tied else self.w("lm_head")
        y = table @ x * c.logit_scale
        if f"{self.place}.b_lm_head" in self.weights:
            y = y + self.w("b_lm_head")
        cap = self.hf.get("final_logit_softcapping")
        return cap * np.tanh(y / cap) if cap else y

    def norm(self, x, name, kind=None):
        n = self.config.norm
        if (kind or n.kind) == "layer":
            x = x - x.mean(-1, keepdims=True)
        y = x / np.sqrt((x**2).mean(-1, keepdims=True) + n.epsilon)
        y = y * (n.offset + self.w(f"{name}_scale").ravel())
        return y + self.w(f"{name}_bias") if f"{self.place}.{name}_bias" in self.weights else y

    def layer(self, x, kind):
        c, hf = self.config, self.hf
        if kind in ("moe", "dense") and hf["model_type"] == "nemotron_h":
            part = self.moe if kind == "moe" else self.mlp
            return x + part(self.norm(x, "norm_ffn"))
        normed = self.norm(x, "norm_attn")
        if kind == "mamba":
            added = self.mamba(normed)
        elif "kv_lora_rank" in hf:
            added = self.latent(normed)
        else:
            added = self.attention(normed, local=kind.endswith("local"))
        if hf["model_type"] == "gptj" or hf.get("parallel_attn") or "num_kv_heads" in hf:
            two = hf.get("new_decoder_architecture")
            return x + added + self.mlp(self.norm(x, "norm_ffn") if two else normed)
        if c.sandwich:
            added = self.norm(added, "norm_post_attn")
        h = x + added * c.residual_scale
        if f"{self.place}.norm_ffn_scale" not in self.weights:
            return h
        normed = self.norm(h, "norm_ffn")
        if f"{self.place}.w_router" not in self.weights:
            added = self.mlp(normed)
        elif "use_residual" in hf:
            added = self.mlp(normed) + self.moe(self.norm(x, "norm_experts"))
        else:
            added = self.moe(normed)
        if c.sandwich:
            added = self.norm(added, "norm_post_ffn")
        return h + added * c.residual_scale

    def attention(self, x, local):
        hf, (S, D) = self.hf, x.shape
        attn = hf.get("attn_config", hf)
        g, r, kd = self.w("w_q").shape[1:]

        def project(name, heads):
            y = x @ self.w(f"w_{name}").reshape(D, -1)
            if f"{self.place}.b_{name}" in self.weights:
                y = y + self.w(f"b_{name}").ravel()
            if "clip_qkv" in attn:
                y = np.clip(y, -attn["clip_qkv"], attn["clip_qkv"])
            return y.reshape(S, heads, kd)

        q, k, v = project("q", g * r), project("k", g), project("v", g)
        if f"{self.place}.norm_q_scale" in self.weights:
            q, k = self.norm(q, "norm_q", "rms"), self.norm(k, "norm_k", "rms")
        fourth = hf["model_type"] == "llama4_text"
        nowhere = hf["model_type"] == "nemotron_h" or hf.get("position_embedding_type") == "nope"
        if not nowhere and (local or not fourth):
            dims = int(kd * hf.get("partial_rotary_factor", 0.5 if "mamba_n_heads" in hf else 1))
            dims = hf.get("rotary_dim", dims)
            pairs = fourth or "rotary_dim" in hf
            theta = attn.get("rope_theta", 10000.0)
            scaling = hf.get("rope_scaling")
            if local and hf["model_type"] == "gemma3_text":
                theta, scaling = hf["rope_local_base_freq"], None
            inv, gain = inverse_frequencies(dims, theta, scaling)
            q = np.stack([rotate(q[:, h], inv, gain, pairs) for h in range(g * r)], 1)
            k = np.stack([rotate(k[:, h], inv, gain, pairs) for h in range(g)], 1)
            if fourth and hf.get("use_qk_norm", True):
                q, k = (
                    y / np.sqrt((y**2).mean(-1, keepdims=True) + hf["rms_norm_eps"]) for y in (q, k)
                )
        elif fourth and hf["attn_temperature_tuning"]:
            steps = np.floor((np.arange(S) + 1) / hf["floor_scale"])
            q = q * (np.log1p(steps) * hf["attn_scale"] + 1)[:, None, None]
        window = hf.get("sliding_window")
        if hf["model_type"] in ("gemma2", "gemma3_text", "gpt_oss", "qwen2") and not local:
            window = None
        scale = hf.get("attention_multiplier", kd**-0.5)
        if "query_pre_attn_scalar" in hf:
            scale = hf["query_pre_attn_scalar"] ** -0.5
        out = np.zeros((S, g, r, kd))
        for i in range(S):
            seen = [j for j in range(i + 1) if not window or i - j < window]
            if fourth and local:
                chunk = hf["attention_chunk_size"]
                seen = [j for j in seen if j // chunk == i // chunk]
            for h in range(g * r):
                scores = np.array([q[i, h] @ k[j, h // r] for j in seen]) * scale
                if cap := hf.get("attn_logit_softcapping"):
                    scores = cap * np.tanh(scores / cap)
                if f"{self.place}.sinks" in self.weights:
                    scores = np.append(scores, self.w("sinks")[h // r, h % r])
                p = softmax(scores)[: len(seen)]
                out[i, h // r, h % r] = sum(a * v[j, h // r] for a, j in zip(p, seen, strict=True))
        y = np.einsum("sgrw,grwd->sd", out, self.w("w_o"))
        return y + self.w("b_o") if f"{self.place}.b_o" in self.weights else y

    def latent(self, x):
        """Keys and values of every head in full: nothing absorbed."""
        hf, S = self.hf, len(x)
        source = x
        if hf.get("q_lora_rank"):
            source = self.norm(x @ self.w("w_dq"), "norm_q")
        q_nope = np.einsum("sq,qhk->shk", source, self.w("w_uq"))
        q_rope = np.einsum("sq,qhp->shp", source, self.w("w_qr"))
        c = self.norm(x @ self.w("w_dkv"), "norm_kv")
        k_nope = np.einsum("sc,chk->shk", c, self.w("w_uk"))
        value = np.einsum("sc,chw->shw", c, self.w("w_uv"))
        scaling, p = hf.get("rope_scaling"), hf["qk_rope_head_dim"]
        inv, gain = inverse_frequencies(p, hf["rope_theta"], scaling)
        k_rope = rotate(x @ self.w("w_kr"), inv, gain, interleaved=True)
        scale = (hf["qk_nope_head_dim"] + p) ** -0.5
        if scaling:
            scale *= (0.1 * scaling["mscale_all_dim"] * math.log(scaling["factor"]) + 1) ** 2
        out = np.zeros_like(value)
        for h in range(hf["num_attention_heads"]):
            turned = rotate(q_rope[:, h], inv, gain, interleaved=True)
            q = np.concatenate([q_nope[:, h], turned], 1)
            k = np.concatenate([k_nope[:, h], k_rope], 1)
            scores = np.where(np.tri(S, dtype=bool), q @ k.T * scale, -np.inf)
            out[:, h] = softmax(scores) @ value[:, h]
        return np.einsum("shw,hwd->sd", out, self.w("w_o"))

    def mlp(self, x, prefix="", e=None):
        def pick(name):
            w = self.w(f"{prefix}{name}")
            return w if e is None else w[e]

        biased = f"{self.place}.{prefix}b_up" in self.weights
        act = self.hf.get("hidden_activation", self.hf.get("hidden_act", "silu"))
        if f"{self.place}.{prefix}w_gate" not in self.weights:
            act = self.hf.get("mlp_hidden_act", self.hf.get("activation_function", "gelu"))
            up = x @ pick("w_up") + (pick("b_up") if biased else 0.0)
            return ACT[act](up) @ pick("w_down") + (pick("b_down") if biased else 0.0)
        gate, up = x @ pick("w_gate"), x @ pick("w_up")
        if biased:
            gate, up = gate + pick("b_gate"), up + pick("b_up")
        if self.hf["model_type"] == "gpt_oss":
            gate, up = np.minimum(gate, 7), np.clip(up, -7, 7)
            hidden = gate * sigmoid(1.702 * gate) * (up + 1)
        else:
            hidden = ACT[act](gate) * up
        y = hidden @ pick("w_down")
        return y + pick("b_down") if biased else y

    def moe(self, x):
        hf = self.hf.get("ffn_config", self.hf)
        count = self.w("w_router").shape[-1]
        k = hf.get("moe_top_k", hf.get("num_experts_per_tok", 1))
        out = np.zeros_like(x)
        for i, token in enumerate(x):
            logits = token @ self.w("w_router")
            if f"{self.place}.b_router" in self.weights:
                logits = logits + self.w("b_router")
            scores, chosen = self.choose(logits, count, k)
            for e, weight in zip(chosen, scores, strict=True):
                if self.hf["model_type"] == "llama4_text":  # ahead of the expert
                    out[i] += self.mlp(weight * token[None], "expert_", e)[0]
                    continue
                out[i] += weight * self.mlp(token[None], "expert_", e)[0]
        if f"{self.place}.shared_w_up" in self.weights:
            shared = self.mlp(x, "shared_")
            if f"{self.place}.w_shared_gate" in self.weights:
                shared = shared * sigmoid(x @ self.w("w_shared_gate"))[:, None]
            out += shared
        return out

    def choose(self, logits, count, k):
        """Weights and experts of one token, family by family."""
        hf, family = self.hf, self.hf["model_type"]
        if family == "llama4_text":
            chosen = np.argsort(-logits)[:k]
            return sigmoid(logits[chosen]), chosen
        if family in ("gpt_oss", "granitemoehybrid"):
            chosen = np.argsort(-logits)[:k]
            return softmax(logits[chosen]), chosen
        sigmoids = family in ("deepseek_v3", "nemotron_h", "glm4_moe")
        if sigmoids:
            scores = sigmoid(logits)
            steered = scores + self.w("router_correction")
            groups = steered.reshape(hf["n_group"], -1)
            worth = [sum(sorted(g)[-2:]) for g in groups]
        else:
            scores = steered = softmax(logits)
            groups = steered.reshape(hf.get("n_group", 1), -1)
            worth = groups.max(1)
        if sigmoids or family.startswith("deepseek"):
            kept = set(np.argsort(-np.array(worth))[: hf["topk_group"]])
            per = count // hf["n_group"]
            steered = np.array([s if e // per in kept else 0.0 for e, s in enumerate(steered)])
        chosen = np.argsort(-steered)[:k]
        weights = scores[chosen]
        default = family in ("mixtral", "arctic", "dbrx", "nemotron_h", "glm4_moe")
        if hf.get("norm_topk_prob", default):
            weights = weights / weights.sum()
        return weights * hf.get("routed_scaling_factor", 1.0), chosen

    def mamba(self, x):
        """One token after the other."""
        width = self.w("w_z").shape[-1]
        gate = (x @ self.w("w_z").reshape(x.shape[1], -1)).reshape(len(x), -1, width)
        dt_raw = x @ self.w("w_dt").reshape(x.shape[1], -1)
        u, b, c = (
            self.convolve(np.tensordot(x, self.w(f"w_{n}"), 1), n).reshape(
                len(x), -1, self.w(f"w_{n}").shape[-1]
            )
            for n in "xbc"
        )
        dt_bias, a_log, d_skip = (self.w(n).ravel() for n in ("dt_bias", "a_log", "d_skip"))
        heads, width = u.shape[1:]
        per = heads // b.shape[1]
        h = np.zeros((heads, width, b.shape[2]))
        y = np.zeros_like(u)
        for s in range(len(x)):
            for j in range(heads):
                dt = math.log1p(math.exp(dt_raw[s, j] + dt_bias[j]))
                decay = math.exp(-dt * math.exp(a_log[j]))
                h[j] = decay * h[j] + dt * np.outer(u[s, j], b[s, j // per])
                y[s, j] = h[j] @ c[s, j // per] + d_skip[j] * u[s, j]
        flat = (y * silu(gate)).reshape(len(x), -1)
        if "hybrid_override_pattern" in self.hf:  # each group of heads by itself
            apart = flat.reshape(len(x), b.shape[1], -1)
            square = (apart**2).mean(-1, keepdims=True) + self.config.norm.epsilon
            flat = (apart / np.sqrt(square)).reshape(len(x), -1)
            normed = flat * self.w("norm_gate_scale").ravel()
        else:
            normed = self.norm(flat, "norm_gate")
        return normed @ self.w("w_out").reshape(heads * width, -1)

    def convolve(self, y, name):
        taps = self.w(f"conv_w_{name}")
        k = len(taps)
        out = np.zeros_like(y)
        for s in range(len(y)):
            for i in range(k):
                if s + i - k + 1 >= 0:
                    out[s] += taps[i] * y[s + i - k + 1]
        return silu(out + self.w(f"conv_b_{name}"))
