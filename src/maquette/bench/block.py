"""A Llama block, naive and with the framework's fused attention, beside ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maquette.bench import framework
from maquette.bench.contest import OURS, Case
from maquette.bench.framework import Compile


@dataclass(frozen=True)
class Width:
    """Sizes of a block; `hidden` is that of the gated feed-forward."""

    dim: int = 1024
    heads: int = 16
    hidden: int = 2816


def cases(seqs: Sequence[int], compile_: Compile, width: Width | None = None) -> Iterator[Case]:
    """A case per sequence length."""
    for seq in seqs:
        framework.forget()
        yield _case(seq, width or Width(), compile_)


def llama_block(width: Width, fused: bool = False) -> Any:
    """A module: root-mean-square norms, rotary positions, causal attention, a gated feed-forward.

    With `fused` the attention is one call of the framework's, else it is written out.
    """
    nn = framework.torch().nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.RMSNorm(width.dim, eps=1e-5) for _ in range(2))
            self.qkv = nn.ModuleList(nn.Linear(width.dim, width.dim, bias=False) for _ in range(3))
            self.out = nn.Linear(width.dim, width.dim, bias=False)
            self.gate = nn.Linear(width.dim, width.hidden, bias=False)
            self.up = nn.Linear(width.dim, width.hidden, bias=False)
            self.down = nn.Linear(width.hidden, width.dim, bias=False)
            self.attend = _fused if fused else _naive

        def forward(self, x: Any, cos: Any, sin: Any) -> Any:
            h = self.norms[0](x)
            q, k, v = (_split(project(h), width.heads) for project in self.qkv)
            mixed = self.attend(_rotated(q, cos, sin), _rotated(k, cos, sin), v)
            x = x + self.out(mixed.transpose(1, 2).flatten(2))
            h = self.norms[1](x)
            return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))

    return Block().eval().requires_grad_(False)


def block_inputs(seq: int, width: Width, seed: int = 0) -> tuple[Any, Any, Any]:
    """Activations, and the cosines and sines of rotary positions."""
    torch = framework.torch()
    x = torch.randn(1, seq, width.dim, generator=torch.Generator().manual_seed(seed))
    half = width.dim // width.heads // 2
    angle = torch.outer(torch.arange(seq), 10000.0 ** (-torch.arange(half) / half))
    angle = torch.cat([angle, angle], -1)
    return x, angle.cos(), angle.sin()


def _split(x: Any, heads: int) -> Any:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _rotated(x: Any, cos: Any, sin: Any) -> Any:
    torch = framework.torch()
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def _naive(q: Any, k: Any, v: Any) -> Any:
    torch = framework.torch()
    s = q.shape[-2]
    mask = torch.ones(s, s, dtype=torch.bool).triu(1)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.masked_fill(mask, float("-inf")).softmax(-1) @ v


def _fused(q: Any, k: Any, v: Any) -> Any:
    return framework.torch().nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


def _case(seq: int, width: Width, compile_: Compile) -> Case:
    torch = framework.torch()
    torch.manual_seed(0)
    naive, fused = llama_block(width), llama_block(width, fused=True)
    fused.load_state_dict(naive.state_dict())
    given = block_inputs(seq, width)
    entries = {
        "eager": framework.eager(naive, given),
        "eager + sdpa": framework.eager(fused, given),
        "torch.compile": framework.compiled(naive, given),
        "torch.compile + sdpa": framework.compiled(fused, given),
        OURS: framework.ours(compile_, naive, given),
    }
    facts = {
        "spelling": "masked_fill causal", "seq": seq, "batch": 1, "dim": width.dim,
        "heads": width.heads, "hidden": width.hidden, "dtype": "float32",
        "gflop": flops(seq, width) / 1e9,
    }  # fmt: skip
    return Case(f"block S={seq}", facts, entries, _reference(naive, given))


def flops(seq: int, width: Width) -> float:
    """Of the products, and of the attention below the diagonal."""
    weights = 4 * width.dim**2 + 3 * width.dim * width.hidden
    return 2.0 * seq * weights + 4.0 * width.dim * seq * (seq + 1) / 2


def _reference(module: Any, given: Sequence[Any]) -> Callable[[], Any]:
    import copy

    double = copy.deepcopy(module).double()
    return framework.eager(double, [x.double() for x in given])().run
