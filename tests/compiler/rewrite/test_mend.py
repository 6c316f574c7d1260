"""Rules that are right in part: where, is found from what they read, and the rest is corrected."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.rewrite import programs
from compiler.rewrite.mutants import mutants
from compiler.rewrite.prices import number, roofs
from maquette.compiler.rewrite import BLOCKS, RULES, affine, mend, rewrite, verify
from maquette.compiler.rewrite.building import build
from maquette.compiler.rewrite.facts import Facts, Untyped, Useless
from maquette.compiler.rewrite.field import Field, evaluate_in
from maquette.compiler.rewrite.pieces import extents, overlap, pieces
from maquette.compiler.rewrite.terms import parse_term
from maquette.compiler.rewrite.verify import Expressions, Flaw, random_instances, tried
from maquette.ir import Graph, check, contraction, evaluate
from maquette.ir.axes import Axis
from maquette.ir.dtypes import dtype
from maquette.ir.sizes import size

PARTIAL = [rule for rule in RULES if rule.partial]
by_name = pytest.mark.parametrize("rule", PARTIAL, ids=lambda r: r.name)


def grown(tiles, by):
    """The tiles with the right side used in so many more points beside where it is right."""
    for right, form in tiles:
        if form != mend.RIGHT:
            continue
        for n, (box, other) in enumerate(tiles):
            sides = [a for a in box if right[a] != box[a]]
            if other == mend.RIGHT or len(sides) != 1:
                continue
            (along,) = sides
            (a, b), (c, d) = right[along], box[along]
            at_end = b == c
            cut = (c + by, d) if at_end else (c, d - by)
            more = (a, b + by) if at_end else (a - by, b)
            kept = [] if cut[0] >= cut[1] else [({**box, along: cut}, other)]
            rest = [t for i, t in enumerate(tiles) if i != n and t[0] is not right]
            return [*rest, *kept, ({**right, along: more}, mend.RIGHT)]
    return list(tiles)


def enlarged(tiles, left):
    """The tiles with a layer of where the right side is right computed as it was written."""
    for n, (box, form) in enumerate(tiles):
        for along, (a, b) in box.items():
            if form == mend.RIGHT and b - a > 1:
                layer, rest = ({**box, along: side} for side in ((a, a + 1), (a + 1, b)))
                written = [(c, f) for c, f in ((overlap(o, layer), f) for o, f in left) if c]
                return [*tiles[:n], *written, (rest, form), *tiles[n + 1 :]]
    return tiles


def refuted(rule):
    """Over the field, where 1 / 0 is 0; or by the interpreter, where tanh 0 is."""
    found = [tried(rule, wanted=40, tries=8000, by=by) for by in ("field", "interpreter")]
    return any(isinstance(f, Flaw) and f.kind != "untyped" for f in found)


@by_name
def test_too_small_a_region_is_found_out(rule, monkeypatch):
    assert not refuted(rule)
    honest = mend.region
    monkeypatch.setattr(mend, "region", lambda *sides: grown(honest(*sides), 1))
    assert refuted(rule)


@by_name
def test_no_correction_at_all_is_found_out(rule, monkeypatch):
    monkeypatch.setattr(mend, "region", lambda left, right: [(extents(left), mend.RIGHT)])
    assert refuted(rule)


@by_name
def test_too_large_a_region_is_only_dear(rule, monkeypatch):
    honest = mend.region
    monkeypatch.setattr(mend, "region", lambda left, right: enlarged(honest(left, right), left))
    assert not refuted(rule)


def sides_of(rule, monkeypatch):
    """Both sides of instances as they are, and the points where they are said to agree."""
    drawn = []

    def raw(rule, number, env, graph):
        left, right = (pieces(s[number], env, graph, {}) for s in (rule.left, rule.right))
        drawn.append(mend.region(left, right))
        if all(form != mend.RIGHT for _, form in drawn[-1]):
            raise Useless("right nowhere")
        return build(rule.right[number], env, graph)

    monkeypatch.setattr(verify, "right_side", raw)
    for instance in random_instances(rule, 5, 800):
        if instance is not None:
            ((left, right),) = instance.sides
            agree = np.zeros([int(a.size.constant) for a in left.axes], bool)
            for box, form in drawn[-1]:
                if form == mend.RIGHT:
                    agree[tuple(slice(*box[a.name]) for a in left.axes)] = True
            yield left, right, agree


@by_name
def test_the_region_is_as_large_as_it_has_to_be(rule, monkeypatch):
    """The sides agree outside of it, and differ nearly everywhere inside."""
    rng, wrong, inside = np.random.default_rng(5), 0, 0
    for left, right, agree in sides_of(rule, monkeypatch):
        leaves = {**Graph("", {"y": left}).inputs, **Graph("", {"y": right}).inputs}
        shapes = {n: [int(a.size.constant) for a in v.axes] for n, v in leaves.items()}
        exact = {n: Field().random(rng, s) for n, s in shapes.items()}
        real = {n: rng.uniform(0.5, 2, s) for n, s in shapes.items()}
        one, two = (laid(evaluate_in(Field(), v, exact), v, left) for v in (left, right))
        near, far = (laid(interpreted(v, real), v, left) for v in (left, right))
        assert np.array_equal(one[agree], two[agree])
        np.testing.assert_allclose(far[agree], near[agree], rtol=1e-9)
        differ = (one != two) | ~np.isclose(near, far)
        wrong, inside = wrong + int(differ.sum()), inside + int((~agree).sum())
    # A quotient of zero is zero where its divisor is not, which is not known.
    assert inside > 50 and wrong > 0.6 * inside, f"{wrong} of {inside} points need correction"


def interpreted(value, given):
    graph = Graph("side", {"y": value})
    return evaluate(graph, {n: given[n] for n in graph.inputs}, precise=True)["y"]


def laid(array, value, like):
    names = [a.name for a in value.axes]
    return np.transpose(array, [names.index(a.name) for a in like.axes])


@by_name
def test_whatever_is_claimed_what_is_mended_is_true(rule):
    """Mutants of both sides: they may be of no use, but they are never wrong."""
    used = 0
    for _, mutant in mutants(rule):
        try:
            found = tried(mutant, wanted=8, tries=300)
        except (NameError, KeyError, TypeError, AttributeError):
            continue
        assert not isinstance(found, Flaw) or found.kind == "untyped", f"{mutant}\n{found}"
        used += isinstance(found, int) and found > 0
    assert used >= 1


@pytest.mark.parametrize("rule", BLOCKS, ids=lambda r: r.name)
def test_a_mask_off_by_one_is_found_out(rule, monkeypatch):
    honest = affine._difference
    for by in (-1, 1):

        def off(one, two, box, by=by):
            low, high = honest(one, two, box)
            return low + by, high + by

        monkeypatch.setattr(affine, "_difference", off)
        assert isinstance(tried(rule, wanted=60), Flaw)
    monkeypatch.setattr(affine, "_difference", honest)
    assert isinstance(tried(rule, wanted=60), int)


def found_in(text, **operands):
    """The pieces of a term over operands of one axis, as text."""
    held = Expressions()
    env = {"i": "i"}
    for name, extent in operands.items():
        axes = (Axis("i", size(extent)),)
        facts = Facts(axes, dtype("f32"), False, False)
        env[name] = held[held.input(name, facts)].facts.names
    return {box["i"]: form for box, form in pieces(parse_term(text), env, held, {})}


def test_pieces():
    read = affine.Read
    assert found_in("shift(i, 0 - 2, a)", a=5) == {
        (0, 2): affine.Number(0.0),
        (2, 5): read(0, (("i", "i", -2),)),
    }
    assert found_in("shift(i, 1, shift(i, 0 - 2, a))", a=5) == {
        (0, 1): affine.Number(0.0),
        (1, 4): read(0, (("i", "i", -1),)),
        (4, 5): affine.Number(0.0),
    }
    assert found_in("slice(i, 1, 3, concat(i, a, b))", a=2, b=4) == {
        (0, 1): read(0, (("i", "i", 1),)),
        (1, 3): read(1, (("i", "i", -1),)),
    }
    assert found_in("add(shift(i, 1, a), shift(i, 0 - 1, b))", a=3, b=3)[0, 1] == read(
        0, (("i", "i", 1),)
    )


def test_what_has_no_pieces():
    with pytest.raises(Untyped):
        found_in("split(i, (), a)", a=4)


def inputs_of(graph, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {n: [int(number(a.size)) for a in v.axes] for n, v in graph.inputs.items()}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def work(graph):
    return sum(number(c.flops) for v in graph.values if (c := contraction(v)) is not None)


@pytest.mark.parametrize(
    ("program", "rule", "saved"),
    [
        (programs.delayed, "product-of-delayed", 1.9),
        (programs.windows, "product-of-slice", 1.9),
        (programs.causal, "product-of-masked", 4.0),
        (programs.banded, "product-of-masked", 3.0),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_programs(program, rule, saved):
    """Found by the price, right to rounding at every point, ends and diagonals as well."""
    graph = program()
    found = rewrite(graph, roofs, rules=(*RULES, *BLOCKS))
    check(found.graph)
    assert rule in {s.rule for s in found.steps}, str(found)
    assert work(graph) > saved * work(found.graph)
    inputs = inputs_of(graph)
    one, two = (evaluate(g, inputs, precise=True)["y"] for g in (graph, found.graph))
    np.testing.assert_allclose(two, one, atol=1e-5 * np.abs(one).max())


def test_not_taken_where_it_does_not_pay():
    """Blocks of a short sequence cost more in launches than they save."""
    graph = programs.causal(s=64, d=64)
    assert "product-of-masked" not in {
        s.rule for s in rewrite(graph, roofs, rules=(*RULES, *BLOCKS)).steps
    }
