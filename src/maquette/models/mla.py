"""Multi-head latent attention (DeepSeek-V2), absorbed or expanded.

Keys and values of all heads are linear in one latent row per token.  Absorbed, as engines decode:
the up-projections move to the query's and the output's side, and attention runs over the latents
themselves, one key-value head as wide as the latent.  Expanded, as engines prefill: keys and values
of every head are made from the latents first, and a query-key pair is then three times cheaper.
"""

from __future__ import annotations

from maquette.ir.build import Tensor, dot, tensor, weight, where
from maquette.ir.dtypes import DType
from maquette.ir.patterns import section
from maquette.ir.sizes import SizeLike
from maquette.models.attention import Mixed, append, mix, sizes, visible
from maquette.models.config import Latent, Norm
from maquette.models.norms import normalise
from maquette.models.rotary import rotate


def attend_latent(x: Tensor, mla: Latent, norm: Norm, fmt: DType, absorbed: bool = True) -> Mixed:
    """Attention of the new tokens ``x[b,s,d]``; caches ``latents[b,t,c]`` and ``rotary[b,t,p]``."""
    q_nope, q_rope, latent, rotary = _down_and_up(x, mla, norm, fmt)
    with section("rope"):
        q_rope = rotate(q_rope, mla.rope, "p")
        latents = append("latents", latent, None)
        rotaries = append("rotary", rotate(rotary, mla.rope, "p"), None)
    over = _over_latents if absorbed else _over_heads
    value = over(q_nope, q_rope, latents, rotaries, mla, fmt)
    with section("o"):
        w_o = tensor("w_o", "weight", fmt, h=mla.heads, w=mla.value_dim, **sizes(x, "d"))
        out = dot(value, w_o, "h", "w")
        if mla.bias:
            out = out + weight("b_o", **sizes(x, "d"))
    return out, {"latents": latents, "rotary": rotaries}


def _over_latents(
    q_nope: Tensor, q_rope: Tensor, latents: Tensor, rotaries: Tensor, mla: Latent, fmt: DType
) -> Tensor:
    with section("absorb_q"):
        query = dot(q_nope, _up_keys(mla, fmt), "k")
    with section("attn"):
        mixed = _mix(query, latents, "c", q_rope, rotaries, latents, mla.scale)
    with section("absorb_v"):
        return dot(mixed, _up_values(mla, fmt), "c")


def _over_heads(
    q_nope: Tensor, q_rope: Tensor, latents: Tensor, rotaries: Tensor, mla: Latent, fmt: DType
) -> Tensor:
    with section("expand"):
        keys = dot(latents, _up_keys(mla, fmt), "c")
        values = dot(latents, _up_values(mla, fmt), "c")
    with section("attn"):
        return _mix(q_nope, keys, "k", q_rope, rotaries, values, mla.scale)


def _mix(
    query: Tensor,
    keys: Tensor,
    along: str,
    q_rope: Tensor,
    rotaries: Tensor,
    values: Tensor,
    scale: float,
) -> Tensor:
    scores = dot(query * scale, keys, along) + dot(q_rope * scale, rotaries, "p")
    return mix(where(visible(None), scores, float("-inf")), values)


def _up_keys(mla: Latent, fmt: DType) -> Tensor:
    return tensor("w_uk", "weight", fmt, c=mla.kv_rank, h=mla.heads, k=mla.nope_dim)


def _up_values(mla: Latent, fmt: DType) -> Tensor:
    return tensor("w_uv", "weight", fmt, c=mla.kv_rank, h=mla.heads, w=mla.value_dim)


def _down_and_up(
    x: Tensor, mla: Latent, norm: Norm, fmt: DType
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries by head (without and with rotary part), the latent row and the rotary key."""
    d = sizes(x, "d")
    source, axis, low = x, "d", d["d"]
    if mla.q_rank is not None:
        with section("q_down"):
            source = dot(x, tensor("w_dq", "weight", fmt, **d, q=mla.q_rank), "d")
            if mla.bias:
                source = source + weight("b_dq", q=mla.q_rank)
        axis, low = "q", source.value.axis("q").size
    with section("kv_down"):
        latent = dot(x, tensor("w_dkv", "weight", fmt, **d, c=mla.kv_rank), "d")
        rotary = dot(x, tensor("w_kr", "weight", fmt, **d, p=mla.rope.dims), "d")
        if mla.bias:
            latent = latent + weight("b_dkv", c=mla.kv_rank)
            rotary = rotary + weight("b_kr", p=mla.rope.dims)
    with section("norm_latent"):
        latent = normalise(latent, norm, "norm_kv", "c")
        if mla.q_rank is not None:
            source = normalise(source, norm, "norm_q", "q")
    with section("q_up"):
        shape: dict[str, SizeLike] = {axis: low, "h": mla.heads}
        q_nope = dot(source, tensor("w_uq", "weight", fmt, **shape, k=mla.nope_dim), axis)
        q_rope = dot(source, tensor("w_qr", "weight", fmt, **shape, p=mla.rope.dims), axis)
    return q_nope, q_rope, latent, rotary
