"""`maquette bench compile` as a document and as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from rich.console import RenderableType

from maquette.bench.compiling import Compiling
from maquette.report.document import Document, stamp
from maquette.report.numbers import seconds
from maquette.report.tables import table


def document(found: Compiling) -> Document:
    """Every phase."""
    return {**stamp("bench compile"), **asdict(found)}


def tables(found: Compiling) -> Iterator[RenderableType]:
    """What a person reads."""
    rows = [
        ("capture by the recorder", seconds(found.recorder_s)),
        ("a family's program by the builder", seconds(found.builder_s)),
        ("passes, from the graph to tilings", seconds(found.passes_s)),
        ("the C++ compiler, all kernels that differ", seconds(found.build_s)),
        ("the C++ compiler, one kernel, the median", seconds(found.kernel_s)),
    ]
    caption = f"{found.values:,} values, {found.kernels} kernels, {found.distinct} that differ"
    yield table(f"Compiling {found.layers} layers", ("phase", ">time"), rows, caption=caption)
    both = (found.first, found.second)
    processes = [
        ("until it can be called", *(seconds(p.whole_s) for p in both)),
        ("of that, beyond capture", *(seconds(p.beyond_s) for p in both)),
        ("anew in the same process", *(seconds(p.again_s) for p in both)),
        ("a call from then on", *(seconds(p.call_s) for p in both)),
    ]
    head = ("what", ">first process", ">second process")
    yield table("The same in processes of their own, which share a cache", head, processes)
