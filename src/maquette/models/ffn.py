"""Feed-forward parts: one or two matrices in, an activation, one matrix out."""

from __future__ import annotations

import math

from maquette.ir.axes import Axis
from maquette.ir.build import Tensor, apply, clip, dot, sigmoid, silu, tanh, tensor, weight
from maquette.ir.dtypes import DType
from maquette.ir.patterns import section
from maquette.models.config import Activation, Dense


def feed_forward(
    x: Tensor,
    ffn: Dense,
    fmt: DType,
    sections: tuple[str, str, str] = ("gate_up", "act", "down"),
    prefix: str = "",
    of: tuple[Axis, ...] = (),
) -> Tensor:
    """``x[…,d]`` through the hidden axis ``f`` and back; weights carry the axes `of` too."""
    d, own = x.value.axis("d").size, {a.name: a.within or a.size for a in of}
    up_section, act_section, down_section = sections
    with section(up_section):
        into = []
        for name in ("gate", "up") if ffn.gated else ("up",):
            w = tensor(f"{prefix}w_{name}", "weight", fmt, **own, d=d, f=ffn.hidden)
            y = dot(x, w, "d")
            if ffn.bias:
                y = y + weight(f"{prefix}b_{name}", **own, f=ffn.hidden)
            into.append(y)
    with section(act_section):
        hidden = activate(ffn.activation, *into)
    with section(down_section):
        w = tensor(f"{prefix}w_down", "weight", fmt, **own, f=ffn.hidden, d=d)
        out = dot(hidden, w, "f")
        if ffn.bias and not of:
            out = out + weight(f"{prefix}b_down", d=d)
    return out


def activate(kind: Activation, gate: Tensor, up: Tensor | None = None) -> Tensor:
    """The activation of `gate`, times `up` where the part is gated."""
    if kind == "clamped_swiglu":  # gpt-oss: both sides bounded, a steeper sigmoid, up + 1
        assert up is not None
        gate = apply("min", gate, 7.0)
        up = clip(up, -7.0, 7.0)
        return gate * sigmoid(gate * 1.702) * (up + 1.0)
    y = _ACTIVATIONS[kind](gate)
    return y if up is None else y * up


def _gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + apply("erf", x * (1 / math.sqrt(2))))


def _gelu_tanh(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + tanh((x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)))


def _relu(x: Tensor) -> Tensor:
    return apply("max", x, 0.0)


def _relu2(x: Tensor) -> Tensor:
    return _relu(x) * _relu(x)


_ACTIVATIONS = {
    "silu": silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": _relu,
    "relu2": _relu2,
}
