"""Which derivations are worth taking.

`thrifty` asks only that hoisting does not multiply work: a product of a sum, such as of a residual
and a norm of its own, comes apart into one product for each of its terms.

`worthwhile` knows that a row of values may fit in cache.  What one pass saves is reading values
again.  Values that lie in cache are read again for next to nothing, and the repairs of one pass are
not free; values that were never to be stored, such as the products that a fold weighs, are what
makes it pay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from maquette.compiler.derive.derive import Derivation
from maquette.ir.axes import points
from maquette.ir.facts import work
from maquette.ir.patterns import Value

_BYTES = 4
_MORE = 1.1  # of the flops there were: what hoisting itself takes


def thrifty(candidate: Derivation) -> bool:
    """Whether no more is computed than without; folds in one pass are taken as they are.

    >>> from maquette.compiler.derive import derive
    >>> from maquette.ir.build import activation, dot, weight
    >>> from maquette.ir.graph import Graph
    >>> x, y = activation("x", n=8, d=64), activation("y", n=8, d=64)
    >>> z = x + y / dot(y, y, "d")  # a residual and a norm
    >>> g = Graph("g", {"h": dot(z / dot(z, z, "d"), weight("w", d=64, f=128), "d").value})
    >>> [[r.condition for r in derive(g, choose=c).refusals] for c in (lambda _: True, thrifty)]
    [[], ['choice', 'choice']]
    """
    if candidate.fold is not None:
        return True
    before, after = _behind(candidate.replaced), _behind(candidate.by)
    return _flops(after - before) <= _MORE * _flops(before - after)


def _behind(values: Iterable[Value]) -> set[Value]:
    """Values and all that they are made of."""
    found, left = set[Value](), list(values)
    while left:
        value = left.pop()
        if value not in found:
            found.add(value)
            left.extend(value.operands)
    return found


def _flops(values: Iterable[Value]) -> float:
    done = work(values)
    total = done.matrix + done.vector
    return float(total(dict.fromkeys(total.symbols, 1024.0)))


def worthwhile(cache: int) -> Callable[[Derivation], bool]:
    """A choice for `derive`, where a row of up to `cache` bytes is read again for nothing.

    An exponential fold is taken where a component varies along more axes than its maximum (the
    weighted values of an attention, whose weights then are never stored) or where a row is larger
    than the cache.  Folds of moments are not, for they repair more than they save reading (5 times
    the two passes at any length of row), nor is hoisting alone, which saves no pass here.
    """

    def choose(candidate: Derivation) -> bool:
        fold = candidate.fold
        if fold is None or "moment" in candidate.rules:
            return False
        row = points(a for a in fold.domain if a.name in fold.over).constant
        axes = [set(fold.component(i)) for i in range(fold.monoid.width)]
        wide = any(a > axes[0] for a in axes)
        return wide or row is None or float(row) * _BYTES > cache

    return choose
