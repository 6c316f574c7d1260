"""What a model weighs and keeps, counted from its Program.

Nothing here knows a family: every number is a walk over the values of ``program(config)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from maquette.ir import facts
from maquette.ir.axes import points
from maquette.ir.dtypes import DType, dtype
from maquette.ir.facts import contraction, section_traffic, work
from maquette.ir.graph import Graph, Program
from maquette.ir.patterns import Input
from maquette.models.config import ModelConfig
from maquette.models.decoder import program

# Sections whose products stay in full precision when a checkpoint is quantised.
UNQUANTISED = frozenset({"embed", "router", "lm_head"})


@dataclass(frozen=True)
class Parameters:
    """How many weights a model has, and how many of them one token reads."""

    total: int
    active: int


@lru_cache(maxsize=256)
def parameters(config: ModelConfig) -> Parameters:
    """Weights in all, and those that one token reads (one row of the embedding table).

    >>> from maquette.models.config import Attention, Dense, Layer, Norm
    >>> layer = Layer(Attention(4, 2, 16, rope=None), Dense(128))
    >>> tiny = ModelConfig("tiny", "llama", 100, 64, {"dense": layer}, ("dense",) * 2, Norm(), 128)
    >>> parameters(tiny)
    Parameters(total=86848, active=80512)
    """
    model = program(config)
    one = _token(model, context=1)
    own, shared = 0, dict[str, int]()
    for part, times in model.times.items():
        graph = model.parts[part]
        for move in section_traffic(graph.values, graph).reads:
            count = round(move.elements(one))
            if move.name in model.shared:
                shared[move.name] = max(count, shared.get(move.name, 0))
            elif move.role == "weight":
                own += times * count
    return Parameters(round(facts.parameters(model)({})), own + sum(shared.values()))


def weight_bytes(config: ModelConfig, fmt: str | DType | None = None) -> float:
    """Bytes of all weights, as published or with the projections inside layers in `fmt`.

    Embeddings, head, routers, norms and biases keep 16 bits, as quantised checkpoints do.
    """
    model = program(config)
    total = 0.0
    met: set[str] = set()
    for part, times in model.times.items():
        graph = model.parts[part]
        chosen = _projections(graph)
        for name, held in graph.inputs.items():
            if held.role != "weight" or name in met:
                continue
            once = name in model.shared
            met.update([name] if once else [])
            kind = dtype(fmt) if fmt is not None and name in chosen else held.dtype
            if fmt is not None and name not in chosen:
                kind = dtype("bf16")
            total += points(held.axes)({}) * kind.bytes * (1 if once else times)
    return total


def _projections(graph: Graph) -> set[str]:
    """Weights that a matrix unit contracts, outside the sections kept in full precision."""
    found: set[str] = set()
    for value in graph.values:
        product = contraction(value)
        if product is None or not product.matrix or value.section in UNQUANTISED:
            continue
        sides = (product.left, product.right)
        found |= {s.name for s in sides if isinstance(s, Input) and s.role == "weight"}
    return found


def state_bytes(config: ModelConfig, context: int, kv: str | DType = "bf16") -> float:
    """Bytes one sequence of `context` tokens keeps: caches in the format `kv`, and recurrences."""
    model = program(config)
    at = _token(model, context) | {"s": 0}
    total = 0.0
    for part, times in model.times.items():
        for held in model.parts[part].inputs.values():
            if held.role == "state":
                count = points(held.axes)
                kind = dtype(kv) if count.symbols - {"b"} else held.dtype
                total += times * count(at) * kind.bytes
    return total


def kv_bytes_per_token(config: ModelConfig, kv: str | DType = "bf16") -> float:
    """Bytes by which one more token grows the caches, while it is inside every window."""
    return state_bytes(config, 1, kv) - state_bytes(config, 0, kv)


def recurrent_bytes(config: ModelConfig) -> float:
    """Bytes one sequence keeps whatever its length."""
    return state_bytes(config, 0)


def flops_per_token(config: ModelConfig, context: int = 1) -> float:
    """Flops to decode one token that ends a context of `context` tokens."""
    model = program(config)
    at = _token(model, context)
    return float(
        sum(times * work(model.parts[p].values).total(at) for p, times in model.times.items())
    )


def _token(model: Program, context: int) -> dict[str, Any]:
    """Symbols of a step with one new token of one sequence."""
    spans = {name: min(context, window) for name, window in model.windows.items()}
    return {"b": 1, "s": 1, "t": context, "hit": (model.experts or (1, 1))[1], **spans}
