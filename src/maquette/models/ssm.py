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

    States: the last inputs of the convolution, and ``recurrent[b,h,p,n]``.
    """
    inner: dict[str, SizeLike] = {"h": ssm.heads, "p": ssm.head_dim}
    grouped: dict[str, SizeLike] = {"g": ssm.groups, "n": ssm.state}
    with section("in_proj"):
        gate = _project(x, "z", ssm, fmt, inner)
        raw = {
            "x": _project(x, "x", ssm, fmt, inner),
            "b": _project(x, "b", ssm, fmt, grouped),
            "c": _project(x, "c", ssm, fmt, grouped),
        }
        step = _project(x, "dt", ssm, fmt, {"h": ssm.heads})
    with section("conv"):
        convolved = {name: _convolve(y, name, ssm) for name, y in raw.items()}
    drive, into, out_of = (convolved[n][0] for n in ("x", "b", "c"))
    with section("scan"):
        y, final = _scan(drive, into, out_of, step, ssm)
    with section("gate_norm"):
        y = _gated_norm(y * silu(gate), ssm, norm)
    with section("out_proj"):
        over = [a.name for a in y.axes if a.name not in ("b", "s")]
        w = tensor("w_out", "weight", fmt, **sizes(y, *over), **sizes(x, "d"))
        out = dot(y, w, *over)
        if ssm.bias:
            out = out + weight("b_out", **sizes(x, "d"))
    states = {f"conv_{name}": after for name, (_, after) in convolved.items()}
    return out, {**states, "recurrent": final}


def _gated_norm(y: Tensor, ssm: StateSpace, norm: Norm) -> Tensor:
    """All heads normalised together, or those of each group."""
    if ssm.norm_groups == 1:
        return normalise(y, norm, "norm_gate", "h", "p")
    y = y.split("h", g=ssm.norm_groups, r=ssm.heads // ssm.norm_groups)
    y = y * rsqrt((y * y).mean("r", "p") + norm.epsilon)
    return y * weight("norm_gate_scale", **sizes(y, "g", "r", "p"))


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
    heads = {"h": ssm.heads}
    dt = softplus(step.to("f32") + weight("dt_bias", **heads))
    low, high = ssm.dt_range
    if (low, high) != (0.0, float("inf")):
        dt = clip(dt, low, high)
    decay = exp(-dt * exp(weight("a_log", **heads)))
    own = iota("h", ssm.heads) // (ssm.heads // ssm.groups)
    total, driven = recurrence(decay, dt * drive * into.at(g=own), "s")
    before = tensor("recurrent", "state", ssm.format, b="b", **sizes(drive, "h", "p"), n=ssm.state)
    held = total * before + driven
    y = dot(held, out_of.at(g=own), "n") + drive * weight("d_skip", **heads)
    return y, held.last("s")
