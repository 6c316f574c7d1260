"""Coordinates are simplified to what they are: every point says so."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maquette.compiler.fuse.index import Ranges, axes_of, moved
from maquette.ir.scalar import Apply, Index, Lit

EXTENTS = {"i": 3, "j": 4, "k": 1}
OPS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b,
    "max": max, "min": min, "neg": lambda a: -a,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
    "where": lambda t, a, b: a if t else b,
}  # fmt: skip

leaves = st.one_of(st.sampled_from([Index(a) for a in EXTENTS]), st.integers(-3, 13).map(Lit))


def grown(inner):
    binary = st.sampled_from(["add", "sub", "max", "min"])
    divided = st.tuples(st.sampled_from(["floordiv", "mod"]), inner, st.integers(1, 12).map(Lit))
    scaled = st.tuples(st.just("mul"), inner, st.integers(-4, 12).map(Lit))
    return st.one_of(
        st.tuples(binary, inner, inner), divided, scaled, st.tuples(st.just("neg"), inner)
    ).map(lambda parts: Apply(parts[0], tuple(parts[1:])))


coordinates = st.recursive(leaves, grown, max_leaves=8)


def value(body, at):
    match body:
        case Lit(found):
            return found
        case Index(axis):
            return at[axis]
        case Apply(op, args):
            return OPS[op](*(value(a, at) for a in args))


def points():
    for place in product(*(range(n) for n in EXTENTS.values())):
        yield dict(zip(EXTENTS, place, strict=True))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(coordinates)
def test_a_simple_form_has_the_same_value_everywhere(body):
    ranges = Ranges(EXTENTS)
    simple = ranges.simple(body)
    low, high = ranges.range(ranges.sum(body))
    for at in points():
        assert value(simple, at) == value(body, at)
        assert low <= value(body, at) <= high


@settings(max_examples=200, deadline=None, derandomize=True)
@given(coordinates, coordinates, st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]))
def test_a_decided_condition_is_what_it_is_everywhere(left, right, op):
    body = Apply("or", (Apply("not", (Apply(op, (left, right)),)), Apply("lt", (left, right))))
    decided = Ranges(EXTENTS).test(body)
    for at in points():
        assert value(decided, at) == value(body, at)


@pytest.mark.parametrize("n", [1, 4, 12])
def test_splitting_undoes_merging(n):
    ranges = Ranges({"i": 5, "j": n})
    whole = Apply("add", (Apply("mul", (Index("i"), Lit(n))), Index("j")))
    assert ranges.simple(Apply("floordiv", (whole, Lit(n)))) == Index("i")
    expected = Index("j") if n > 1 else Lit(0)
    assert ranges.simple(Apply("mod", (whole, Lit(n)))) == expected


def test_quotients_nest():
    ranges = Ranges({"i": 24})
    twice = Apply("floordiv", (Apply("floordiv", (Index("i"), Lit(2))), Lit(3)))
    assert ranges.simple(twice) == Apply("floordiv", (Index("i"), Lit(6)))


def test_axes_move_together():
    body = Apply("add", (Index("i"), Index("j")))
    assert set(axes_of(moved(body, {"i": Index("k")}))) == {"j", "k"}
