"""Attention in every spelling, beside the framework's ways to run it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maquette.bench import framework
from maquette.bench.contest import OURS, Case, Contender
from maquette.bench.forms import FORMS, formed
from maquette.bench.framework import Compile, Make
from maquette.bench.memory import available
from maquette.bench.spellings import CAP, GROUPED, SPELLINGS, WINDOW, Kind, Spelling
from maquette.errors import Fault, NotYet

_PLAIN = {"causal": "masked_fill causal", "full": "scale after"}
_GROUPED = {"causal": "grouped expand, causal", "full": "grouped expand"}
_WHOLE = 2048  # up to here the reference is the spelling itself in double precision


@dataclass(frozen=True)
class Shape:
    """Of q; keys and values have `key_heads` heads, as many as q where that is 0."""

    seq: int
    heads: int = 8
    dim: int = 64
    batch: int = 1
    key_heads: int = 0
    dtype: str = "float32"

    @property
    def score_bytes(self) -> int:
        """Of one matrix of scores of all heads, which naive code makes several times."""
        return 4 * self.batch * self.heads * self.seq**2


def cases(
    names: Sequence[str], shapes: Sequence[Shape], compile_: Compile, *, flexible: bool = True,
    forms: bool = False,
) -> Iterator[Case]:  # fmt: skip
    """A case per shape and spelling, each made when it is asked for.

    `flexible` attention of the framework takes part, and with `forms` each form of our own.
    """
    for shape in shapes:
        for name in names:
            framework.forget()
            yield _case(name, shape, compile_, flexible, forms)


def plain(mask: str, shape: Shape) -> str:
    """The spelling that is measured where none is asked for."""
    return (_GROUPED if shape.key_heads not in (0, shape.heads) else _PLAIN)[mask]


def inputs(shape: Shape, kind: Kind, seed: int = 0) -> tuple[Any, Any, Any]:
    """Random q, k and v."""
    torch = framework.torch()
    generator = torch.Generator().manual_seed(seed)
    held = shape.key_heads or kind.key_heads or shape.heads
    dtype = getattr(torch, shape.dtype)

    def made(heads: int) -> Any:
        size = (shape.batch, heads, shape.seq, shape.dim)
        return torch.randn(size, generator=generator).to(dtype)

    return made(shape.heads), made(held), made(held)


def flops(shape: Shape, kind: Kind) -> float:
    """Of both products, over the positions that are seen."""
    s = shape.seq
    seen = {"full": s * s, "causal": s * (s + 1) / 2, "window": _window_pairs(s)}[kind.mask]
    return 4.0 * shape.batch * shape.heads * shape.dim * seen


def _window_pairs(s: int) -> float:
    inside = min(s, WINDOW)
    return inside * (inside + 1) / 2 + (s - inside) * WINDOW


def _case(name: str, shape: Shape, compile_: Compile, flexible: bool, forms: bool) -> Case:
    spelling, kind = {**SPELLINGS, **GROUPED}[name]
    q, k, v = inputs(shape, kind)
    grouped = k.shape[1] != q.shape[1]
    entries: dict[str, Make] = {
        "eager": _if_it_fits(framework.eager(spelling, (q, k, v)), shape),
        "torch.compile": _if_it_fits(framework.compiled(spelling, (q, k, v)), shape),
    }
    if kind.softmax:
        mask = _bias(shape, kind)
        causal = kind.mask == "causal" and not kind.biased
        entries["sdpa"] = framework.fused_attention(
            q, k, v, causal=causal, mask=mask, grouped=grouped
        )
    if flexible and name != "sigmoid":
        seen, score = _rules(shape, kind, name)
        entries["flex"] = framework.flexible_attention(
            q, k, v, seen=seen, score=score, grouped=grouped
        )
    entries[OURS] = framework.ours(compile_, spelling, (q, k, v))
    for form in FORMS if forms else ():
        entries[f"{OURS} ({form})"] = formed(form, spelling, (q, k, v))
    facts = {
        "spelling": name, "mask": kind.mask, "seq": shape.seq, "batch": shape.batch,
        "heads": shape.heads, "key_heads": k.shape[1], "dim": shape.dim, "dtype": shape.dtype,
        "gflop": flops(shape, kind) / 1e9,
    }  # fmt: skip
    return Case(f"{name} S={shape.seq}", facts, entries, _reference(spelling, kind, shape, q, k, v))


def _if_it_fits(make: Make, shape: Shape) -> Make:
    """Naive code holds three matrices of scores at once; without room for them it takes no part."""

    def guarded() -> Contender:
        if lacking := lacking_room(shape):
            raise NotYet(Fault("", lacking))
        return make()

    return guarded


def lacking_room(shape: Shape) -> str:
    """What naive code would need and is not there; empty where it fits."""
    room, need = available(), 3 * shape.score_bytes
    if room is None or need <= 0.8 * room:
        return ""
    return f"needs about {need / 1e9:.0f} GB for scores, {room / 1e9:.0f} GB are free"


def _reference(
    spelling: Spelling, kind: Kind, shape: Shape, q: Any, k: Any, v: Any
) -> Callable[[], Any] | None:
    """The value in double precision; beyond `_WHOLE` by fused attention, where it can say it."""
    doubles = [x.double() for x in (q, k, v)]
    if shape.seq <= _WHOLE:
        return framework.eager(spelling, doubles)().run
    if not kind.softmax or kind.biased or kind.mask == "window":
        return None
    causal, grouped = kind.mask == "causal", k.shape[1] != q.shape[1]
    return framework.fused_attention(*doubles, causal=causal, grouped=grouped)().run


def _bias(shape: Shape, kind: Kind) -> Any:
    """The mask or bias that fused attention is given, where a flag does not say it."""
    torch = framework.torch()
    i, j = torch.arange(shape.seq)[:, None], torch.arange(shape.seq)[None, :]
    if kind.biased:
        slopes = 2.0 ** (-8.0 * torch.arange(1, shape.heads + 1) / shape.heads)
        bias = slopes[:, None, None] * (j - i)
        return bias.masked_fill(j > i, float("-inf"))[None].to(getattr(torch, shape.dtype))
    if kind.mask == "window":
        return (j <= i) & (i - j < WINDOW)
    return None


def _rules(shape: Shape, kind: Kind, name: str) -> tuple[Any, Any]:
    """The mask and the change of scores as flexible attention takes them."""
    torch = framework.torch()
    seen = {
        "full": None,
        "causal": lambda b, h, i, j: i >= j,
        "window": lambda b, h, i, j: (i >= j) & (i - j < WINDOW),
    }[kind.mask]
    score = None
    if kind.biased:
        slopes = 2.0 ** (-8.0 * torch.arange(1, shape.heads + 1) / shape.heads)
        score = lambda s, b, h, i, j: s + slopes[h] * (j - i)  # noqa: E731
    if name == "soft cap":
        score = lambda s, b, h, i, j: CAP * torch.tanh(s / CAP)  # noqa: E731
    return seen, score
