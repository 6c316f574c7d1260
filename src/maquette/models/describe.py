"""A model as rows for a table: what it is, what it weighs, what it keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from maquette.models import facts
from maquette.models.config import (
    Attention,
    Dense,
    FeedForward,
    Latent,
    Layer,
    Mixer,
    ModelConfig,
)

COUNTED = "counted from the Program"
FORMATS = ("bf16", "fp8", "int4")


@dataclass(frozen=True)
class Row:
    """One line: `value` is a number in `unit`, or words."""

    section: str
    name: str
    value: float | int | str
    unit: str = ""
    source: str = ""


def describe(config: ModelConfig, context: int = 4096) -> list[Row]:
    """Everything worth knowing of a model; flops are those of a token after `context` others."""
    return [*_general(config), *_layers(config), *_counts(config), *_memory(config, context)]


def _general(c: ModelConfig) -> Iterator[Row]:
    yield Row("general", "model", c.name, source=c.source)
    yield Row("general", "family", c.family, source=c.source)
    yield Row("general", "layers", c.layers, "", c.source)
    yield Row("general", "width", c.d_model, "features", c.source)
    yield Row("general", "vocabulary", c.vocab, "tokens", c.source)
    if c.context is not None:
        yield Row("general", "context", c.context, "tokens", c.source)
    native = c.native if c.quantised == "none" else f"{c.native} ({c.quantised} weights)"
    yield Row("general", "published weights", native, source=c.source)


def _layers(c: ModelConfig) -> Iterator[Row]:
    times = Counter(c.order)
    for kind, layer in c.kinds.items():
        yield Row("layers", f"{kind} × {times[kind]}", _words(layer), source=c.source)


def _words(layer: Layer) -> str:
    return "; ".join(filter(None, (_mixes(layer.mixer), _feeds(layer.ffn))))


def _mixes(mixer: Mixer | None) -> str:
    if mixer is None:
        return ""
    if isinstance(mixer, Attention):
        words = f"{mixer.heads} heads, {mixer.kv_heads} kv heads of {mixer.head_dim}"
        span = "in chunks of" if mixer.chunked else "window"
        return words + (f", {span} {mixer.window}" if mixer.window else "")
    if isinstance(mixer, Latent):
        words = f"latent attention, {mixer.heads} heads, rank {mixer.kv_rank}"
        return f"{words} + {mixer.rope.dims} rotary"
    return f"state space, {mixer.heads} heads of {mixer.head_dim} × {mixer.state}"


def _feeds(ffn: FeedForward | None) -> str:
    if ffn is None:
        return ""
    if isinstance(ffn, Dense):
        return f"hidden {ffn.hidden}"
    words = f"{ffn.top_k} of {ffn.count} experts, hidden {ffn.expert.hidden}"
    words += f", shared {ffn.shared.hidden}" if ffn.shared else ""
    return words + (f", beside a dense part of {ffn.residual.hidden}" if ffn.residual else "")


def _counts(c: ModelConfig) -> Iterator[Row]:
    found = facts.parameters(c)
    yield Row("parameters", "total", found.total, "", COUNTED)
    yield Row("parameters", "active per token", found.active, "", COUNTED)


def _memory(c: ModelConfig, context: int) -> Iterator[Row]:
    yield Row("memory", "weights as published", facts.weight_bytes(c), "B", COUNTED)
    for fmt in FORMATS:
        yield Row("memory", f"weights in {fmt}", facts.weight_bytes(c, fmt), "B", COUNTED)
    yield Row("memory", "KV cache per token", facts.kv_bytes_per_token(c), "B", COUNTED + ", bf16")
    if fixed := facts.recurrent_bytes(c):
        yield Row("memory", "recurrent state per sequence", fixed, "B", COUNTED)
    held = facts.state_bytes(c, context)
    yield Row("memory", f"state of {context} tokens", held, "B", COUNTED + ", bf16")
    work = facts.flops_per_token(c, context)
    yield Row("work", f"flops per token at {context}", work, "FLOP", COUNTED)
