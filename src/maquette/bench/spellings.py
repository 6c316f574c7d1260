"""Ways to write attention: what benchmarks compare and captures are tested on.

Every function takes q, k and v as ``[batch, heads, sequence, features]`` tensors of torch, which
is imported only when one is called.  A claim about attention names the spelling that it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Tensor = Any  # torch.Tensor, which may not be installed
Spelling = Callable[[Tensor, Tensor, Tensor], Tensor]
Mask = Literal["full", "causal", "window"]
WINDOW = 256
CAP = 30.0


def scale_after(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scores multiplied by the scale."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.softmax(-1) @ v


def divide_by_root(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scores divided by the root of the features."""
    import math

    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.softmax(-1) @ v


def scale_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries scaled before the product."""
    return ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v


def divided_additive_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Divided scores plus a mask of -inf above the diagonal."""
    import math

    import torch

    s, t = q.shape[-2], k.shape[-2]
    mask = torch.full((s, t), float("-inf")).triu(1)
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + mask.to(q.dtype)
    return scores.softmax(-1) @ v


def additive_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Multiplied scores plus a mask of -inf above the diagonal."""
    import torch

    s, t = q.shape[-2], k.shape[-2]
    mask = torch.full((s, t), float("-inf")).triu(1)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + mask.to(q.dtype)
    return scores.softmax(-1) @ v


def masked_fill_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A boolean mask above the diagonal, filled with -inf."""
    import torch

    s, t = q.shape[-2], k.shape[-2]
    mask = torch.ones(s, t, dtype=torch.bool).triu(1)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.masked_fill(mask, float("-inf")).softmax(-1) @ v


def where_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A selection by comparing positions."""
    import torch

    i = torch.arange(q.shape[-2])[:, None]
    j = torch.arange(k.shape[-2])[None, :]
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return torch.where(i >= j, scores, float("-inf")).softmax(-1) @ v


def manual_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The softmax written out: maximum, exponential, sum, quotient."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return (weights / weights.sum(-1, keepdim=True)) @ v


def einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Both products in index notation."""
    import torch

    scores = torch.einsum("bhsd,bhtd->bhst", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhst,bhtd->bhsd", scores.softmax(-1), v)


def grouped_expand(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Fewer heads of keys and values, repeated for the queries of their group."""
    times = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(times, dim=1) for x in (k, v))
    return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v


def grouped_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same below the diagonal."""
    times = q.shape[1] // k.shape[1]
    return masked_fill_causal(q, *(x.repeat_interleave(times, dim=1) for x in (k, v)))


def alibi_causal(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """A penalty linear in distance, of another slope in every head."""
    import torch

    h, s, t = q.shape[1], q.shape[-2], k.shape[-2]
    i, j = torch.arange(s)[:, None], torch.arange(t)[None, :]
    slopes = 2.0 ** (-8.0 * torch.arange(1, h + 1) / h)
    bias = (slopes[:, None, None] * (j - i)).to(q.dtype)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias
    return scores.masked_fill(j > i, float("-inf")).softmax(-1) @ v


def soft_cap(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scores squeezed into (-30, 30)."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return (CAP * (scores / CAP).tanh()).softmax(-1) @ v


def sliding_window(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Every query sees itself and the 255 positions before it."""
    import torch

    i = torch.arange(q.shape[-2])[:, None]
    j = torch.arange(k.shape[-2])[None, :]
    seen = (j <= i) & (i - j < WINDOW)
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v


def sigmoid(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Weights that are sigmoids of scores, shifted by the length, and do not add up to one."""
    import math

    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
    return (scores - math.log(k.shape[-2])).sigmoid() @ v


@dataclass(frozen=True)
class Kind:
    """What is seen, and by how many heads of keys a spelling is meant to be called with."""

    mask: Mask = "full"
    key_heads: int = 0  # 0: as many as of queries
    softmax: bool = True  # whether fused attention of the framework can say it, bias apart
    biased: bool = False


SPELLINGS: Mapping[str, tuple[Spelling, Kind]] = {
    "scale after": (scale_after, Kind()),
    "divide by root": (divide_by_root, Kind()),
    "scale first": (scale_first, Kind()),
    "divided, additive causal": (divided_additive_causal, Kind("causal")),
    "additive causal": (additive_causal, Kind("causal")),
    "masked_fill causal": (masked_fill_causal, Kind("causal")),
    "where causal": (where_causal, Kind("causal")),
    "manual softmax": (manual_softmax, Kind()),
    "einsum": (einsum, Kind()),
    "grouped expand": (grouped_expand, Kind(key_heads=1)),
    "alibi causal": (alibi_causal, Kind("causal", biased=True)),
    "soft cap": (soft_cap, Kind(softmax=False)),
    "sliding window": (sliding_window, Kind("window")),
    "sigmoid": (sigmoid, Kind(softmax=False)),
}
# Beside the fourteen: what is measured where keys have fewer heads than queries.
GROUPED: Mapping[str, tuple[Spelling, Kind]] = {
    "grouped expand, causal": (grouped_causal, Kind("causal")),
    "grouped expand": SPELLINGS["grouped expand"],
}
