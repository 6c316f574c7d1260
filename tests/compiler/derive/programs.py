"""Naive programs, written with no thought of one pass, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maquette.ir import Graph
from maquette.ir.build import (
    Tensor,
    apply,
    dot,
    exp,
    indices,
    iota,
    reduce,
    rsqrt,
    sigmoid,
    softmax,
    tanh,
    tensor,
    where,
)
from maquette.ir.monoids import AND

INF = float("inf")


def activation(name: str, /, **axes: int) -> Tensor:
    return tensor(name, "activation", "f32", **axes)


def log(x: Tensor) -> Tensor:
    return apply("log", x)


@dataclass(frozen=True)
class Shapes:
    """Sizes of the programs below."""

    s: int = 9
    t: int = 9
    b: int = 2
    h: int = 4
    d: int = 4
    e: int = 3

    def queries(self) -> Tensor:
        return activation("q", b=self.b, h=self.h, s=self.s, d=self.d)

    def keys(self) -> Tensor:
        return activation("k", b=self.b, h=self.h, t=self.t, d=self.d)

    def values(self) -> Tensor:
        return activation("v", b=self.b, h=self.h, t=self.t, e=self.e)

    def scores(self) -> Tensor:
        return dot(self.queries(), self.keys(), "d") * 0.5

    def here(self) -> Tensor:
        return iota("s", self.s)

    def there(self) -> Tensor:
        return iota("t", self.t)

    def mix(self, scores: Tensor) -> Tensor:
        return dot(softmax(scores, "t"), self.values(), "t")


def full(z: Shapes) -> Tensor:
    return z.mix(z.scores())


def causal(z: Shapes) -> Tensor:
    return z.mix(where(z.there() <= z.here(), z.scores(), -INF))


def window(z: Shapes) -> Tensor:
    seen = (z.there() <= z.here()) & (z.there() > z.here() - 3)
    return z.mix(where(seen, z.scores(), -1e9))


def alibi(z: Shapes) -> Tensor:
    return z.mix(z.scores() + (z.there() - z.here()) * activation("slope", h=z.h))


def soft_cap(z: Shapes) -> Tensor:
    return z.mix(tanh(z.scores() / 5.0) * 5.0)


def additive_mask(z: Shapes) -> Tensor:
    return z.mix(z.scores() + activation("mask", s=z.s, t=z.t))


def block_sparse(z: Shapes) -> Tensor:
    blocks = activation("blocks", i=-(-z.s // 2), j=-(-z.t // 2))
    seen = blocks.at(i=z.here() // 2, j=z.there() // 2) > 0.0
    return z.mix(where(seen, z.scores(), -INF))


def grouped(z: Shapes) -> Tensor:
    k, v = (
        activation(n, b=z.b, g=2, t=z.t, **{a: w}) for n, a, w in (("k", "d", z.d), ("v", "e", z.e))
    )
    own = iota("h", z.h) // (z.h // 2)
    scores = dot(z.queries() * 0.3, k.at(g=own), "d")
    return dot(softmax(scores, "t"), v.at(g=own), "t")


def grouped_by_views(z: Shapes) -> Tensor:
    k, v = (
        activation(n, b=z.b, g=2, t=z.t, **{a: w}) for n, a, w in (("k", "d", z.d), ("v", "e", z.e))
    )
    q = z.queries().split("h", g=2, r=z.h // 2)
    return dot(softmax(dot(q, k, "d"), "t"), v, "t").merge("g", "r", into="h")


def grouped_after(z: Shapes) -> Tensor:
    """The softmax over flat heads, the values over groups."""
    v = activation("v", b=z.b, g=2, t=z.t, e=z.e)
    return dot(softmax(z.scores(), "t").split("h", g=2, r=z.h // 2), v, "t")


def multi_query(z: Shapes) -> Tensor:
    k, v = activation("k", b=z.b, t=z.t, d=z.d), activation("v", b=z.b, t=z.t, e=z.e)
    return dot(softmax(dot(z.queries(), k, "d"), "t"), v, "t")


def divided_last(z: Shapes) -> Tensor:
    scores = z.scores()
    e = exp(scores - scores.max("t"))
    return dot(e, z.values(), "t") / e.sum("t")


def scale_inside(z: Shapes) -> Tensor:
    """The maximum of unscaled scores."""
    scores = dot(z.queries(), z.keys(), "d")
    e = exp((scores - scores.max("t")) * 0.5)
    return dot(e / e.sum("t"), z.values(), "t")


def scaled_twice(z: Shapes) -> Tensor:
    scores = dot(z.queries(), z.keys(), "d")
    e = exp(scores * 0.5 - scores.max("t") * 0.5)
    return dot(e / e.sum("t"), z.values(), "t")


def temperature(z: Shapes) -> Tensor:
    return z.mix(z.scores() / activation("temperature", h=z.h))


def masked_after(z: Shapes) -> Tensor:
    """Masked exponentials rather than scores."""
    seen = z.there() <= z.here()
    scores = z.scores()
    e = where(seen, exp(scores - where(seen, scores, -INF).max("t")), 0.0)
    return dot(e, z.values(), "t") / e.sum("t")


def masked_last(z: Shapes) -> Tensor:
    """Masked exponentials; a row in which all is masked is nought."""
    scores, seen = z.scores(), activation("seen", s=z.s, t=z.t) > 0.7
    e = where(seen, exp(scores - where(seen, scores, -INF).max("t")), 0.0)
    return dot(e, z.values(), "t") / (e.sum("t") + 1e-6)


def sink(z: Shapes) -> Tensor:
    """An extra logit that takes part in the denominator."""
    scores, extra = z.scores(), activation("extra", h=z.h)
    top = apply("max", scores.max("t"), extra)
    e = exp(scores - top)
    return dot(e, z.values(), "t") / (e.sum("t") + exp(extra - top))


def safe(z: Shapes) -> Tensor:
    """Rows in which everything is masked are nought."""
    scores = z.scores() + activation("mask", s=z.s, t=z.t)
    nothing = reduce(AND, ("t",), apply("eq", scores, -INF))[0]
    return dot(where(nothing, 0.0, softmax(scores, "t")), z.values(), "t")


def sigmoid_attention(z: Shapes) -> Tensor:
    return dot(sigmoid(z.scores()), z.values(), "t")


def rows(z: Shapes) -> Tensor:
    return activation("x", n=z.s, t=z.t)


def soft(z: Shapes) -> Tensor:
    return softmax(rows(z), "t")


def log_sum_exp(z: Shapes) -> Tensor:
    x = rows(z)
    top = x.max("t")
    return top + log(exp(x - top).sum("t"))


def cross_entropy(z: Shapes) -> Tensor:
    return log_sum_exp(z) - rows(z).at(t=indices("target", n=z.s))


def one_hot(z: Shapes) -> Tensor:
    return where(apply("eq", z.there(), indices("target", n=z.s)), 1.0, 0.0)


def cross_entropy_one_hot(z: Shapes) -> Tensor:
    return -(one_hot(z) * (rows(z) - log_sum_exp(z))).sum("t")


def cross_entropy_log_softmax(z: Shapes) -> Tensor:
    x = rows(z)
    shifted = x - x.max("t")
    return -(one_hot(z) * (shifted - log(exp(shifted).sum("t")))).sum("t")


def entropy(z: Shapes) -> Tensor:
    p = soft(z)
    return -(p * log(p)).sum("t")


def features(z: Shapes) -> tuple[Tensor, Tensor]:
    return activation("a", n=z.s, d=z.t), activation("w", d=z.t, f=z.e)


def rms_norm(z: Shapes) -> Tensor:
    a, w = features(z)
    return dot(a * rsqrt((a * a).mean("d") + 1e-6) * activation("g", d=z.t), w, "d")


def unit_length(z: Shapes) -> Tensor:
    a, w = features(z)
    return dot(a / apply("sqrt", (a * a).sum("d")), w, "d")


def cosines(z: Shapes) -> Tensor:
    a, w = features(z)
    return dot(a / apply("sqrt", (a * a).sum("d")), w / apply("sqrt", (w * w).sum("d")), "d")


def largest_is_one(z: Shapes) -> Tensor:
    a, w = features(z)
    return dot(a / apply("abs", a).max("d"), w, "d")


def largest_of_centred(z: Shapes) -> Tensor:
    a, _ = features(z)
    return (a - a.mean("d")).max("d")


def variance(z: Shapes) -> Tensor:
    a, _ = features(z)
    centred = a - a.mean("d")
    return (centred * centred).mean("d")


def layer_norm(z: Shapes) -> Tensor:
    a, w = features(z)
    centred = a - a.mean("d")
    y = centred * rsqrt((centred * centred).mean("d") + 1e-5)
    return dot(y * activation("g", d=z.t) + activation("c", d=z.t), w, "d")


def layer_norm_apart(z: Shapes) -> Tensor:
    """The scale times the value less the scale times the mean."""
    a, w = features(z)
    mean = a.mean("d")
    scale = rsqrt(((a - mean) * (a - mean)).mean("d") + 1e-5)
    return dot((a * scale - mean * scale) * activation("g", d=z.t), w, "d")


def unguarded(z: Shapes) -> Tensor:
    a, w = features(z)
    return (exp(a - a.mean("d")) * w).sum("d")


Program = Callable[[Shapes], Tensor]

ATTENTION: tuple[Program, ...] = (
    full, causal, window, alibi, soft_cap, additive_mask, block_sparse, grouped, grouped_by_views,
    grouped_after, multi_query, divided_last, scale_inside, scaled_twice, temperature,
    masked_after, masked_last, sink, safe,
)  # fmt: skip
STREAMED: tuple[Program, ...] = (
    *ATTENTION, soft, log_sum_exp, cross_entropy, cross_entropy_one_hot,
    cross_entropy_log_softmax, entropy, variance, layer_norm, layer_norm_apart, unguarded,
)  # fmt: skip
HOISTED: tuple[Program, ...] = (
    rms_norm, unit_length, cosines, largest_is_one, largest_of_centred,
)  # fmt: skip


def graph(program: Program, shapes: Shapes | None = None) -> Graph:
    return Graph(program.__name__, {"y": program(shapes or Shapes()).value})


def inputs(of: Graph, rng: np.random.Generator, spread: float = 1.0) -> dict[str, np.ndarray]:
    """Random inputs; `spread` is the standard deviation of what goes into an exponential."""
    found = {}
    for name, value in of.inputs.items():
        shape = [int(a.size.constant) for a in value.axes]
        if value.dtype.kind == "int":
            found[name] = rng.integers(0, 3, size=shape)
        else:
            found[name] = rng.normal(size=shape) * (spread if name in ("q", "x") else 1)
    if "mask" in found:
        found["mask"] = np.where(found["mask"] > 0.4, -INF, found["mask"])
    return found
