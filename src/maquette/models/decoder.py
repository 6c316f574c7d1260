"""A decoder as a Program: an embedding, layers that repeat, and a head.

Symbols: ``b`` sequences, each with ``s`` new tokens at the end of a context of ``t``; a layer with
a window of 4096 spans ``t4096`` positions; ``hit`` experts receive a token.  Sections are the
kernels that serving engines run.  A layer's last addition to the residual stream is in the
section of the product before it.
"""

from __future__ import annotations

from functools import lru_cache

from maquette.ir.build import Tensor, activation, dot, indices, tanh, weight
from maquette.ir.graph import Graph, Program
from maquette.ir.patterns import Map, make, section
from maquette.ir.scalar import Arg
from maquette.models.attention import Mixed, attend
from maquette.models.config import (
    Attention,
    Dense,
    Experts,
    FeedForward,
    Latent,
    Layer,
    Mixer,
    ModelConfig,
)
from maquette.models.ffn import feed_forward
from maquette.models.mla import attend_latent
from maquette.models.moe import mixture
from maquette.models.norms import normalise
from maquette.models.ssm import recur

TABLE = "embedding"


@lru_cache(maxsize=256)
def program(config: ModelConfig, absorbed: bool = True) -> Program:
    """One step of the model.

    Latent attention is written `absorbed` (for decoding), with its expanded form as the part for
    prefill, or expanded only; all have the same meaning, weights and states.

    Inputs ``ids[b,s]``, weights and states; outputs ``logits[b,v]`` of each last token, and every
    state after the step under the name it came in by.

    >>> from maquette.models.config import Attention, Dense, Layer, Norm
    >>> layer = Layer(Attention(4, 2, 16, rope=None), Dense(128))
    >>> tiny = ModelConfig("tiny", "llama", 100, 64, {"dense": layer}, ("dense",) * 2, Norm(), 128)
    >>> program(tiny).order
    ('embed', 'dense', 'dense', 'head')
    """
    parts = {"embed": _embed(config)}
    parts |= {kind: _layer(kind, layer, config, absorbed) for kind, layer in config.kinds.items()}
    if absorbed:
        latent = {n: x for n, x in config.kinds.items() if isinstance(x.mixer, Latent)}
        parts |= {f"{n}.prefill": _layer(n, x, config, False) for n, x in latent.items()}
    parts["head"] = _head(config)
    windows = {
        f"t{layer.mixer.window}": layer.mixer.window
        for layer in config.kinds.values()
        if isinstance(layer.mixer, Attention) and layer.mixer.window is not None
    }
    moe = config.experts
    return Program(
        name=config.name,
        parts=parts,
        order=("embed", *config.order, "head"),
        shared=frozenset({TABLE}),
        windows=windows,
        experts=(moe.count, moe.top_k) if moe else None,
    )


def _table(config: ModelConfig, name: str) -> Tensor:
    return weight(name, v=config.vocab, d=config.d_model)


def _embed(config: ModelConfig) -> Graph:
    with section("embed"):
        table, ids = _table(config, TABLE), indices("ids", b="b", s="s")
        axes = (*ids.axes, table.value.axis("d"))
        row = Arg(0, (("v", Arg(1)),))
        args = (table.value, ids.value)
        x = Tensor(make(Map, axes=axes, dtype=table.value.dtype, args=args, body=row))
        if config.embedding_scale != 1.0:
            x = x * config.embedding_scale
    return Graph("embed", {"x": x.value})


def _head(config: ModelConfig) -> Graph:
    x = activation("x", b="b", s="s", d=config.d_model)
    with section("norm_final"):
        last = normalise(x.last("s"), config.norm, "norm_final", "d")
    with section("lm_head"):
        logits = dot(last, _table(config, TABLE if config.tied else "lm_head"), "d")
        if config.head_bias:
            logits = logits + weight("b_lm_head", v=config.vocab)
        if config.logit_scale != 1.0:
            logits = logits * config.logit_scale
        if config.logit_softcap:
            logits = tanh(logits / config.logit_softcap) * config.logit_softcap
    return Graph("head", {"logits": logits.value})


