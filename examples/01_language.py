"""A decoder layer in the language: written by hand, printed, run, counted.

Axes: b sequences, s new tokens each, t tokens of context after the step, d features of the
residual stream, g key-value heads of r query heads each, k features of a head, f of the middle.
"""

import math

import numpy as np

from maquette.ir import (
    Graph,
    by_section,
    check,
    evaluate,
    section,
    section_traffic,
    show,
    sym,
    work,
)
from maquette.ir.build import (
    Tensor,
    activation,
    concat,
    cos,
    dot,
    exp,
    iota,
    rsqrt,
    silu,
    sin,
    softmax,
    state,
    weight,
    where,
)

S, T = sym("s"), sym("t")


def norm(x: Tensor, scale: Tensor) -> Tensor:
    """Root-mean-square normalisation."""
    return x * rsqrt((x * x).mean("d") + 1e-5) * scale


def rotate(x: Tensor, width: int, theta: float = 10000.0) -> Tensor:
    """Rotary positions: feature i turns with feature i + width/2, by an angle of the position."""
    half = width // 2
    feature = iota("k", width)
    slowness = feature % half * (-2 * math.log(theta) / width)
    angle = (iota("s", "s") + (T - S)) * exp(slowness)
    partner = x.at(k=(feature + half) % width)
    return x * cos(angle) + partner * where(feature < half, -sin(angle), sin(angle))


def layer(d: int = 64, g: int = 2, r: int = 3, k: int = 8, f: int = 96) -> Graph:
    """One step of a layer with grouped heads: s new tokens after t - s cached ones."""
    x = activation("x", b="b", s="s", d=d)
    with section("qkv"):
        h = norm(x, weight("attention_norm", d=d))
        q = rotate(dot(h, weight("wq", d=d, g=g, r=r, k=k), "d"), k)
        new_key = rotate(dot(h, weight("wk", d=d, g=g, k=k), "d"), k)
        new_value = dot(h, weight("wv", d=d, g=g, k=k), "d")
    keys = concat("t", state("keys", b="b", t=T - S, g=g, k=k), new_key.rename(s="t"))
    values = concat("t", state("values", b="b", t=T - S, g=g, k=k), new_value.rename(s="t"))
    with section("attention"):
        visible = iota("t", "t") <= iota("s", "s") + (T - S)
        scores = dot(q, keys, "k") * k**-0.5
        attended = dot(softmax(where(visible, scores, -math.inf), "t"), values, "t")
    with section("out"):
        x = x + dot(attended, weight("wo", g=g, r=r, k=k, d=d), "g", "r", "k")
    with section("mlp"):
        h = norm(x, weight("mlp_norm", d=d))
        gate, up = dot(h, weight("w_gate", d=d, f=f), "d"), dot(h, weight("w_up", d=d, f=f), "d")
        y = x + dot(silu(gate) * up, weight("w_down", f=f, d=d), "f")
    return Graph("layer", {"x": y.value, "keys": keys.value, "values": values.value})


def main() -> None:
    """Print the layer, run it in one piece and token by token, and count a larger one."""
    small = check(layer(), symbols={"b", "s", "t"})
    print(show(small))

    rng = np.random.default_rng(0)
    inputs = {
        name: rng.normal(size=[a.size.constant for a in value.axes]) / 8
        for name, value in small.inputs.items()
        if value.role == "weight"
    }
    x = rng.normal(size=(2, 5, 64))
    cache = {name: np.zeros((2, 0, 2, 8)) for name in ("keys", "values")}
    whole = evaluate(small, {**inputs, **cache, "x": x}, precise=True)["x"]
    pieces = []
    for i in range(5):
        after = evaluate(small, {**inputs, **cache, "x": x[:, i : i + 1]}, precise=True)
        pieces.append(after.pop("x"))
        cache = after
    apart = np.abs(whole - np.hstack(pieces)).max()
    print(f"\nfive tokens at once and one by one differ by {apart:.0e}")

    large = layer(d=4096, g=8, r=4, k=128, f=14336)
    print("\nelements that move and flops of one decode step, batch 8, context 1k, 8k, 64k")
    shapes = {"b": 8, "s": 1, "t": np.array([1024, 8192, 65536])}
    for name, values in by_section(large).items():
        traffic = section_traffic(values, large)
        moved = sum((m.elements for m in (*traffic.reads, *traffic.writes)), start=sym("b") * 0)
        flops = work(values)
        print(f"  {name:9}  moves {moved}")
        print(f"  {'':9}  matrix flops {flops.matrix}")
        print(f"  {'':9}  flops per element {flops.total(shapes) / moved(shapes)}")


if __name__ == "__main__":
    main()
