"""Prices of values order programs that compute the same as their work does."""

from __future__ import annotations

from maquette.ir.build import activation, exp, weight
from maquette.ir.patterns import Value
from maquette.price.kernel_values import value_price
from price.test_kernel import BOX

PRICE = value_price(BOX)


def total(value: Value) -> float:
    seen: dict[int, Value] = {}

    def visit(v: Value) -> None:
        if id(v) not in seen:
            seen[id(v)] = v
            for o in v.operands:
                visit(o)

    visit(value)
    return sum(map(PRICE, seen.values()))


def heads(name, **axes):
    return activation(name, h=8, **axes)


def test_a_chain_of_products_is_cheaper_the_short_way_round():
    q, k, v = heads("q", s=4096, d=64), heads("k", t=4096, d=64), heads("v", t=4096, e=64)
    scores = ((q * k).sum("d") * v).sum("t")
    states = (q * (k * v).sum("t")).sum("d")
    assert scores.value.shape == states.value.shape
    assert total(scores.value) / total(states.value) > 7


def test_inputs_views_and_products_inside_contractions_cost_nothing():
    x, w = activation("x", n=64, d=512), weight("w", d=512, f=2048)
    y = (x * w).sum("d").value
    assert PRICE(x.value) == PRICE(y.operands[0]) == 0.0
    assert PRICE(y) > 0


def test_transcendentals_cost_more_than_sums():
    x = activation("x", n=1000, d=1000)
    assert PRICE(exp(x).value) > 5 * PRICE((x + 1.0).value)


def test_extents_bind_symbols():
    x, w = activation("x", n="n", d=512), weight("w", d=512, f=2048)
    y = (x * w).sum("d").value
    assert value_price(BOX, {"n": 4096})(y) > 10 * value_price(BOX, {"n": 64})(y)


def test_two_products_that_share_an_input_cost_about_one_of_both_widths():
    """On a processor the merged product buys little: a search must not chase it."""
    x = activation("x", n=512, d=1024)
    apart = [(x * weight(n, d=1024, f=1024)).sum("d").value for n in "abc"]
    merged = (x * weight("abc", d=1024, f=3072)).sum("d").value
    assert 1.0 <= sum(map(PRICE, apart)) / PRICE(merged) < 1.05
