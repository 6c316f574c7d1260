"""Programs as users write them, in the builder, with what NumPy says they compute."""

from __future__ import annotations

import numpy as np

from maquette.ir.axes import axis
from maquette.ir.build import (
    Tensor,
    concat,
    dot,
    exp,
    iota,
    recurrence,
    rsqrt,
    silu,
    softmax,
    softplus,
    tensor,
    where,
)
from maquette.ir.graph import Graph
from maquette.ir.patterns import Map, make
from maquette.ir.scalar import Apply, Arg, Index, Lit


def given(name, /, **axes):
    return tensor(name, "activation", "f32", **axes)


def weight(name, /, **axes):
    return tensor(name, "weight", "f32", **axes)


def rows():
    return softmax(given("x", n=6, t=40), "t")


def rows_oracle(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def causal(b=2, h=4, s=24, d=8, groups=None):
    kv = groups or h
    q = given("q", b=b, h=h, s=s, d=d)
    k, v = given("k", b=b, h=kv, s=s, d=d), given("v", b=b, h=kv, s=s, d=d)
    if groups:
        q = q.split("h", g=kv, r=h // kv)
        k, v = k.rename(h="g"), v.rename(h="g")
    scores = dot(q, k.rename(s="t"), "d") * 0.5
    scores = where(iota("s", s) >= iota("t", s), scores, float("-inf"))
    mixed = dot(softmax(scores, "t"), v.rename(s="t", d="e"), "t")
    return mixed.merge("g", "r", into="h") if groups else mixed


def causal_oracle(q, k, v):
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat(repeat, 1), v.repeat(repeat, 1)
    scores = q @ k.swapaxes(-1, -2) * 0.5
    scores = np.where(np.tri(q.shape[2], dtype=bool), scores, -np.inf)
    return np.einsum("bhst,bhte->sbhe", rows_oracle(scores), v)


def normed():
    x = given("x", n=6, d=16)
    scaled = x * rsqrt((x * x).mean("d") + 1e-5) * weight("gain", d=16)
    return dot(scaled, weight("w", d=16, f=8), "d") + weight("bias", f=8)


def normed_oracle(x, gain, w, bias):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain @ w + bias


def gated():
    x = given("x", n=6, d=16)
    gate, up = dot(x, weight("wg", d=16, f=24), "d"), dot(x, weight("wu", d=16, f=24), "d")
    return dot(silu(gate) * up, weight("wd", f=24, e=16), "f")


def gated_oracle(x, wg, wu, wd):
    return (x @ wg / (1 + np.exp(-(x @ wg))) * (x @ wu)) @ wd


def rotary():
    x = given("x", b=1, s=5, h=2, d=8)
    turned = concat("d", -x.slice("d", 4, 4), x.slice("d", 0, 4))
    return x * given("cos", s=5, d=8) + turned * given("sin", s=5, d=8)


def rotary_oracle(x, cos, sin):
    turned = np.concatenate([-x[..., 4:], x[..., :4]], -1)
    return x * cos[:, None] + turned * sin[:, None]


def conv():
    x, w = given("x", c=3, y=6, x=6), weight("w", o=4, c=3, i=3, j=3)
    places = tuple(
        (n, Apply("add", (Index(n), Apply("sub", (Index(o), Lit(1)))))) for n, o in ("yi", "xj")
    )
    axes = (*x.axes, axis("i", 3), axis("j", 3))
    patches = make(Map, axes=axes, dtype="f32", args=(x.value,), body=Arg(0, places))
    return dot(Tensor(patches), w, "c", "i", "j")


def conv_oracle(x, w):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.einsum("cyxij,ocij->yxo", windows, w)


def scan():
    u, step = given("u", t=12, d=6), softplus(given("step", t=12, d=6))
    decay, b, c = weight("a", d=6, n=4), given("b", t=12, n=4), given("c", t=12, n=4)
    _, state = recurrence(exp(step * decay), step * u * b, "t")
    return dot(state, c, "n")


def scan_oracle(u, step, a, b, c):
    step, state, out = np.log1p(np.exp(step)), np.zeros(a.shape), []
    for t in range(len(u)):
        state = state * np.exp(step[t, :, None] * a) + (step[t] * u[t])[:, None] * b[t]
        out.append(state @ c[t])
    return np.array(out)


def cached():
    """New keys and values after those that are cached."""
    q, old, new = (
        given("q", h=2, s=3, d=8),
        given("old", h=2, t=9, d=8),
        given("new", h=2, t=3, d=8),
    )
    keys = concat("t", old, new)
    return dot(softmax(dot(q, keys, "d"), "t"), keys.rename(d="e"), "t")


def cached_oracle(q, old, new):
    keys = np.concatenate([old, new], 1)
    return rows_oracle(q @ keys.swapaxes(-1, -2)) @ keys


PROGRAMS = {
    "softmax": (rows, rows_oracle),
    "causal": (causal, causal_oracle),
    "grouped_heads": (lambda: causal(groups=2), causal_oracle),
    "norm_linear": (normed, normed_oracle),
    "gated": (gated, gated_oracle),
    "rotary": (rotary, rotary_oracle),
    "conv": (conv, conv_oracle),
    "scan": (scan, scan_oracle),
    "cached": (cached, cached_oracle),
}


def graph(name):
    return Graph(name, {"out": PROGRAMS[name][0]().value})


def inputs(graph, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {n: [int(a.size.constant) for a in v.axes] for n, v in graph.inputs.items()}
    return {n: rng.normal(size=shape) for n, shape in shapes.items()}
