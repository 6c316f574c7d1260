"""Multi-head latent attention (DeepSeek-V2), in the absorbed form that engines decode with.

Keys and values of all heads are linear in one latent row per token, so the up-projections move to
the query's and the output's side, and attention runs over the latents themselves: one key-value
head as wide as the latent, however many query heads there are.
"""

from __future__ import annotations

from maquette.ir.build import Tensor, tensor, weight, where
from maquette.ir.dtypes import DType
from maquette.ir.patterns import section
from maquette.ir.sizes import SizeLike
from maquette.models.attention import Mixed, append, mix, sizes, visible
from maquette.models.config import Latent, Norm
from maquette.models.norms import normalise
from maquette.models.rotary import rotate


def attend_latent(x: Tensor, mla: Latent, norm: Norm, fmt: DType) -> Mixed:
    """Attention of the new tokens ``x[b,s,d]``; caches ``latents[b,t,c]`` and ``rotary[b,t,p]``."""
    q_nope, q_rope, latent, rotary = _down_and_up(x, mla, norm, fmt)
    with section("rope"):
        q_rope = rotate(q_rope, mla.rope, "p")
        latents = append("latents", latent, None)
        rotaries = append("rotary", rotate(rotary, mla.rope, "p"), None)
    with section("absorb_q"):
        w_uk = tensor("w_uk", "weight", fmt, c=mla.kv_rank, h=mla.heads, k=mla.nope_dim)
        query = (q_nope * w_uk).sum("k")
    with section("attn"):
        scores = (query * mla.scale * latents).sum("c") + (q_rope * mla.scale * rotaries).sum("p")
        mixed = mix(where(visible(None), scores, float("-inf")), latents)
    with section("absorb_v"):
        w_uv = tensor("w_uv", "weight", fmt, c=mla.kv_rank, h=mla.heads, w=mla.value_dim)
        value = (mixed * w_uv).sum("c")
    with section("o"):
        w_o = tensor("w_o", "weight", fmt, h=mla.heads, w=mla.value_dim, **sizes(x, "d"))
        out = (value * w_o).sum("h", "w")
        if mla.bias:
            out = out + weight("b_o", **sizes(x, "d"))
    return out, {"latents": latents, "rotary": rotaries}


def _down_and_up(
    x: Tensor, mla: Latent, norm: Norm, fmt: DType
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries by head (without and with rotary part), the latent row and the rotary key."""
    d = sizes(x, "d")
    source, axis, low = x, "d", d["d"]
    if mla.q_rank is not None:
        with section("q_down"):
            source = (x * tensor("w_dq", "weight", fmt, **d, q=mla.q_rank)).sum("d")
            if mla.bias:
                source = source + weight("b_dq", q=mla.q_rank)
        axis, low = "q", source.value.axis("q").size
    with section("kv_down"):
        latent = (x * tensor("w_dkv", "weight", fmt, **d, c=mla.kv_rank)).sum("d")
        rotary = (x * tensor("w_kr", "weight", fmt, **d, p=mla.rope.dims)).sum("d")
        if mla.bias:
            latent = latent + weight("b_dkv", c=mla.kv_rank)
            rotary = rotary + weight("b_kr", p=mla.rope.dims)
    with section("norm_latent"):
        latent = normalise(latent, norm, "norm_kv", "c")
        if mla.q_rank is not None:
            source = normalise(source, norm, "norm_q", "q")
    with section("q_up"):
        shape: dict[str, SizeLike] = {axis: low, "h": mla.heads}
        q_nope = (source * tensor("w_uq", "weight", fmt, **shape, k=mla.nope_dim)).sum(axis)
        q_rope = (source * tensor("w_qr", "weight", fmt, **shape, p=mla.rope.dims)).sum(axis)
    return q_nope, q_rope, latent, rotary
