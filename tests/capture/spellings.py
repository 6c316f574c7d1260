"""One attention written in many ways: functions of q, k, v ``[B, H, S, D]`` by name.

Those named ``gqa…`` take k and v with fewer heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def scale_first(q, k, v):
    return torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), -1) @ v


def scale_after(q, k, v):
    return torch.softmax((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5, -1) @ v


def divided_by_root(q, k, v):
    return F.softmax(torch.matmul(q, k.mT) / math.sqrt(q.size(-1)), dim=-1) @ v


def boolean_causal(q, k, v):
    s = q.shape[-2]
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    mask = torch.tril(torch.ones(s, s, dtype=torch.bool))
    return scores.masked_fill(~mask, float("-inf")).softmax(-1) @ v


def additive_causal(q, k, v):
    s = q.shape[-2]
    mask = torch.full((s, s), float("-inf")).triu(1)
    scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.shape[-1])) + mask
    return scores.softmax(-1) @ v


def where_causal(q, k, v):
    s = torch.arange(q.shape[-2])
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = torch.where(s[:, None] >= s[None, :], scores, float("-inf"))
    return scores.softmax(-1) @ v


def einsum_form(q, k, v):
    scores = torch.einsum("bhsd,bhtd->bhst", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("bhst,bhtd->bhsd", scores.softmax(-1), v)


def manual_softmax(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    weights = torch.exp(scores - scores.amax(-1, keepdim=True))
    return (weights @ v) / weights.sum(-1, keepdim=True)


def alibi(q, k, v):
    h, s = q.shape[1], q.shape[2]
    slopes = 2.0 ** (-8.0 * (torch.arange(h) + 1) / h)
    at = torch.arange(s)
    distance = (at[None, :] - at[:, None]).float()
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = scores + slopes[:, None, None] * distance
    scores = scores.masked_fill(at[None, :] > at[:, None], float("-inf"))
    return scores.softmax(-1) @ v


def soft_cap(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return (20.0 * torch.tanh(scores / 20.0)).softmax(-1) @ v


def sliding_window(q, k, v, window=4):
    at = torch.arange(q.shape[-2])
    seen = (at[None, :] <= at[:, None]) & (at[None, :] > at[:, None] - window)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v


def sigmoid_attention(q, k, v):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return torch.sigmoid(scores - math.log(q.shape[-2])) @ v


def gqa_expand(q, k, v):
    b, g, s, d = k.shape
    r = q.shape[1] // g
    k = k[:, :, None].expand(b, g, r, s, d).reshape(b, g * r, s, d)
    v = v[:, :, None].expand(b, g, r, s, d).reshape(b, g * r, s, d)
    scores = q @ k.transpose(-2, -1) / math.sqrt(d)
    return scores.softmax(-1) @ v


def fused(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def fused_causal(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


SPELLINGS = {
    f.__name__: f
    for f in (
        scale_first, scale_after, divided_by_root, boolean_causal, additive_causal, where_causal,
        einsum_form, manual_softmax, alibi, soft_cap, sliding_window, sigmoid_attention,
        gqa_expand, fused, fused_causal,
    )
}  # fmt: skip
