"""Every way to run a kernel on this processor: how it is tiled and how it is written in C++."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from maquette.compiler.kernel import Kernel
from maquette.compiler.pipeline import Strategy
from maquette.compiler.processor import Processor
from maquette.compiler.tile import product as product_tiles
from maquette.compiler.tile import product_library as library_tiles
from maquette.compiler.tile import product_thin as thin_tiles
from maquette.compiler.tile import rows as rows_tiles
from maquette.compiler.tile import stream as stream_tiles
from maquette.compiler.tiling import Candidate, Tiling
from maquette.run import library
from maquette.run.cpp import product, product_library, product_thin, rows, stream
from maquette.run.source import Source

Emit: TypeAlias = Callable[[Kernel, Tiling, Processor], Source]


def of_library(kernel: Kernel, processor: Processor) -> Sequence[Candidate]:
    """What a library can multiply, where there is one."""
    return library_tiles.candidates(kernel, processor) if library.sgemm() else ()


STRATEGIES: tuple[Strategy, ...] = (
    product_tiles.candidates,
    of_library,
    thin_tiles.candidates,
    stream_tiles.candidates,
    rows_tiles.candidates,
)
EMITTERS: Mapping[str, Emit] = {
    product_tiles.STRATEGY: product.emit,
    library_tiles.STRATEGY: product_library.emit,
    thin_tiles.STRATEGY: product_thin.emit,
    stream_tiles.STRATEGY: stream.emit,
    rows_tiles.STRATEGY: rows.emit,
}


def emit(kernel: Kernel, tiling: Tiling, processor: Processor) -> Source:
    """The source of a tiled kernel."""
    return EMITTERS[tiling.strategy](kernel, tiling, processor)
