"""Verified rewrites, searched by equality saturation against a price that is passed in."""

from maquette.compiler.rewrite.fold import folded
from maquette.compiler.rewrite.rules import BLOCKS, FINITE, RULES
from maquette.compiler.rewrite.search import Explored, Limit, Rewritten, rewrite
from maquette.compiler.rewrite.terms import Rule

__all__ = [
    "BLOCKS",
    "FINITE",
    "RULES",
    "Explored",
    "Limit",
    "Rewritten",
    "Rule",
    "folded",
    "rewrite",
]
