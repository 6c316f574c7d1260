"""Programs as somebody might write them, that other ways to the same numbers make faster."""

from __future__ import annotations

from maquette.ir import Graph, Map, make
from maquette.ir.build import Tensor, concat, dot, exp, tensor
from maquette.ir.scalar import Apply, Arg, Index, Lit


def f32(name, role="activation", **axes):
    return tensor(name, role, "f32", **axes)


def graph(name, **outputs):
    return Graph(name, {n: t.value for n, t in outputs.items()})


def linear_attention(s=2048, d=64):
    """(q kᵀ) v with nothing in between."""
    q, k, v = (f32(n, **{a: s}, d=d) for n, a in (("q", "s"), ("k", "t"), ("v", "t")))
    return graph("linear_attention", y=dot(dot(q, k, "d") * d**-0.5, v, "t"))


def low_rank(s=512, d=1024, r=32):
    """x (A B): the update of an adapter, written as its product with an input."""
    x, h = f32("x", s=s, d=d), f32("h", r=r, e=d)
    return graph("low_rank", y=dot(x, dot(f32("a", d=d, r=r), h, "r"), "d"))


def adapters(s=64, d=1024, r=256, count=3):
    """x W and three adapters, (x A) B each, added."""
    x = f32("x", s=s, d=d)
    y = dot(x, f32("w", "weight", d=d, e=d), "d")
    for i in range(count):
        a, b = f32(f"a{i}", "weight", d=d, r=r), f32(f"b{i}", "weight", r=r, e=d)
        y = y + dot(dot(x, a, "d"), b, "r") * 0.5
    return graph("adapters", y=y)


def last_token(s=512, d=512, v=4096):
    """Logits of every token, of which the last is kept."""
    x = f32("x", s=s, d=d)
    logits = dot(x, f32("w", "weight", d=d, v=v), "d")
    return graph("last_token", y=logits.slice("s", s - 1, 1))


def mean_pool(s=1024, d=512, e=512):
    """The mean over tokens of a projection."""
    y = dot(f32("x", s=s, d=d), f32("w", "weight", d=d, e=e), "d")
    return graph("mean_pool", y=y.mean("s"))


def chain(sizes=(800, 40, 900, 30, 1000)):
    """A product of four matrices, written from left to right."""
    names = "abcdefg"
    y = f32("m0", a=sizes[0], b=sizes[1])
    for i in range(1, len(sizes) - 1):
        step = {names[i]: sizes[i], names[i + 1]: sizes[i + 1]}
        y = dot(y, f32(f"m{i}", **step), names[i])
    return graph("chain", y=y)


def qkv(s=512, d=1024):
    """Three projections of one input."""
    x = f32("x", s=s, d=d)
    parts = {f"y{f}": dot(x, f32(f"w{f}", "weight", d=d, **{f: d}), "d") for f in "efg"}
    return graph("qkv", **parts)


def neighbours(n=4096, d=64):
    """Exponentials of a row's neighbours."""
    x = f32("x", n=n, d=d)

    def shifted(by):
        """x[n + by], zero outside."""
        read = Arg(0, (("n", Apply("add", (Index("n"), Lit(by)))),))
        made = make(Map, axes=x.axes, dtype="f32", args=(x.value,), body=read, section="")
        return Tensor(made)

    return graph("neighbours", y=exp(shifted(-1)) + exp(x) + exp(shifted(1)))


FASTER = (linear_attention, low_rank, adapters, last_token, mean_pool, chain)


def delayed(s=512, d=512):
    """A product of every token and of the one before it, which for the first is given."""
    x, first, w = f32("x", s=s, d=d), f32("first", s=1, d=d), f32("w", "weight", d=d, e=d)
    before = concat("s", first, x.slice("s", 0, s - 1))
    return graph("delayed", y=dot(before, w, "d") * dot(x, w, "d"))


def windows(s=512, d=512):
    """Products of what neighbours are mapped to."""
    x, w = f32("x", s=s, d=d), f32("w", "weight", d=d, e=d)
    later, sooner = (dot(x.slice("s", n, s - 1), w, "d") for n in (1, 0))
    return graph("windows", y=later * sooner)


def _masked(name, s, d, test):
    q, k, v = (f32(n, **{a: s}, d=d) for n, a in (("q", "s"), ("k", "t"), ("v", "t")))
    scores = dot(q, k, "d")
    body = Apply("where", (test, Arg(0), Lit(0.0)))
    kept = make(Map, axes=scores.axes, dtype="f32", args=(scores.value,), body=body, section="")
    return graph(name, y=dot(Tensor(kept), v.rename(d="e"), "t"))


def causal(s=2048, d=64):
    """Linear attention to what came before."""
    return _masked("causal", s, d, Apply("le", (Index("t"), Index("s"))))


def banded(s=2048, d=64, width=128):
    """Products with what lies so near."""
    near = Apply("lt", (Index("s"), Apply("add", (Index("t"), Lit(width)))))
    return _masked("banded", s, d, Apply("and", (Apply("le", (Index("t"), Index("s"))), near)))
