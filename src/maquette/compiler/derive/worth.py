"""Which derivations are worth taking where a row of values fits in cache.

What one pass saves is reading values again.  Values that lie in cache are read again for next to
nothing, and the repairs of one pass are not free; values that were never to be stored, such as the
products that a fold weighs, are what makes it pay.
"""

from __future__ import annotations

from collections.abc import Callable

from maquette.compiler.derive.derive import Derivation
from maquette.ir.axes import points

_BYTES = 4


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
