"""A Plan: every choice and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from maquette.units import Bytes

Scheduler = Literal["continuous", "prefill-first", "static"]
Admission = Literal["chunk", "prompt", "output", "estimate"]
Sharing = Literal["scheduled", "computed"]
Routing = Literal["round-robin", "least-outstanding", "prefix-aware"]
Mode = Literal["colocated", "disaggregated"]
# Which steps are replayed from captured graphs: none; those that only decode; those of few tokens,
# but for their attention; or both, the former whole ("full").
Graphs = Literal["none", "decode", "piecewise", "full"]


@dataclass(frozen=True)
class Precision:
    """Number formats by role; names are those of `ir.dtypes`."""

    weights: str = "bf16"
    activations: str = "bf16"
    kv: str = "bf16"

    def __str__(self) -> str:
        return f"w:{self.weights} a:{self.activations} kv:{self.kv}"


@dataclass(frozen=True)
class Mesh:
    """How one replica is laid over devices.

    `tp` shards heads, hidden features and vocabulary; `pp` cuts the layers into stages; `dp` gives
    each of so many groups its own sequences for attention (attention data parallelism); `ep`
    shards the experts.  A replica has ``tp * pp * dp`` devices; experts are laid over the
    ``tp * dp`` devices of a stage, `ep` groups of them.
    """

    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1

    @property
    def devices(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def lanes(self) -> int:
        """Batches in flight at once: one for each stage of each attention group."""
        return self.pp * self.dp

    def __str__(self) -> str:
        parts = [f"{n}{v}" for n, v in (("tp", self.tp), ("pp", self.pp), ("dp", self.dp))]
        shown = [p for p in parts if not p.endswith("p1")] or ["tp1"]
        return " ".join([*shown, *([f"ep{self.ep}"] if self.ep > 1 else [])])


@dataclass(frozen=True)
class Policy:
    """How requests are batched and cached.  Defaults are vLLM v1's.

    Continuous batches hold prefill and decode tokens together; where prefill is first a step holds
    either; a static batch is prefilled and decoded to its end.  `admission` is what must find KV
    blocks for a waiting request to be let in: the part of its prompt in the next step, its prompt,
    all to its last token, beside all that those running will take (nobody is then preempted), or
    that beside what those running are estimated to take (`serve.estimate`).
    """

    scheduler: Scheduler = "continuous"
    admission: Admission = "prompt"
    output_limit: int | None = None  # tokens asked for at most; None: the engine knows the lengths
    watermark: float = 0.0  # share of the KV blocks that admission leaves free
    max_batched_tokens: int = 8192  # the token budget of one step of one attention group
    max_seqs: int = 256  # sequences running at once in one attention group
    block_size: int = 16  # tokens in one KV block
    chunked_prefill: bool = True
    prefix_caching: bool = True
    sharing: Sharing = "scheduled"  # from when on others find the blocks of a prompt
    memory_utilisation: float | None = None  # of what `Engine.budget` says; None: its own
    activation_peak: Bytes | None = None  # per device, instead of what a full step is counted to
    reserve: Bytes | None = None  # per device, instead of the engine's own
    kv_blocks: int | None = None  # overrides the number derived from memory
    graphs: Graphs = "full"
    captured: int | None = None  # largest captured size; None: the engine's rule
    overlap: bool = False  # the host forms and prepares a step while the one before runs
    expert_skew: float = 0.0  # Zipf exponent of how often tokens choose each expert
    jitter: float = 0.0  # deviation of one rank's time of a step over its mean
    timeout_s: float | None = None  # a request waiting or running longer than this is dropped
    routing: Routing = "round-robin"


@dataclass(frozen=True)
class Plan:
    """One deployment: precision, mesh, policy and how many replicas of it.

    When `mode` is ``disaggregated`` the mesh and policy above serve decoding, and `prefill_mesh`
    with `prefill_replicas` replicas serves prefill.
    """

    precision: Precision = field(default_factory=Precision)
    mesh: Mesh = field(default_factory=Mesh)
    policy: Policy = field(default_factory=Policy)
    replicas: int = 1
    engine: str = "vllm"
    mode: Mode = "colocated"
    prefill_mesh: Mesh | None = None
    prefill_replicas: int = 0
    stages: tuple[int, ...] = ()  # layers of each pipeline stage; () splits them evenly
    cold: float | None = None  # share of the weights streamed from the cold tier; None: what must
    regions: int | None = None  # parts of a wafer that layers take turns in; None: one per layer

    @property
    def devices(self) -> int:
        prefill = self.prefill_mesh.devices * self.prefill_replicas if self.prefill_mesh else 0
        return self.mesh.devices * self.replicas + prefill

    def but(self, **changes: Any) -> Plan:
        """This plan with some choices changed."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Infeasible:
    """Why something cannot be and by how much: a value, not an exception."""

    reason: str
    short_by: float = 0.0
    unit: str = ""

    def __str__(self) -> str:
        short = f" (short by {self.short_by:.4g} {self.unit})" if self.short_by else ""
        return self.reason + short
