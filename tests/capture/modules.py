"""Small modules of the usual families, written as their users write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, d, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


def rotated_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions, naive or fused."""

    def __init__(self, d, heads, groups, fused):
        super().__init__()
        self.heads, self.groups, self.fused = heads, groups, fused
        self.size = d // heads
        self.q = nn.Linear(d, d, bias=False)
        self.k = nn.Linear(d, groups * self.size, bias=False)
        self.v = nn.Linear(d, groups * self.size, bias=False)
        self.o = nn.Linear(d, d, bias=False)
        inverse = 1.0 / (10000 ** (torch.arange(0, self.size, 2).float() / self.size))
        self.register_buffer("inverse", inverse, persistent=False)

    def forward(self, x):
        b, s, _ = x.shape
        q = self.q(x).view(b, s, self.heads, self.size).transpose(1, 2)
        k = self.k(x).view(b, s, self.groups, self.size).transpose(1, 2)
        v = self.v(x).view(b, s, self.groups, self.size).transpose(1, 2)
        angle = torch.outer(torch.arange(s).float(), self.inverse)
        both = torch.cat((angle, angle), dim=-1)
        cos, sin = both.cos(), both.sin()
        q = q * cos + rotated_half(q) * sin
        k = k * cos + rotated_half(k) * sin
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        else:
            k = k.repeat_interleave(self.heads // self.groups, dim=1)
            v = v.repeat_interleave(self.heads // self.groups, dim=1)
            scores = q @ k.transpose(-2, -1) / math.sqrt(self.size)
            mask = torch.tril(torch.ones(s, s, dtype=torch.bool))
            scores = scores.masked_fill(~mask, float("-inf"))
            y = F.softmax(scores, dim=-1) @ v
        return self.o(y.transpose(1, 2).contiguous().view(b, s, -1))


class Llama(nn.Module):
    """Blocks of attention and a gated feed-forward part."""

    def __init__(self, layers=1, d=32, heads=4, groups=2, hidden=48, fused=False, vocab=0):
        super().__init__()
        self.embed = nn.Embedding(vocab, d) if vocab else nn.Identity()
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": RMSNorm(d), "attn": Attention(d, heads, groups, fused),
                    "norm2": RMSNorm(d), "gate": nn.Linear(d, hidden, bias=False),
                    "up": nn.Linear(d, hidden, bias=False),
                    "down": nn.Linear(hidden, d, bias=False),
                }
            )
            for _ in range(layers)
        )  # fmt: skip
        self.head = nn.Linear(d, vocab, bias=False) if vocab else nn.Identity()

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer["attn"](layer["norm1"](x))
            h = layer["norm2"](x)
            x = x + layer["down"](F.silu(layer["gate"](h)) * layer["up"](h))
        return self.head(x)


class ViT(nn.Module):
    """Patches by a convolution, a class token, learnt positions, encoder blocks."""

    def __init__(self, d=24, heads=3, classes=10):
        super().__init__()
        self.patch = nn.Conv2d(3, d, kernel_size=4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, d))
        self.position = nn.Parameter(torch.randn(1, 17, d))
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))
        self.head = nn.Linear(d, classes)
        self.heads = heads

    def forward(self, image):
        x = self.patch(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        b, s, d = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, s, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(b, s, d))
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class Detector(nn.Module):
    """A small convolutional detector: boxes and scores for every cell of two scales."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.down = nn.Sequential(
            nn.Conv2d(8, 16, 3, padding=1, groups=2), nn.BatchNorm2d(16), nn.SiLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )  # fmt: skip
        self.lateral = nn.Conv2d(16, 8, 1)
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 5, 3, padding=2, dilation=2)

    def forward(self, image):
        fine = self.stem(image)
        coarse = self.lateral(self.down(fine))
        fine = fine + F.interpolate(coarse, scale_factor=2, mode="nearest")
        boxes = [self.boxes(x).flatten(2).transpose(1, 2) for x in (fine, coarse)]
        scores = [self.scores(x).sigmoid().flatten(2).transpose(1, 2) for x in (fine, coarse)]
        return {"boxes": torch.cat(boxes, 1).exp(), "scores": torch.cat(scores, 1)}


class Mixer(nn.Module):
    def __init__(self, s=6, d=8):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.tokens = nn.Sequential(nn.Linear(s, 12), nn.GELU(approximate="tanh"), nn.Linear(12, s))
        self.channels = nn.Sequential(nn.Linear(d, 16), nn.GELU(), nn.Linear(16, d))

    def forward(self, x):
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mamba(nn.Module):
    """A selective scan, step by step or by prefix sums of logarithms."""

    def __init__(self, d=8, n=4, loop=True):
        super().__init__()
        self.inner = nn.Linear(d, 2 * d)
        self.conv = nn.Conv1d(d, d, 4, groups=d, padding=3)
        self.select = nn.Linear(d, 2 * n + 1)
        self.step = nn.Linear(1, d)
        self.a_log = nn.Parameter(torch.log(torch.arange(1, n + 1).float()).repeat(d, 1))
        self.skip = nn.Parameter(torch.ones(d))
        self.out = nn.Linear(d, d)
        self.n, self.loop = n, loop

    def forward(self, x):
        length = x.shape[1]
        x, gate = self.inner(x).chunk(2, dim=-1)
        x = F.silu(self.conv(x.transpose(1, 2))[..., :length].transpose(1, 2))
        dt, b, c = self.select(x).split([1, self.n, self.n], dim=-1)
        dt = F.softplus(self.step(dt))
        decay = dt[..., None] * -torch.exp(self.a_log)
        drive = (dt * x)[..., None] * b[:, :, None, :]
        if self.loop:
            h = torch.zeros(x.shape[0], x.shape[2], self.n)
            ys = []
            for t in range(length):
                h = torch.exp(decay[:, t]) * h + drive[:, t]
                ys.append((h * c[:, t, None, :]).sum(-1))
            y = torch.stack(ys, dim=1)
        else:
            total = decay.cumsum(dim=1)
            h = torch.exp(total) * (drive * torch.exp(-total)).cumsum(dim=1)
            y = (h * c[:, :, None, :]).sum(-1)
        return self.out((y + x * self.skip) * F.silu(gate))


class Experts(nn.Module):
    """A mixture of experts: top-k routing, every expert computed, weights of the others zero."""

    def __init__(self, d=8, hidden=12, experts=4, k=2):
        super().__init__()
        self.router = nn.Linear(d, experts, bias=False)
        self.up = nn.Parameter(torch.randn(experts, d, hidden))
        self.down = nn.Parameter(torch.randn(experts, hidden, d))
        self.k, self.experts = k, experts

    def forward(self, x):
        weights, chosen = torch.topk(self.router(x).softmax(-1), self.k, dim=-1)
        weights = weights / weights.sum(-1, keepdim=True)
        hot = F.one_hot(chosen, self.experts).to(x.dtype)
        gates = (weights[..., None] * hot).sum(-2)
        h = F.silu(torch.einsum("bsd,edh->bseh", x, self.up))
        return torch.einsum("bseh,ehd,bse->bsd", h, self.down, gates)
