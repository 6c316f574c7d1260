"""Every monoid the language knows is one: associative, with its identity on both sides."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.random_graphs import ONLINE
from maquette.ir.monoids import MONOIDS
from maquette.ir.scalar import Apply, Arg

NUMBERS = st.integers(-6, 6).map(float)  # small whole floats: sums and products are exact
OPERATIONS = {
    "add": lambda a, b: a + b, "mul": lambda a, b: a * b, "max": max, "min": min,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b,
    "sub": lambda a, b: a - b, "exp": math.exp,
}  # fmt: skip
ALL = [*MONOIDS.values(), ONLINE]


def value(body, operands):
    if isinstance(body, Arg):
        return operands[body.number]
    assert isinstance(body, Apply)
    return OPERATIONS[body.op](*(value(a, operands) for a in body.args))


def combine(monoid, left, right):
    return tuple(value(c, left + right) for c in monoid.combine)


def elements(monoid):
    kind = st.booleans() if monoid.name in ("and", "or") else NUMBERS
    return st.tuples(*[kind] * monoid.width)


@pytest.mark.parametrize("monoid", ALL, ids=str)
def test_laws(monoid):
    identity = tuple(i.value for i in monoid.identity)

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(elements(monoid), elements(monoid), elements(monoid))
    def hold(a, b, c):
        grouped_left = combine(monoid, combine(monoid, a, b), c)
        grouped_right = combine(monoid, a, combine(monoid, b, c))
        assert grouped_left == pytest.approx(grouped_right, rel=1e-12)
        assert combine(monoid, identity, a) == pytest.approx(a)
        assert combine(monoid, a, identity) == pytest.approx(a)
        if monoid.commutative:
            assert combine(monoid, a, b) == pytest.approx(combine(monoid, b, a), rel=1e-12)

    hold()


def test_affine_does_not_commute_and_says_so():
    affine = MONOIDS["affine"]
    assert not affine.commutative
    assert combine(affine, (2.0, 1.0), (3.0, 5.0)) != combine(affine, (3.0, 5.0), (2.0, 1.0))
    # x → 2x + 1, then x → 3x + 5, is x → 6x + 8.
    assert combine(affine, (2.0, 1.0), (3.0, 5.0)) == (6.0, 8.0)


def test_identities_are_those_of_their_operations():
    assert MONOIDS["max"].identity[0].value == -math.inf
    assert MONOIDS["min"].identity[0].value == math.inf
    assert {n: m.flops for n, m in MONOIDS.items()} == {
        "add": 1, "mul": 1, "max": 1, "min": 1, "and": 0, "or": 0, "affine": 3,
    }  # fmt: skip
