"""What the passes made of a graph, found again by another process: nothing is searched twice.

It is kept by what decides it: the text of the graph, how its inputs lie in memory and which never
change, the processor, the library that may multiply, and the source of the compiler itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping

from maquette.compiler.pipeline import Lowered, Passes
from maquette.compiler.stored import faithful, parse_lowered, show_lowered
from maquette.compiler.variants import Written
from maquette.errors import MaquetteError
from maquette.ir.graph import Graph
from maquette.ir.text import show
from maquette.run import library
from maquette.run.cache import keep, kept
from maquette.run.version import version

Strides = Mapping[str, tuple[int, ...]]


def lowered(passes: Passes, graph: Graph, strides: Strides, constants: Collection[str]) -> Lowered:
    """As `passes` lower it: read where it was kept, made and kept where it was not."""
    name = place(passes, graph, strides, constants)
    text = kept(name) if name else None
    if text is not None:
        written = Written(graph, frozenset(constants), dict(strides))
        try:
            return parse_lowered(text, graph, lambda chosen: passes.algebra(written, chosen))
        except (MaquetteError, ValueError, LookupError, TypeError):
            pass  # not ours: made anew
    found = passes.lower(graph, strides, constants)
    if name:
        text = show_lowered(found)
        if faithful(text, found):
            keep(name, text)
    return found


def place(passes: Passes, graph: Graph, strides: Strides, constants: Collection[str]) -> str:
    """The name of the file where it is, or will be; empty where it must not be kept."""
    compiler = version()
    if not compiler:
        return ""
    ways = [f"{way.__module__}.{way.__qualname__}" for way in (passes.price, *passes.strategies)]
    decides = (compiler, show(graph), sorted(strides.items()), sorted(constants),
               passes.processor, passes.value_price is None, passes.tries, ways,
               bool(library.sgemm()))  # fmt: skip
    content = "\0".join(map(repr, decides))
    return f"lowered-{hashlib.sha256(content.encode()).hexdigest()[:32]}.json"