def _layer(kind: str, layer: Layer, config: ModelConfig, absorbed: bool) -> Graph:
    norm = config.norm
    x = activation("x", b="b", s="s", d=config.d_model)
    if layer.mixer is None:
        return Graph(kind, {"x": _alone(x, layer.ffn, config).value})
    with section("norm_attn"):
        normed = normalise(x, norm, "norm_attn", "d")
    added, states = _mix(normed, layer.mixer, config, absorbed)
    if config.parallel and isinstance(layer.ffn, Dense):
        y = _together(x, normed, added, layer.ffn, config)
        return Graph(kind, {"x": y.value} | {n: after.value for n, after in states.items()})
    last = "out_proj" if "recurrent" in states else "o"
    if config.sandwich:
        last = "norm_post_attn"
        with section(last):
            added = normalise(added, norm, last, "d")
    if layer.ffn is None:
        with section(last):
            y = _residual(x, added, config)
    else:
        with section("norm_ffn"):
            h = _residual(x, added, config)
            normed = normalise(h, norm, "norm_ffn", "d")
        y = _feed(x, h, normed, layer.ffn, config)
    outputs = {"x": y.value} | {name: after.value for name, after in states.items()}
    return Graph(kind, outputs)


def _alone(x: Tensor, ffn: FeedForward | None, config: ModelConfig) -> Tensor:
    """A layer that is a feed-forward part and nothing else (Nemotron-H)."""
    assert ffn is not None
    with section("norm_ffn"):
        normed = normalise(x, config.norm, "norm_ffn", "d")
    return _feed(x, x, normed, ffn, config)


def _together(x: Tensor, normed: Tensor, added: Tensor, ffn: Dense, config: ModelConfig) -> Tensor:
    """GPT-J, Falcon: attention and feed-forward part side by side, behind one norm or two."""
    if config.parallel > 1:
        with section("norm_ffn"):
            normed = normalise(x, config.norm, "norm_ffn", "d")
    out = feed_forward(normed, ffn, config.dense)
    with section("down"):
        return _residual(x, added + out, config)


def _residual(x: Tensor, added: Tensor, config: ModelConfig) -> Tensor:
    scale = config.residual_scale
    return x + (added if scale == 1.0 else added * scale)


def _mix(x: Tensor, mixer: Mixer, config: ModelConfig, absorbed: bool) -> Mixed:
    if isinstance(mixer, Attention):
        return attend(x, mixer, config.norm, config.linear)
    if isinstance(mixer, Latent):
        return attend_latent(x, mixer, config.norm, config.linear, absorbed)
    return recur(x, mixer, config.norm, config.linear)


def _feed(x: Tensor, h: Tensor, normed: Tensor, ffn: FeedForward, config: ModelConfig) -> Tensor:
    """The layer's output: the stream `h` and what the feed-forward part makes of it."""
    if isinstance(ffn, Dense):
        added, last = feed_forward(normed, ffn, config.dense), "down"
    elif ffn.residual is None:
        added, last = mixture(normed, ffn, config.expert, config.dense), "combine"
    else:
        return _beside(x, h, normed, ffn, ffn.residual, config)
    if config.sandwich:
        last = "norm_post_ffn"
        with section(last):
            added = normalise(added, config.norm, last, "d")
    with section(last):
        return _residual(h, added, config)


def _beside(
    x: Tensor, h: Tensor, normed: Tensor, moe: Experts, dense: Dense, config: ModelConfig
) -> Tensor:
    """Arctic: a dense part follows attention while the experts read the layer's own input."""
    with section("norm_experts"):
        own = normalise(x, config.norm, "norm_experts", "d")
    routed = mixture(own, moe, config.expert, config.dense)
    added = feed_forward(normed, dense, config.dense)
    with section("combine"):
        return h + added + routed
