"""Products of few tokens with a large matrix, whose weights are kept in fewer bits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from maquette.bench import framework
from maquette.bench.contest import OURS, Case
from maquette.bench.framework import Compile

Tensor = Any
GROUP = 128  # weights that share a scale in four bits


def plain(x: Tensor, weight: Tensor) -> Tensor:
    """Weights in single precision."""
    return x @ weight.T


def int8(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """One byte a weight, a scale for each row."""
    return (x @ weight.to(x.dtype).T) * scale


def int4(x: Tensor, packed: Tensor, scale: Tensor) -> Tensor:
    """Two weights a byte: the low halves of a group, then the high ones; a scale for each group."""
    torch = framework.torch()
    n, half = packed.shape
    pairs = packed.view(n, half // (GROUP // 2), GROUP // 2)
    values = torch.cat([pairs & 15, pairs >> 4], -1).to(x.dtype) - 8.0
    return x @ (values * scale[:, :, None]).view(n, 2 * half).T


def cases(shapes: Sequence[tuple[int, int, int]], compile_: Compile) -> Iterator[Case]:
    """A case per format and number of tokens, rows and columns; fp32 stands beside each."""
    torch = framework.torch()
    for tokens, rows, columns in shapes:
        torch.manual_seed(0)
        x, weight = torch.randn(tokens, columns), torch.randn(rows, columns)
        for name, function, given in _formats(x, weight):
            framework.forget()
            entries = {
                "torch fp32": framework.eager(plain, (x, weight)),
                f"eager {name}": framework.eager(function, given),
                f"torch.compile {name}": framework.compiled(function, given),
                "maquette fp32": framework.ours(compile_, plain, (x, weight)),
                OURS: framework.ours(compile_, function, given),
            }
            facts = {
                "format": name, "tokens": tokens, "rows": rows, "columns": columns,
                "dtype": "float32", "gflop": 2e-9 * tokens * rows * columns,
            }  # fmt: skip
            reference = framework.eager(function, [_double(t) for t in given])().run
            yield Case(f"{name} {tokens} × {rows}x{columns}", facts, entries, reference)


def _formats(x: Tensor, weight: Tensor) -> Iterator[tuple[str, Any, tuple[Tensor, ...]]]:
    torch = framework.torch()
    scale = weight.abs().amax(-1) / 127
    yield "int8", int8, (x, (weight / scale[:, None]).round().to(torch.int8), scale)
    groups = weight.view(weight.shape[0], -1, GROUP)
    scale = groups.abs().amax(-1) / 7
    values = ((groups / scale[..., None]).round() + 8).to(torch.uint8)
    low, high = values.chunk(2, -1)
    packed = (low | (high << 4)).view(weight.shape[0], -1)
    yield "int4", int4, (x, packed, scale)


def _double(x: Tensor) -> Tensor:
    return x.double() if x.is_floating_point() else x
