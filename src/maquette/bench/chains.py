"""Chains that memory binds: norms, rotary positions, a gated activation, a softmax."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from maquette.bench import framework
from maquette.bench.contest import OURS, Case
from maquette.bench.framework import Compile

Tensor = Any


def add_rms_norm(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """A residual and its root-mean-square norm."""
    x = x + y
    return x, x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * weight


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mean and variance, written out."""
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    return (x - mean) * (variance + 1e-5).rsqrt() * weight + bias


def softmax(x: Tensor) -> Tensor:
    """Along rows."""
    return x.softmax(-1)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """A gated activation."""
    return gate * gate.sigmoid() * up


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads split and every one of them rotated by its position."""
    torch = framework.torch()
    x = x.unflatten(-1, (-1, cos.shape[-1])).transpose(1, 2)
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


CHAINS: Mapping[str, tuple[Callable[..., Any], Callable[[int], tuple[tuple[int, ...], ...]]]] = {
    "residual + RMSNorm": (add_rms_norm, lambda s: ((1, s, 1024), (1, s, 1024), (1024,))),
    "LayerNorm": (layer_norm, lambda s: ((1, s, 1024), (1024,), (1024,))),
    "softmax": (softmax, lambda s: ((8 * s, s),)),
    "gated activation": (swiglu, lambda s: ((1, s, 2816), (1, s, 2816))),
    "heads + rotary": (rotary, lambda s: ((1, s, 1024), (s, 64), (s, 64))),
}


def cases(seqs: Sequence[int], compile_: Compile) -> Iterator[Case]:
    """A case per chain and number of tokens."""
    torch = framework.torch()
    for seq in seqs:
        for name, (function, shapes) in CHAINS.items():
            framework.forget()
            torch.manual_seed(0)
            yield _case(name, function, [torch.randn(s) for s in shapes(seq)], seq, compile_)


def _case(
    name: str, function: Callable[..., Any], given: Sequence[Tensor], seq: int, compile_: Compile
) -> Case:
    entries = {
        "eager": framework.eager(function, given),
        "torch.compile": framework.compiled(function, given),
        OURS: framework.ours(compile_, function, given),
    }
    moved = sum(x.numel() * x.element_size() for x in given) + 4 * _results(function, given)
    facts = {"chain": name, "seq": seq, "dtype": "float32", "moved_mb": moved / 1e6}
    doubles = [x.double() for x in given]
    reference = framework.eager(function, doubles)().run
    return Case(f"{name} S={seq}", facts, entries, lambda: _last(reference()), _last)


def _last(output: Any) -> Any:
    return output[-1] if isinstance(output, tuple | list) else output


def _results(function: Callable[..., Any], given: Sequence[Tensor]) -> int:
    """Elements of what a chain returns."""
    found = framework.eager(function, given)().run()
    return sum(x.numel() for x in (found if isinstance(found, tuple) else (found,)))
