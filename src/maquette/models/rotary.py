"""Rotary positions: pairs of features turned by an angle proportional to the position."""

from __future__ import annotations

import math

from maquette.ir.build import Tensor, clip, cos, exp, iota, sin, where
from maquette.ir.sizes import sym
from maquette.models.config import Rope, Stretch


def positions() -> Tensor:
    """Where the new tokens of a step stand in their sequences: ``t - s … t - 1`` over ``s``."""
    return iota("s", "s") + (sym("t") - sym("s"))


def rotate(x: Tensor, rope: Rope, along: str) -> Tensor:
    """`x` with the first `rope.dims` features of the axis `along` turned to their positions."""
    width = x.value.axis(along).size
    feature = iota(along, width)
    if rope.interleaved:
        number = feature // 2
        odd = feature % 2
        second = odd > 0
        partner = feature + 1 - odd * 2
    else:
        half = rope.dims // 2
        number = feature % half
        second = feature >= half
        partner = (feature + half) % rope.dims
    angle = positions() * frequencies(number, rope)
    gain = rope.stretch.amplitude if rope.stretch else 1.0
    cosine, sine = cos(angle), sin(angle)
    if gain != 1.0:
        cosine, sine = cosine * gain, sine * gain
    turned = x * cosine + x.at(**{along: partner}) * where(second, sine, -sine)
    return turned if width.constant == rope.dims else where(feature < rope.dims, turned, x)


def frequencies(number: Tensor, rope: Rope) -> Tensor:
    """Radians per position of pair `number` (0 turns fastest)."""
    base = exp(number * (-2 * math.log(rope.theta) / rope.dims))
    stretch = rope.stretch
    if stretch is None:
        return base
    if stretch.over == "all":
        return base / stretch.factor
    return base * (1 / stretch.factor + (1 - 1 / stretch.factor) * _keep(base, number, stretch))


def _keep(base: Tensor, number: Tensor, stretch: Stretch) -> Tensor:
    """1 where a frequency stays as it is, 0 where it is slowed in full, a ramp between."""
    x = base * (stretch.context / (2 * math.pi)) if stretch.over == "turns" else number
    ramp = (x - stretch.slow) / (stretch.fast - stretch.slow)
    return clip(ramp, 0.0, 1.0)
