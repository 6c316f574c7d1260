"""Random sound graphs, with inputs, for properties that must hold of all graphs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st

from maquette.ir.axes import axis, full, points
from maquette.ir.build import (
    Tensor,
    apply,
    concat,
    group_by,
    iota,
    reduce,
    scan,
    tensor,
    top,
    where,
)
from maquette.ir.graph import Graph
from maquette.ir.monoids import ADD, AFFINE, MAX, MIN, MUL, Monoid
from maquette.ir.patterns import FlatMap, make, section
from maquette.ir.scalar import Apply, Arg, Lit
from maquette.ir.sizes import size

SIZES = {"n": 3, "m": 2}
AXES = {"i": "n", "j": 2, "k": "m", "l": 3}


def _op(name, *args):
    return Apply(name, tuple(Arg(a) if isinstance(a, int) else a for a in args))


# Running maximum and the sum scaled to it: the fold behind a streaming softmax.
ONLINE = Monoid(
    "online",
    (Lit(-1e9), Lit(0.0)),
    (
        _op("max", 0, 2),
        _op(
            "add",
            _op("mul", 1, _op("exp", _op("sub", 0, _op("max", 0, 2)))),
            _op("mul", 3, _op("exp", _op("sub", 2, _op("max", 0, 2)))),
        ),
    ),
)


@dataclass
class Pool:
    """Tensors so far, all of whose axes of one name have one size."""

    draw: object
    floats: list[Tensor] = field(default_factory=list)
    fresh: int = 0

    def pick(self, needs_axes=False):
        held = [t for t in self.floats if t.axes or not needs_axes]
        return self.draw(st.sampled_from(held))

    def name(self):
        self.fresh += 1
        return f"x{self.fresh}"

    def axis(self, t):
        return self.draw(st.sampled_from([a.name for a in t.axes]))


def pointwise(pool):
    op = pool.draw(st.sampled_from(["add", "sub", "mul", "max", "tanh", "sigmoid", "neg", "where"]))
    a, b = pool.pick(), pool.pick()
    if op == "where":
        return where(a < b, a, pool.draw(st.sampled_from([0.5, -1.0, 2])))
    if op in ("tanh", "sigmoid", "neg"):
        return apply(op, a)
    return apply(op, a, pool.draw(st.sampled_from([b, 0.25, size("n")])))


def folded(pool):
    t = pool.pick(needs_axes=True)
    over = pool.draw(st.lists(st.sampled_from([a.name for a in t.axes]), min_size=1, unique=True))
    return reduce(pool.draw(st.sampled_from([ADD, MUL, MAX, MIN])), tuple(over), t)[0]


def product_sum(pool):
    a, b = pool.pick(needs_axes=True), pool.pick(needs_axes=True)
    return (a * b).sum(pool.axis(a))


def tupled(pool):
    t = pool.pick(needs_axes=True)
    pair = (t, apply("tanh", t))
    if pool.draw(st.booleans()):
        return reduce(ONLINE, (pool.axis(t),), *pair)[pool.draw(st.integers(0, 1))]
    return scan(pool.draw(st.sampled_from([ONLINE, AFFINE])), pool.axis(t), *pair)[1]


def scanned(pool):
    t = pool.pick(needs_axes=True)
    return scan(pool.draw(st.sampled_from([ADD, MAX])), pool.axis(t), t)[0]


def viewed(pool):
    t = pool.pick(needs_axes=True)
    name = pool.axis(t)
    kind = pool.draw(st.sampled_from(["rename", "concat", "slice", "merge", "split"]))
    if kind == "rename":
        return t.rename(**{name: pool.name()})
    if kind == "concat":
        return concat(name, t, apply("neg", t)).rename(**{name: pool.name()})
    if kind in ("slice", "split") and t.value.axis(name).within is not None:
        return t
    if kind == "slice":
        return t.slice(name, 1, 1).rename(**{name: pool.name()})
    if kind == "merge":
        return t.merge(*pool.draw(st.permutations([a.name for a in t.axes])), into=pool.name())
    parts = {pool.name(): 1, pool.name(): t.value.shape[name]}
    return t.split(name, **parts)


def gathered(pool):
    t = pool.pick(needs_axes=True)
    name = pool.axis(t)
    along = pool.draw(st.sampled_from(list(AXES)))
    places = iota(along, AXES[along]) + pool.draw(st.integers(-1, 2))
    return t.at(**{name: places}) if along not in t.value.shape or along == name else t


def sorted_out(pool):
    t = pool.pick(needs_axes=True)
    name, out = pool.axis(t), pool.name()
    if pool.draw(st.booleans()):
        return t.at(**{name: top(t, name, out, 1)})
    kept = axis(out, "kept", full(t.value.axis(name)))
    mask = (t < 0.0).value
    axes = (*(a for a in t.axes if a.name != name), kept)
    node = make(FlatMap, axes=axes, dtype="i32", rule="where", along=name, out=kept, key=mask)
    return t.at(**{name: Tensor(node)}).rename(**{out: pool.name()})


def grouped(pool):
    t = pool.pick(needs_axes=True)
    key = apply("to_i32", apply("tanh", t) * 2.5)  # -2 … 2, of which 0 and 1 name groups
    everywhere = points(a_full(t))
    group, member = axis(pool.name(), 2), axis(pool.name(), "per", everywhere)
    slot, *members = group_by(key, group, member)
    if pool.draw(st.booleans()):
        return slot * 1.0
    inside = t.at(**{a.name: m for a, m in zip(t.axes, members, strict=True)})
    return inside.sum(member.name)


MOVES = [pointwise, folded, product_sum, tupled, scanned, viewed, gathered, sorted_out, grouped]


@st.composite
def graphs(draw, moves=None):
    """A graph, its inputs (float64), and the sizes of its symbols."""
    pool = Pool(draw)
    for name in ("p", "q"):
        held = draw(st.lists(st.sampled_from(list(AXES)), min_size=1, max_size=2, unique=True))
        format = draw(st.sampled_from(["bf16", "f32"]))
        role = draw(st.sampled_from(["weight", "activation", "state"]))
        pool.floats.append(tensor(name, role, format, **{a: AXES[a] for a in held}))
    for _ in range(draw(st.integers(3, 8))):
        with section(draw(st.sampled_from(["", "up", "two words"]))):
            made = draw(st.sampled_from(moves or MOVES))(pool)
        if points(a_full(made))(SIZES) <= 300:
            pool.floats.append(made)
    last = pool.floats[-draw(st.integers(1, 2)) :]
    graph = Graph("random", {f"y{i}": t.value for i, t in enumerate(last)})
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shapes = {n: [int(a.size(SIZES)) for a in v.axes] for n, v in graph.inputs.items()}
    inputs = {n: rng.choice([-1.5, -0.5, 0.25, 1.0, 2.0], shape) for n, shape in shapes.items()}
    return graph, inputs, SIZES


def a_full(t):
    return [axis(a.name, full(a)) for a in t.axes]
