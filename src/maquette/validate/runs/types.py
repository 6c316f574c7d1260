"""A measured run: what was deployed, what was sent, what a client saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from maquette.traffic.arrivals import Arrivals
from maquette.traffic.lengths import Lengths, fixed, lognormal, quantiles
from maquette.traffic.prefixes import Prefixes
from maquette.traffic.types import Ints

# ttft, tpot (mean over requests), itl (mean over gaps) and e2e in seconds; output tokens per second
QUANTITIES = ("ttft", "tpot", "itl", "e2e", "output_tokens_per_s")
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
Key: TypeAlias = tuple[str, str]  # (quantity, statistic)


@dataclass(frozen=True)
class Said:
    """What a file, a sidecar ``deployment.toml`` or options say of a run; None: nothing."""

    model: str | None = None
    on: str | None = None  # devices: "h100x4"
    engine: str | None = None
    version: str | None = None  # of the engine
    tp: int | None = None
    pp: int | None = None
    dp: int | None = None
    ep: int | None = None
    replicas: int | None = None
    weights: str | None = None
    activations: str | None = None
    kv: str | None = None
    max_seqs: int | None = None
    max_batched_tokens: int | None = None
    kv_blocks: int | None = None
    memory_utilisation: float | None = None
    chunked_prefill: bool | None = None
    prefix_caching: bool | None = None
    graphs: Literal["none", "decode", "piecewise", "full"] | None = None
    overlap: bool | None = None
    rate: float | None = None  # requests per second, where a file does not know it
    concurrency: int | None = None
    arrivals: Literal["poisson", "constant"] | None = None
    input_cv: float | None = None  # spread of lengths, where a file has only means; 0: all equal
    output_cv: float | None = None
    prefix_tokens: int | None = None  # that prompts share, of `prefixes` equally likely beginnings
    prefixes: int | None = None


@dataclass(frozen=True)
class Spread:
    """What a file says of lengths: their mean, and perhaps more."""

    mean: float
    sd: float | None = None
    quantiles: Mapping[float, float] = field(default_factory=dict)  # probability → tokens, 0 … 1

    def lengths(self, cv: float | None) -> Lengths:
        """A distribution of this mean; `cv` where the file does not tell its spread."""
        known = {p: max(x, 1.0) for p, x in self.quantiles.items()}
        if {0.0, 1.0} <= known.keys() and len(known) > 2 and known[1.0] > known[0.0]:
            factor = self.mean / quantiles(known).mean()
            return quantiles({p: max(1.0, x * factor) for p, x in known.items()})
        spread = self.sd / self.mean if self.sd is not None else cv
        return lognormal(mean=self.mean, cv=spread) if spread else fixed(max(1, round(self.mean)))

    @property
    def told(self) -> bool:
        """Whether more than a mean is known."""
        return self.sd is not None or len(self.quantiles) > 2


@dataclass(frozen=True, eq=False)
class Load:
    """What a client sent: at a rate, or closed with so many clients."""

    requests: int
    inputs: Spread
    outputs: Spread
    rate: float | None = None
    concurrency: int | None = None
    arrivals: Arrivals | None = None  # of a rate; None: the file does not tell
    listed: tuple[Ints, Ints] | None = None  # tokens in and out of every request, in order
    sent_ns: Ints | None = None  # when each of those was sent, of an open loop


@dataclass(frozen=True, eq=False)
class Run:
    """One measured point."""

    name: str  # the file, and the part of it
    tool: str
    load: Load
    measured: Mapping[Key, float]
    said: Said = Said()
    notes: tuple[str, ...] = ()  # what was taken for granted


def shared(said: Said) -> Prefixes | None:
    """The beginnings that prompts share."""
    if said.prefix_tokens is None:
        return None
    return Prefixes(
        block_tokens=16, system_prompts=said.prefixes or 1, system_tokens=said.prefix_tokens,
        zipf=0.0,
    )  # fmt: skip
