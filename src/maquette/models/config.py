"""What a model is, in the field's terms: layers of a mixer and a feed-forward part.

A `ModelConfig` holds no tensor and no cost; `models.decoder.program` turns it into a Program, and
every count comes out of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from maquette.ir.dtypes import DType, dtype

Activation = Literal["silu", "gelu", "gelu_tanh", "relu", "relu2", "clamped_swiglu"]
Quantised = Literal["none", "linear", "feed-forward", "experts"]


@dataclass(frozen=True)
class Norm:
    """RMS or layer normalisation; `offset` is added to the learnt scale (Gemma: 1)."""

    kind: Literal["rms", "layer"] = "rms"
    epsilon: float = 1e-5
    bias: bool = False
    offset: float = 0.0


@dataclass(frozen=True)
class Stretch:
    """Rotary frequencies made `factor` times slower, except where `keep` is 1.

    ``keep`` rises from 0 at `slow` to 1 at `fast`, measured over the turns a frequency makes in
    `context` positions (Llama 3) or over the frequency's number (YaRN); ``all`` keeps none.
    """

    factor: float
    over: Literal["all", "turns", "number"] = "all"
    slow: float = 0.0
    fast: float = 1.0
    context: int = 0
    amplitude: float = 1.0  # multiplies cosine and sine


@dataclass(frozen=True)
class Rope:
    """Rotary positions over the first `dims` features of a head."""

    theta: float
    dims: int
    interleaved: bool = False  # pairs (2i, 2i+1) rather than (i, i + dims/2)
    stretch: Stretch | None = None


@dataclass(frozen=True)
class Attention:
    """Softmax attention: multi-head, grouped (`kv_heads` < `heads`) or multi-query (1)."""

    heads: int
    kv_heads: int
    head_dim: int
    rope: Rope | None
    window: int | None = None  # keys a query may look back on, itself included
    chunked: bool = False  # the window is a chunk of the sequence: a query sees none before its own
    bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    unit_qk: bool = False  # queries and keys are scaled to one size behind the rotation
    warming: tuple[int, float] | None = None  # (n, a): q · (1 + a·log(1 + ⌊(position + 1) / n⌋))
    sinks: bool = False  # one learnt logit per head in every softmax denominator
    clip: float | None = None  # bound on |q|, |k|, |v|
    softcap: float | None = None  # scores → cap · tanh(scores / cap)
    scale: float | None = None  # of the scores; 1/√head_dim if None


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention: the cache holds one compressed row and one rotary key."""

    heads: int
    q_rank: int | None
    kv_rank: int
    nope_dim: int
    value_dim: int
    rope: Rope
    scale: float
    bias: bool = False


@dataclass(frozen=True)
class StateSpace:
    """Mamba-2: a causal convolution, then ``h ← exp(Δ·A)·h + Δ·B·x``, ``y = C·h + D·x``."""

    heads: int
    head_dim: int
    state: int
    groups: int
    conv: int
    conv_bias: bool = True
    bias: bool = False
    dt_range: tuple[float, float] = (0.0, float("inf"))
    format: str = "f32"  # of the recurrent state
    norm_by_group: bool = False  # behind the gate, the heads of a group and not all of them


@dataclass(frozen=True)
class Dense:
    """A feed-forward part; gated ones have a third matrix."""

    hidden: int
    activation: Activation = "silu"
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True)
class Router:
    """How experts are chosen and weighted.

    With `groups` only the best `groups_kept` groups of experts may be chosen; a group's score is
    the sum of its `group_top` best experts.
    """

    scoring: Literal["softmax", "sigmoid"] = "softmax"
    normalise: bool = True  # the chosen weights sum to 1
    scale: float = 1.0
    bias: bool = False  # added to the logits
    correction: bool = False  # a learnt bias that steers the choice and not the weights
    groups: int = 1
    groups_kept: int = 1
    group_top: int = 1


@dataclass(frozen=True)
class Experts:
    """A mixture of experts; `shared` sees every token, `residual` runs beside on the residual.

    The router's weights multiply what experts give, or with `weigh_input` what they are given.
    """

    count: int
    top_k: int
    expert: Dense
    router: Router = Router()
    shared: Dense | None = None
    shared_gate: bool = False  # a learnt sigmoid on the shared part
    residual: Dense | None = None
    weigh_input: bool = False


Mixer: TypeAlias = Attention | Latent | StateSpace
FeedForward: TypeAlias = Dense | Experts


@dataclass(frozen=True)
class Layer:
    """One layer: a mixer over the sequence, then a feed-forward part, each with its residual.

    Either may be missing, but not both.
    """

    mixer: Mixer | None
    ffn: FeedForward | None


@dataclass(frozen=True)
class ModelConfig:
    """A decoder: `order` names the kind of every layer, first to last."""

    name: str
    family: str  # model_type of the configuration it came from
    vocab: int
    d_model: int
    kinds: Mapping[str, Layer] = field(hash=False)
    order: tuple[str, ...]
    norm: Norm
    context: int | None  # longest sequence, tokens; None where nothing bounds it
    tied: bool = False  # one table embeds and un-embeds
    sandwich: bool = False  # also normalise what each half of a layer adds (Gemma 2, 3)
    parallel: int = 0  # norms of layers whose halves both read the layer's input; 0: in turn
    head_bias: bool = False
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    native: str = "bf16"  # format of the quantised weights as published
    quantised: Quantised = "none"  # which weights those are
    source: str = ""

    @property
    def layers(self) -> int:
        return len(self.order)

    @cached_property
    def linear(self) -> DType:
        """The format of the projection weights of attention and what stands in its place."""
        return dtype(self.native if self.quantised == "linear" else "bf16")

    @cached_property
    def dense(self) -> DType:
        """The format of the weights of feed-forward parts that every token takes."""
        return dtype(self.native if self.quantised in ("linear", "feed-forward") else "bf16")

    @cached_property
    def expert(self) -> DType:
        """The format of the routed experts' weights."""
        return dtype("bf16" if self.quantised == "none" else self.native)

    @cached_property
    def experts(self) -> Experts | None:
        """The mixture of experts, where the model has one."""
        found = [k.ffn for k in self.kinds.values() if isinstance(k.ffn, Experts)]
        return found[0] if found else None
