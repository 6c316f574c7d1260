"""How Llama 4 reads: chunks of attention, layers without positions, one routed expert."""

from __future__ import annotations

from dataclasses import replace

from maquette.models.config import Attention, Dense, Experts, FeedForward, Layer, Router
from maquette.models.keys import Keys
from maquette.models.pieces import (
    Shape,
    activation,
    assorted,
    attention,
    dense,
    head_dim,
    layer_kinds,
    layers,
    rms,
    rope,
)

KINDS = {"chunked_attention": "local", "full_attention": "full"}


def llama4(k: Keys) -> Shape:
    """Rotated layers that see a chunk, with full ones that have no positions at every fourth place;
    experts in every layer (Scout) or every second one (Maverick).
    """
    n = layers(k)
    attends = _attends(k, n)
    halves: dict[str, FeedForward] = {
        "moe": _experts(k),
        "dense": dense(k, "intermediate_size_mlp"),
    }
    routed = _routed(k, n)
    order = [f"{'moe' if r else 'dense'}_{a}" for r, a in zip(routed, attends, strict=True)]
    local = _local(k)
    mixers = {"local": local, "full": _full(k, local)}
    kinds = {f"{h}_{a}": Layer(mixers[a], halves[h]) for h in halves for a in mixers}
    return assorted(kinds, order, rms(k, default=1e-5))


def _attends(k: Keys, n: int) -> tuple[str, ...]:
    """What each layer sees; one without positions sees all."""
    given = k.items("no_rope_layers")  # 1 is a layer with positions
    if given and len(given) != n:
        what, expected = f"has {len(given)} entries", f"num_hidden_layers = {n}"
        k.contradiction("no_rope_layers", what, expected, of=("num_hidden_layers",))
        given = []
    every = k.count("no_rope_layer_interval", 4)
    turned = [bool(x) for x in given] or [(i + 1) % every != 0 for i in range(n)]
    found = tuple("local" if t else "full" for t in turned)
    if layer_kinds(k, KINDS, found) != found:
        k.fault("layer_types", "full attention with positions, or chunks without, is not supported")
    return found


def _routed(k: Keys, n: int) -> list[bool]:
    """Which layers have experts."""
    given = k.items("moe_layers")
    step = k.count("interleave_moe_layer_step", 1, least=0)
    return [i in given if given else step > 0 and (i + 1) % step == 0 for i in range(n)]


def _experts(k: Keys) -> Experts:
    if k.count("num_experts_per_tok", 1) != 1:
        k.fault("num_experts_per_tok", "is not supported", "1")
    width = Dense(k.count("intermediate_size"), activation(k))
    router = Router(scoring="sigmoid", normalise=False)
    return Experts(k.count("num_local_experts"), 1, width, router, width, weigh_input=True)


def _local(k: Keys) -> Attention:
    turn = rope(k, head_dim(k, k.count("num_attention_heads")), interleaved=True)
    chunk = k.count("attention_chunk_size", 8192)
    unit = k.flag("use_qk_norm", True)
    return attention(k, rope=turn, window=chunk, chunked=True, unit_qk=unit)


def _full(k: Keys, local: Attention) -> Attention:
    tuned = k.data.get("attn_temperature_tuning")  # a flag that some files give as a number
    warms = bool(tuned) if isinstance(tuned, int) else k.flag("attn_temperature_tuning", True)
    by = (k.count("floor_scale", 8192), k.number("attn_scale", 0.1)) if warms else None
    return replace(local, rope=None, window=None, chunked=False, unit_qk=False, warming=by)
