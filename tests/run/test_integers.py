"""Integers of 64 bits: right whatever their size, and natively where 32 bits hold them."""

from __future__ import annotations

import pytest

import maquette as mq
from maquette.run.integers import WIDEST
from maquette.run.toolchain import toolchain

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(toolchain() is None, reason="no C++ compiler")

LARGE = torch.tensor([2**33, -(2**40), 5, 2**62, 2**31, 7, 0, -1, 3])
SMALL = torch.arange(-4, 5)
CASES = {
    "copied": lambda x: torch.cat([x, x.flip(0)]),
    "added": lambda x: x + 1,
    "multiplied": lambda x: x * 3,
    "summed": lambda x: x.sum(),
    "accumulated": lambda x: x.cumsum(0),
    "largest": lambda x: x.amax(),
    "divided": lambda x: x // 3 + x % 1000,
    "compared": lambda x: (x > 3, x == 7, x < 0),
    "converted": lambda x: x.float() * 2,
    "chosen": lambda x: torch.where(x > 0, x, 9),
}


@pytest.mark.parametrize("name", CASES)
def test_as_the_framework_computes_them(name):
    compiled = mq.compile(CASES[name])
    for x in (SMALL, LARGE, SMALL):
        torch.testing.assert_close(compiled(x), CASES[name](x), rtol=0, atol=0)
    assert not [r for r in compiled.report if "64 bits" in r]


def test_constants_of_many_bits():
    for function in (lambda x: x + 2**40, lambda x: x < 2**40, lambda x: x * 2**33 % 1000):
        compiled = mq.compile(function)
        assert torch.equal(compiled(SMALL), function(SMALL))
        assert any("64 bits" in r for r in compiled.report)
    held = torch.tensor([2**40, 1, 5])
    assert torch.equal(mq.compile(lambda x: x + held)(SMALL[:3]), SMALL[:3] + held)


def test_bounds_follow_what_is_computed():
    for function, most in ((lambda x: x * x, 1 << 15), (lambda x: x.sum(), WIDEST >> 4)):
        compiled = mq.compile(function)
        compiled(SMALL)
        found = compiled.latest._integers
        assert (found.most, found.inputs) == (most, frozenset({"x"}))


def test_places_and_comparisons_ask_for_no_bound():
    table = torch.arange(12.0).view(6, 2)
    compiled = mq.compile(lambda i, n: table[i] * (n > i)[:, None])
    i, n = torch.tensor([0, 5, 2]), torch.tensor([2, 2**40, -(2**40)])
    assert torch.equal(compiled(i, n), table[i] * (n > i)[:, None])
    looked = mq.compile(lambda i: torch.nn.functional.embedding(i, table))
    looked(i)
    assert not looked.latest._integers.inputs
