"""Mamba-2: a short causal convolution, then a linear recurrence with a scalar decay per head."""

from __future__ import annotations

from maquette.ir.build import (
    Tensor,
    clip,
    concat,
    dot,
    exp,
    iota,
    recurrence,
    rsqrt,
    silu,
    softplus,
    state,
    tensor,
    weight,
)
from maquette.ir.dtypes import DType
from maquette.ir.patterns import section
from maquette.ir.sizes import SizeLike, sym
from maquette.models.attention import Mixed, sizes
from maquette.models.config import Norm, StateSpace
from maquette.models.norms import normalise


def recur(x: Tensor, ssm: StateSpace, norm: Norm, fmt: DType) -> Mixed:
    """A state-space mixer of the new tokens ``x[b,s,d]``.

    Heads are ``h``; where several groups share keys, ``g`` groups of ``q`` heads, so that devices
    take whole groups.  States: the last inputs of the convolution, and ``recurrent[b,h,p,n]``.
    """
    heads = _heads(ssm)
    inner: dict[str, SizeLike] = {**heads, "p": ssm.head_dim}
    grouped: dict[str, SizeLike] = {"g": ssm.groups, "n": ssm.state}
    with section("in_proj"):
        gate = _project(x, "z", ssm, fmt, inner)
        raw = {
            "x": _project(x, "x", ssm, fmt, inner),
            "b": _project(x, "b", ssm, fmt, grouped),
            "c": _project(x, "c", ssm, fmt, grouped),
        }
        step = _project(x, "dt", ssm, fmt, heads)
    with section("conv"):
        convolved = {name: _convolve(y, name, ssm) for name, y in raw.items()}
    drive, into, out_of = (convolved[n][0] for n in ("x", "b", "c"))
    with section("scan"):
        y, final = _scan(drive, into, out_of, step, ssm)
    with section("gate_norm"):
        y = _gated_norm(y * silu(gate), ssm, norm)
    with section("out_proj"):
        w = tensor("w_out", "weight", fmt, **inner, **sizes(x, "d"))
        out = dot(y, w, *inner)
        if ssm.bias:
            out = out + weight("b_out", **sizes(x, "d"))
    states = {f"conv_{name}": after for name, (_, after) in convolved.items()}
    return out, {**states, "recurrent": final}


def _heads(ssm: StateSpace) -> dict[str, SizeLike]:
    if ssm.groups == 1:
        return {"h": ssm.heads}
    return {"g": ssm.groups, "q": ssm.heads // ssm.groups}


def _gated_norm(y: Tensor, ssm: StateSpace, norm: Norm) -> Tensor:
    """All heads normalised together, or those of each group."""
    over = (*_heads(ssm), "p")
    if not ssm.norm_by_group or ssm.groups == 1:
        return normalise(y, norm, "norm_gate", *over)
    scale = weight("norm_gate_scale", **sizes(y, *over))
    return y * rsqrt((y * y).mean(*over[1:]) + norm.epsilon) * scale


def _project(
    x: Tensor, name: str, ssm: StateSpace, fmt: DType, shape: dict[str, SizeLike]
) -> Tensor:
    y = dot(x, tensor(f"w_{name}", "weight", fmt, **sizes(x, "d"), **shape), "d")
    return y + weight(f"b_{name}", **shape) if ssm.bias else y


def _convolve(y: Tensor, name: str, ssm: StateSpace) -> tuple[Tensor, Tensor]:
    """A causal depth-wise convolution over ``s``, and the inputs the next step needs."""
    channels = {a.name: a.size for a in y.axes if a.name not in ("b", "s")}
    before = state(f"conv_{name}", b="b", s=ssm.conv - 1, **channels)
    padded = concat("s", before, y)
    taps = padded.at(s=iota("s", "s") + iota("i", ssm.conv))
    out = dot(taps, weight(f"conv_w_{name}", i=ssm.conv, **channels), "i")
    if ssm.conv_bias:
        out = out + weight(f"conv_b_{name}", **channels)
    return silu(out), padded.slice("s", sym("s"), ssm.conv - 1)


def _scan(
    drive: Tensor, into: Tensor, out_of: Tensor, step: Tensor, ssm: StateSpace
) -> tuple[Tensor, Tensor]:
    """Outputs ``[b,s,h,p]`` and the state after the last token, ``[b,h,p,n]``."""
    heads = _heads(ssm)
    dt = softplus(step.to("f32") + weight("dt_bias", **heads))
    low, high = ssm.dt_range
    if (low, high) != (0.0, float("inf")):
        dt = clip(dt, low, high)
    decay = exp(-dt * exp(weight("a_log", **heads)))
    if ssm.groups == 1:
        own = iota("h", ssm.heads) // ssm.heads
        into, out_of = into.at(g=own), out_of.at(g=own)
    total, driven = recurrence(decay, dt * drive * into, "s")
    shape = sizes(drive, *heads, "p")
    before = tensor("recurrent", "state", ssm.format, b="b", **shape, n=ssm.state)
    held = total * before + driven
    y = dot(held, out_of, "n") + drive * weight("d_skip", **heads)
    return y, held.last("s")
