"""Programs that algebra makes cheaper, and some that it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from maquette.bench import framework
from maquette.bench.contest import OURS, Case
from maquette.bench.framework import Compile
from maquette.compiler.pipeline import Passes
from maquette.price.kernel import seconds
from maquette.run.measured import processor
from maquette.run.strategies import STRATEGIES

Tensor = Any
UNSEARCHED = f"{OURS} (as written)"


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scores without a softmax: the product of keys and values may come first."""
    return (q @ k.transpose(-2, -1)) @ v


def product_chain(x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Matrices multiplied from the wrong end."""
    return x @ (a @ (b @ c))


def low_rank_update(x: Tensor, w: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """A matrix and its low-rank update, applied to a few tokens."""
    return x @ (w + a @ b)


def common_factor(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """Two products with the same matrix, added."""
    return x @ w + y @ w


def mean_of_product(x: Tensor, w: Tensor) -> Tensor:
    """A mean over tokens of what a matrix made of them."""
    return (x @ w).mean(0)


def merged_projections(x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Three products that share an input; merging them buys nothing on a processor."""
    return (x @ a).relu() + (x @ b).tanh() * (x @ c)


PROGRAMS: Mapping[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "linear attention": (linear_attention, ((8, 2048, 64),) * 3),
    "product chain": (product_chain, ((64, 1024), (1024, 1024), (1024, 1024), (1024, 256))),
    "low-rank update": (low_rank_update, ((16, 2048), (2048, 2048), (2048, 16), (16, 2048))),
    "common factor": (common_factor, ((512, 1024), (512, 1024), (1024, 1024))),
    "mean of a product": (mean_of_product, ((1024, 1024), (1024, 1024))),
    "merged projections": (merged_projections, ((256, 1024), *((1024, 1024),) * 3)),
}


def cases(names: Sequence[str], compile_: Compile) -> Iterator[Case]:
    """A case per program; beside it what we make of it as it is written, without the search."""
    torch = framework.torch()
    host = processor()
    unsearched = Passes(host, STRATEGIES, seconds, value_price=None)
    for name in names:
        function, shapes = PROGRAMS[name]
        framework.forget()
        torch.manual_seed(0)
        given = [torch.randn(s) * s[-1] ** -0.5 for s in shapes]
        entries = {
            "eager": framework.eager(function, given),
            "torch.compile": framework.compiled(function, given),
            UNSEARCHED: framework.passed(unsearched, function, given),
            OURS: framework.ours(compile_, function, given),
        }
        reference = framework.eager(function, [x.double() for x in given])().run
        yield Case(name, {"program": name, "dtype": "float32"}, entries, reference)
