"""Reductions that depend on reductions, derived into one streaming fold.

`derive` takes a graph to a graph of the same meaning and says what it found and what it refused.
"""

from maquette.compiler.derive.derive import Derivation, Derived, Refusal, derive

__all__ = ["Derivation", "Derived", "Refusal", "derive"]
