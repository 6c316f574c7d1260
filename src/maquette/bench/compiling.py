"""How long compiling takes: a model of repeated layers, phase by phase, caches cold and warm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from statistics import median
from typing import Any, TypeVar

from maquette.bench import framework
from maquette.bench.block import Width, block_inputs, llama_block
from maquette.capture import capture
from maquette.errors import Fault, InputError
from maquette.models.config import Attention, Dense, Layer, ModelConfig, Norm
from maquette.models.decoder import program
from maquette.run.build import build
from maquette.run.collector import uncollected
from maquette.run.program import Compiled
from maquette.run.specialise import passes, specialise

T = TypeVar("T")
CACHE = "MAQUETTE_CACHE"


@dataclass(frozen=True)
class Started:
    """A process that has the model and its inputs, and calls it compiled: seconds, of one run."""

    whole_s: float  # from the module to what can be run
    beyond_s: float  # of that, all that follows capture
    call_s: float  # a call from then on, the median of several
    again_s: float  # compiling the module anew in the same process, capture included


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
    first: Started  # a process that finds an empty cache
    second: Started  # the next one, which finds what the first one kept


def compiling(layers: int, width: Width | None = None, seq: int = 64) -> Compiling:
    """Measure a Llama of so many layers."""
    width = width or Width(256, 4, 704)
    given = block_inputs(seq, width)
    _prepared(_stack(1, width), given)  # imports and what is worked out once per process
    passes.cache_clear()
    module = _stack(layers, width)
    with uncollected():
        recorder, captured = _timed(lambda: capture(module, *given))
        lowering, lowered = _timed(lambda: passes().lower(captured.graph, {}, captured.constants))
    builder, _ = _timed(lambda: program.__wrapped__(_family(layers, width)))
    with _empty_cache():
        sources = _prepared(module, given).sources
    singles = []
    for source in sources:
        with _empty_cache():
            singles.append(_timed(lambda s=source: build([s]))[0])  # type: ignore[misc]
    with _empty_cache():
        building, _ = _timed(lambda: build(sources))
    with _empty_cache():
        first, second = (_apart(layers, width, seq) for _ in range(2))
    kernels = len(lowered.flow.kernels)
    return Compiling(layers, len(captured.graph.values), kernels, len(sources), recorder, builder,
                     lowering, building, median(singles or [0.0]), first, second)  # fmt: skip


def started(layers: int, width: Width, seq: int) -> Started:
    """Compile and call the model in this process, which has compiled nothing yet."""
    given, module = block_inputs(seq, width), _stack(layers, width)
    with framework.torch().inference_mode():
        with uncollected():
            capturing, captured = _timed(lambda: capture(module, *given))
            making, made = _timed(lambda: specialise(captured, list(given), "cpu"))
        calls = [_timed(lambda: made(given))[0] for _ in range(9)]
        again, _ = _timed(lambda: Compiled(module).prepare(*given))
    return Started(capturing + making, making, median(calls), again)


def _apart(layers: int, width: Width, seq: int) -> Started:
    """`started` in a process of its own.  Raises InputError with what it said if it fails."""
    command = [sys.executable, "-m", __name__, json.dumps([layers, astuple(width), seq])]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    if done.returncode:
        said = (done.stderr.strip() or "(silent)").splitlines()[-1]
        raise InputError(Fault("a process of its own", said))
    return Started(**json.loads(done.stdout))


def _environment() -> Mapping[str, str]:
    """Where a process finds the modules that this one has."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


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


if __name__ == "__main__":
    _layers, _width, _seq = json.loads(sys.argv[1])
    print(json.dumps(asdict(started(_layers, Width(*_width), _seq))))
