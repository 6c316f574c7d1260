"""Softmax attention over a cache: multi-head, grouped, multi-query; full or windowed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

from maquette.ir.build import (
    Tensor,
    apply,
    clip,
    concat,
    dot,
    exp,
    iota,
    rsqrt,
    state,
    tanh,
    tensor,
    weight,
    where,
)
from maquette.ir.dtypes import DType
from maquette.ir.patterns import section
from maquette.ir.sizes import Size, sym
from maquette.models.config import Attention, Norm
from maquette.models.norms import normalise
from maquette.models.rotary import positions, rotate

Mixed: TypeAlias = tuple[Tensor, dict[str, Tensor]]  # what a mixer adds, and its states afterwards


def context(window: int | None) -> Size:
    """How many positions of a sequence a layer's cache spans, new tokens included."""
    return sym("t" if window is None else f"t{window}")


def attend(x: Tensor, attn: Attention, norm: Norm, fmt: DType) -> Mixed:
    """Attention of the new tokens ``x[b,s,d]`` to all tokens so far.

    The caches ``keys[b,t,g,k]`` and ``values[b,t,g,w]`` come in with the tokens before the step
    and go out with those of the step appended.
    """
    with section("qkv"):
        q, k, v = _project(x, attn, fmt)
    with section("rope"):
        q, k = _position(q, k, attn, norm)
        if attn.warming is not None:
            q = q * _warmth(*attn.warming)
        keys, values = append("keys", k, attn.window), append("values", v, attn.window)
    with section("attn"):
        mixed = _softmax(q, keys, values, attn)
    with section("o"):
        w = tensor("w_o", "weight", fmt, **sizes(mixed, "g", "r", "w"), d=x.value.axis("d").size)
        out = dot(mixed, w, "g", "r", "w")
        if attn.out_bias:
            out = out + weight("b_o", d=x.value.axis("d").size)
    return out, {"keys": keys, "values": values}


def sizes(x: Tensor, *names: str) -> dict[str, Size]:
    """The sizes of some axes, ready to declare a tensor with them."""
    return {n: x.value.axis(n).size for n in names}


def _project(x: Tensor, attn: Attention, fmt: DType) -> tuple[Tensor, Tensor, Tensor]:
    g, r = attn.kv_heads, attn.heads // attn.kv_heads
    shapes = {
        "q": {"g": g, "r": r, "k": attn.head_dim},
        "k": {"g": g, "k": attn.head_dim},
        "v": {"g": g, "w": attn.head_dim},
    }
    made = []
    for name, shape in shapes.items():
        w = tensor(f"w_{name}", "weight", fmt, **sizes(x, "d"), **shape)
        y = dot(x, w, "d")
        if attn.bias:
            y = y + weight(f"b_{name}", **shape)
        if attn.clip is not None:
            y = clip(y, -attn.clip, attn.clip)
        made.append(y)
    return made[0], made[1], made[2]


def _position(q: Tensor, k: Tensor, attn: Attention, norm: Norm) -> tuple[Tensor, Tensor]:
    if attn.qk_norm:
        plain = replace(norm, kind="rms", bias=False)
        q, k = normalise(q, plain, "norm_q", "k"), normalise(k, plain, "norm_k", "k")
    if attn.rope is not None:
        q, k = rotate(q, attn.rope, "k"), rotate(k, attn.rope, "k")
    if attn.unit_qk:
        q, k = _unit(q, norm.epsilon), _unit(k, norm.epsilon)
    return q, k


def _unit(x: Tensor, epsilon: float) -> Tensor:
    return x * rsqrt((x * x).mean("k") + epsilon)


def _warmth(each: int, by: float) -> Tensor:
    """The factor on queries of full layers that grows with the position (Llama 4)."""
    return apply("log", (positions() + 1) // each + 1) * by + 1.0


def append(name: str, new: Tensor, window: int | None) -> Tensor:
    """The cache `name` of what came before, with ``new[b,s,…]`` behind it, over ``t``."""
    span = context(window)
    rest = {a.name: a.size for a in new.axes if a.name not in ("b", "s")}
    past = state(name, b="b", t=span - sym("s"), **rest)
    return concat("t", past, new.rename(s="t"))


def visible(window: int | None, chunked: bool = False) -> Tensor:
    """Which positions of the cache a new token sees: itself and before, within the window.

    In chunks, it sees those of its own chunk of the sequence.
    """
    span = context(window)
    here = iota("s", "s") + (span - sym("s"))
    there = iota("t", span)
    seen = there <= here
    if window is None:
        return seen
    if chunked:
        return seen & (there >= positions() // window * window - (sym("t") - span))
    return seen & (there > here - window)


def mix(scores: Tensor, values: Tensor, sink: Tensor | None = None) -> Tensor:
    """Softmax over ``t`` of the scores, applied to `values`; `sink` takes part and is dropped."""
    top = scores.max("t")
    if sink is not None:
        top = apply("max", top, sink)
    e = exp(scores - top)
    total = e.sum("t")
    if sink is not None:
        total = total + exp(sink - top)
    return dot(e, values, "t") / total


def _softmax(q: Tensor, keys: Tensor, values: Tensor, attn: Attention) -> Tensor:
    scale = attn.scale or 1 / math.sqrt(attn.head_dim)
    scores = dot(q * scale, keys, "k")
    if attn.softcap:
        scores = tanh(scores / attn.softcap) * attn.softcap
    scores = where(visible(attn.window, attn.chunked), scores, float("-inf"))
    sink = weight("sinks", **sizes(q, "g", "r")) if attn.sinks else None
    return mix(scores, values, sink)
