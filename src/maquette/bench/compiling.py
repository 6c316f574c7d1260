"""How long compiling takes: a model of repeated layers, phase by phase, caches cold and warm."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from maquette.bench import framework
from maquette.bench.block import Width, block_inputs, llama_block
from maquette.capture import capture
from maquette.models.config import Attention, Dense, Layer, ModelConfig, Norm
from maquette.models.decoder import program
from maquette.run.build import build
from maquette.run.collector import uncollected
from maquette.run.specialise import passes, specialise

T = TypeVar("T")
CACHE = "MAQUETTE_CACHE"


@dataclass(frozen=True)
class Compiling:
    """Seconds of each phase, each measured once, after a smaller model has been compiled."""

    layers: int
    values: int  # of the graph
    kernels: int
    distinct: int  # kernels that were written and built
    recorder_s: float  # capture
    builder_s: float  # a model family's program of as many layers
    passes_s: float  # from the graph to tilings
    build_s: float  # of all distinct kernels, with an empty cache, as many at once as threads
    kernel_s: float  # of one of them by itself, the median
    warm_s: float  # all of it again with what is cached: what a second process takes


def compiling(layers: int, width: Width | None = None, seq: int = 64) -> Compiling:
    """Measure a Llama of so many layers."""
    width = width or Width(256, 4, 704)
    given = block_inputs(seq, width)
    _prepared(_stack(1, width), given)  # imports and what is worked out once per process
    passes.cache_clear()
    module = _stack(layers, width)
    with uncollected():
        recorder, captured = _timed(lambda: capture(module, *given))
        lowering, _ = _timed(lambda: passes().lower(captured.graph, {}, captured.constants))
    builder, _ = _timed(lambda: program.__wrapped__(_family(layers, width)))
    with _empty_cache():
        made = _prepared(module, given)
        sources = made.sources
    singles = []
    for source in sources:
        with _empty_cache():
            singles.append(_timed(lambda s=source: build([s]))[0])  # type: ignore[misc]
    with _empty_cache():
        building, _ = _timed(lambda: build(sources))
        passes.cache_clear()
        warm, _ = _timed(lambda: _prepared(module, given))
    kernels = len(made.lowered.flow.kernels)
    middle = sorted(singles)[len(singles) // 2] if singles else 0.0
    return Compiling(layers, len(captured.graph.values), kernels, len(sources), recorder, builder,
                     lowering, building, middle, warm)  # fmt: skip


def _prepared(module: Any, given: tuple[Any, ...]) -> Any:
    with uncollected(), framework.torch().inference_mode():
        return specialise(capture(module, *given), list(given), "cpu")


def _stack(layers: int, width: Width) -> Any:
    nn = framework.torch().nn

    class Stack(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(llama_block(width) for _ in range(layers))

        def forward(self, x: Any, cos: Any, sin: Any) -> Any:
            for layer in self.layers:
                x = layer(x, cos, sin)
            return x

    return Stack().eval().requires_grad_(False)


def _family(layers: int, width: Width) -> ModelConfig:
    attention = Attention(width.heads, width.heads, width.dim // width.heads, rope=None)
    layer = Layer(attention, Dense(width.hidden))
    kinds, order = {"dense": layer}, ("dense",) * layers
    return ModelConfig("bench", "llama", 32000, width.dim, kinds, order, Norm(), 4096)


def _timed(call: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    found = call()
    return time.perf_counter() - start, found


@contextmanager
def _empty_cache() -> Iterator[None]:
    before = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory(prefix="maquette-bench-") as folder:
        os.environ[CACHE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[CACHE]
            else:
                os.environ[CACHE] = before
