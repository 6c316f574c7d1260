"""Reductions that depend on reductions, derived into one streaming fold.

`derive` takes a graph to a graph of the same meaning and says what it found and what it refused;
`thrifty` and `worthwhile` are choices to give it.  `chunked` writes recurrences by chunks; `laws`
asks a streamed monoid for its laws on random values.
"""

from maquette.compiler.derive.chunked import chunked
from maquette.compiler.derive.derive import RULES, Derivation, Derived, Refusal, derive
from maquette.compiler.derive.laws import laws
from maquette.compiler.derive.worth import thrifty, worthwhile

__all__ = [
    "RULES",
    "Derivation",
    "Derived",
    "Refusal",
    "chunked",
    "derive",
    "laws",
    "thrifty",
    "worthwhile",
]
