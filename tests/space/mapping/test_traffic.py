"""Words across the border of a memory: published laws, and a walk that counts tile by tile."""

from __future__ import annotations

from itertools import product
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.compiler.derive import derive
from maquette.compiler.fuse import fuse, parse_kernel
from maquette.errors import InputError
from maquette.ir import build as b
from maquette.ir.graph import Graph
from maquette.ir.monoids import Monoid
from maquette.ir.scalar import Apply, Arg, Lit
from maquette.space.mapping.traffic import Loop, joined, least, words

STATES = ("v1_0", "v1_1", "v1_2")


def attention(n: int, d: int = 64):
    q, k, v = (
        b.tensor(name, "activation", "bf16", **{axis: n}, **{inner: d})
        for name, axis, inner in (("q", "s", "d"), ("k", "t", "d"), ("v", "t", "e"))
    )
    out = b.dot(b.softmax(b.dot(q, k, "d") * d**-0.5, "t"), v, "t")
    (kernel,) = fuse(derive(Graph("attention", {"o": out.value})).graph).kernels
    return kernel


def slope(xs, ys):
    return np.polyfit(np.log(xs), np.log(ys), 1)[0]


@pytest.mark.parametrize("order", [("s", "t"), ("t", "s")])
def test_words_of_streamed_attention_fall_with_memory_and_grow_with_the_square(order):
    """Θ(N²d²/M), FlashAttention (arXiv 2205.14135), theorem 2; both orders of the loops."""
    kernel = attention(1 << 16)
    sizes = [1 << i for i in range(13, 17)]
    moved = [least(kernel, order, m).moved.constant for m in sizes]
    assert slope(sizes, moved) == pytest.approx(-1, abs=0.05)
    lengths = [1 << i for i in range(15, 19)]
    moved = [least(attention(n), order, 1 << 15).moved.constant for n in lengths]
    assert slope(lengths, moved) == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize("block, giga", [(64, 6.71), (128, 3.49), (256, 1.88), (512, 1.07)])
def test_blocks_of_keys_outside(block, giga):
    """2·N·d + N/B·3·N·d words, FlashAttention's algorithm 1; ours counts m and l as well."""
    n, d, heads = 1024, 64, 1024
    nest = words(attention(n), (Loop("t", block), Loop("s", 64)), spilled=STATES, stored=True)
    assert nest.moved.constant * heads * 2 / 1e9 == pytest.approx(giga, rel=0.025)
    turns = n // block
    without = nest.moved.constant - 2 * n * (2 * turns - 1)
    assert without == 2 * n * d + turns * 3 * n * d


def test_blocks_of_queries_outside():
    """2·N·d + 2·N·d·N/B words: keys and values once for every block of queries."""
    n, d = 1024, 64
    found = words(attention(n), (Loop("s", 128), Loop("t", 128)))
    assert found.moved.constant == 2 * n * d + 2 * n * d * 8


def clustering():
    """Which centroid is nearest to each point."""
    p = b.tensor("points", "activation", "f32", n=64, d=8)
    c = b.tensor("centroids", "activation", "f32", k=16, d=8)
    smaller = Apply("le", (Arg(0), Arg(2)))
    pair = Monoid(
        "nearest",
        (Lit(float("inf")), Lit(0)),
        (Apply("min", (Arg(0), Arg(2))), Apply("where", (smaller, Arg(1), Arg(3)))),
    )
    apart = ((p - c) * (p - c)).sum("d")
    near = b.reduce(pair, ("k",), apart, b.iota("k", 16))[1]
    return joined(fuse(derive(Graph("nearest", {"near": near.value})).graph).kernels)


NESTS = {
    "fused": ((Loop("n"), Loop("k")), "d*n", "d", "d*k*n", "d", "1"),
    "strip-mined": (
        (Loop("n", "b0"), Loop("n"), Loop("k", "b1")),
        *("d*n", "b0*d", "d*k*n", "b1*d", "1"),
    ),
    "interchanged": (
        (Loop("n", "b0"), Loop("k", "b1"), Loop("n")),
        *("d*n", "b0*d", "b0^-1*d*k*n", "b1*d", "b0"),
    ),
}


@pytest.mark.parametrize("name", NESTS)
def test_clustering_as_published(name):
    """Prabhakar et al., ASPLOS 2016, figure 5e: words read and held, symbolically."""
    loops, *expected = NESTS[name]
    found = {w.name: w for w in words(clustering(), loops, {"n": "n", "k": "k", "d": "d"}).words}
    points, centroids = found["points"], found["centroids"]
    counted = [points.read, points.held, centroids.read, centroids.held]
    assert [str(c) for c in counted] == expected[:4]
    assert [str(found[n].held) for n in ("v1_0", "near")] == [expected[4]] * 2


PRODUCT = """kernel product
  extent m={}, n={}, k={}
  in a f32[m, k] strides {}, 1
  in b f32[k, n] strides {}, 1
  out c f32[m, n] strides {}, 1
  f32 c[m, n] = add over k: %a * %b
"""


def counted(loops, extents, axes):
    """Words of one operand, by running the loops and copying a tile where another is asked for."""
    trips = [range(ceil(extents[x.axis] / x.step)) for x in loops]
    place = max((i for i, x in enumerate(loops) if x.axis in axes), default=-1)
    held, total = None, 0
    for at in product(*trips):
        asked = at[: place + 1]
        if asked != held:
            held, tile = asked, 1
            for axis in axes:
                step, n = next(
                    ((x.step, i) for x, i in zip(loops, at, strict=True) if x.axis == axis),
                    (extents[axis], 0),
                )
                tile *= min(step, extents[axis] - n * step)
            total += tile
    return total


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.permutations(["m", "n", "k"]),
    st.tuples(*[st.integers(1, 9)] * 3),
    st.integers(0, 3),
)
def test_copies_as_counted_one_by_one(shape, order, steps, depth):
    extents = dict(zip("mnk", shape, strict=True))
    loops = [Loop(a, min(s, extents[a])) for a, s in list(zip(order, steps, strict=True))[:depth]]
    kernel = parse_kernel(PRODUCT.format(*shape, shape[2], shape[1], shape[1]))
    found = {w.name: w for w in words(kernel, loops).words}
    assert found["a"].read.constant == counted(loops, extents, "mk")
    assert found["b"].read.constant == counted(loops, extents, "kn")


def test_products_reach_the_known_bound():
    """2·m·n·k/√M words and no more than a constant away: Hong and Kung, 1981."""
    n, memory = 1024, 64 * 64 + 2 * 64
    kernel = parse_kernel(PRODUCT.format(n, n, n, n, n, n))
    moved = least(kernel, ("m", "n", "k"), memory).moved.constant
    bound = 2 * n**3 / memory**0.5
    assert bound <= moved <= 1.1 * bound + n * n


def test_what_does_not_fit_has_no_nest():
    assert least(attention(1024), ("s", "t"), 100) is None


def test_a_loop_over_no_axis_of_the_kernel_is_refused():
    with pytest.raises(InputError, match="no axis 'z'"):
        words(attention(64), (Loop("z", 2),))
