"""Normalisation over named axes."""

from __future__ import annotations

from maquette.ir.build import Tensor, rsqrt, weight
from maquette.models.config import Norm


def normalise(x: Tensor, norm: Norm, name: str, *over: str) -> Tensor:
    """`x` normalised over the axes `over`, with a learnt scale (and bias) of those axes.

    >>> from maquette.ir.build import activation
    >>> y = normalise(activation("x", b="b", d=64), Norm(), "norm", "d")
    >>> [str(a) for a in y.axes]
    ['b=b', 'd=64']
    """
    sizes = {n: x.value.axis(n).size for n in over}
    if norm.kind == "layer":
        x = x - x.mean(*over)
    scale = weight(f"{name}_scale", **sizes)
    if norm.offset:
        scale = scale + norm.offset
    y = x * rsqrt((x * x).mean(*over) + norm.epsilon) * scale
    return y + weight(f"{name}_bias", **sizes) if norm.bias else y
