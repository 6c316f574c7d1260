"""Programs that claims are about, written as their papers write them."""

from __future__ import annotations

from maquette.compiler.derive import derive
from maquette.compiler.fuse import fuse
from maquette.compiler.kernel import Kernel
from maquette.ir.build import Tensor, dot, exp, iota, reduce, softmax, tensor, where
from maquette.ir.graph import Graph
from maquette.ir.monoids import Monoid
from maquette.ir.patterns import section
from maquette.ir.scalar import Apply, Arg, Lit
from maquette.space.mapping.traffic import joined


def mixing(n: int, d: int, trained: bool = False) -> Graph:
    """Softmax attention of one head over `n` tokens, a section for every kernel of Algorithm 0.

    As it is `trained`, mask and dropout are kernels of their own.

    >>> from maquette.ir.facts import by_section
    >>> list(by_section(mixing(64, 8)))
    ['scores', 'softmax', 'mix']
    """
    q, k, v = _heads(n, d)
    with section("scores"):
        scores = dot(q, k, "d") * d**-0.5
    if trained:
        with section("mask"):
            scores = where(_bits("mask", n) > 0, scores, -1e4)
    with section("softmax"):
        shares = softmax(scores, "t")
    if trained:
        with section("dropout"):
            shares = _bits("keep", n) * shares * (1 / 0.9)
    with section("mix"):
        return Graph("forward", {"o": dot(shares, v, "t").value})


def backward(n: int, d: int, trained: bool = False) -> Graph:
    """Gradients of `mixing` with the shares kept: the backward pass of Algorithm 0."""
    q, k, v = _heads(n, d)
    shares, do = _tensor("p", s=n, t=n), _tensor("do", s=n, e=d)
    dropped = _tensor("dropped", s=n, t=n) if trained else shares
    with section("dv"):
        dv = dot(dropped, do, "s")
    with section("dp"):
        dp = dot(do, v, "e")
    if trained:
        with section("dropout"):
            dp = _bits("keep", n) * dp * (1 / 0.9)
    with section("ds"):
        ds = shares * (dp - (shares * dp).sum("t"))
    if trained:
        with section("mask"):
            ds = where(_bits("mask", n) > 0, ds, 0.0)
    return _gradients("kept", q, k, ds, dv, d)


def recomputing(n: int, d: int) -> Graph:
    """The same gradients from one number a row that the forward pass leaves: Algorithm 4."""
    q, k, v = _heads(n, d)
    o, do = _tensor("o", s=n, e=d), _tensor("do", s=n, e=d)
    shares = exp(dot(q, k, "d") * d**-0.5 - tensor("lse", "activation", "f32", s=n))
    ds = shares * (dot(do, v, "e") - dot(do, o, "e"))
    return _gradients("recomputed", q, k, ds, dot(shares, do, "s"), d)


def plain(shifted: bool = True) -> Graph:
    """Attention of symbolic sizes; not `shifted`: without the maximum, DAM's naive form."""
    scores = dot(_tensor("q", s="s", d="d"), _tensor("k", t="t", d="d"), "d")
    p = exp(scores - scores.max("t")) if shifted else exp(scores)
    weighted = p / p.sum("t") * _tensor("v", t="t", e="e")
    return Graph("plain", {"o": weighted.sum("t").value})


def kept_blocks(rows: int, kept: int, block: int, d: int) -> Graph:
    """`mixing` with a mask of blocks: each of `rows` blocks of queries meets `kept` of keys.

    Keys and values are the blocks that the mask keeps, as whoever follows its table hands them
    over: axis n counts them.
    """
    q = _tensor("q", i=rows, r=block, d=d)
    k = _tensor("k", i=rows, n=kept, c=block, d=d)
    v = _tensor("v", i=rows, n=kept, c=block, e=d)
    scores = dot(q, k, "d") * d**-0.5
    p = exp(scores - scores.max("n", "c"))
    return Graph("blocks", {"o": (dot(p, v, "n", "c") / p.sum("n", "c")).value})


def product(m: int, k: int, n: int, format: str = "f32") -> Graph:
    """An activation of m rows times a weight of k by n."""
    x = tensor("x", "activation", format, m=m, k=k)
    return Graph("product", {"y": dot(x, tensor("w", "weight", format, k=k, n=n), "k").value})


def nearest(n: int, k: int, d: int) -> Graph:
    """Which of k centroids is nearest to each of n points: the inner part of k-means."""
    points = tensor("points", "activation", "f32", n=n, d=d)
    centroids = tensor("centroids", "activation", "f32", k=k, d=d)
    closer = Apply("le", (Arg(0), Arg(2)))
    pair = Monoid(
        "nearest",
        (Lit(float("inf")), Lit(0)),
        (Apply("min", (Arg(0), Arg(2))), Apply("where", (closer, Arg(1), Arg(3)))),
    )
    apart = ((points - centroids) * (points - centroids)).sum("d")
    return Graph("nearest", {"near": reduce(pair, ("k",), apart, iota("k", k))[1].value})


def monarch(n: int, m: int, k: int) -> Graph:
    """Two products with a twiddle and a transposition between them, a section for each.

    n times (m by k) · (k by m), then times (m by k) along the other axis.
    """
    x, twiddle = _tensor("x", i=n, m=m, k=k), tensor("twiddle", "weight", "f16", m=m, j=m)
    with section("gemm0"):
        y = dot(x, tensor("w0", "weight", "f16", k=k, j=m), "k")
    with section("twiddle"):
        y = y * twiddle
    with section("transpose"):
        y = y * 1.0  # a kernel that only moves; one section moves nothing
    with section("gemm1"):
        return Graph("monarch", {"y": dot(y, tensor("w1", "weight", "f16", m=m, o=k), "m").value})


def blocks(side: int) -> Graph:
    """A Monarch matrix of side² by side²: products within blocks, a transposition between."""
    x = _tensor("x", b=side, k=side)
    left = tensor("left", "weight", "f16", b=side, k=side, j=side)
    right = tensor("right", "weight", "f16", j=side, b=side, o=side)
    return Graph("blocks", {"y": dot(dot(x, left, "k"), right, "b").value})


def streamed(graph: Graph) -> Kernel:
    """What derivation makes of a program, all its kernels as the stages of one."""
    kernels = fuse(derive(graph).graph).kernels
    return joined([k for k in kernels if isinstance(k, Kernel)])


def _heads(n: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    return _tensor("q", s=n, d=d), _tensor("k", t=n, d=d), _tensor("v", t=n, e=d)


def _tensor(name: str, **axes: int | str) -> Tensor:
    return tensor(name, "activation", "f16", **axes)


def _bits(name: str, n: int) -> Tensor:
    """A byte for every score, as such kernels keep them."""
    return tensor(name, "activation", "int8", s=n, t=n)


def _gradients(name: str, q: Tensor, k: Tensor, ds: Tensor, dv: Tensor, d: int) -> Graph:
    with section("dq"):
        dq = dot(ds, k, "t") * d**-0.5
    with section("dk"):
        dk = dot(ds, q, "s") * d**-0.5
    return Graph(name, {"dq": dq.value, "dk": dk.value, "dv": dv.value})
