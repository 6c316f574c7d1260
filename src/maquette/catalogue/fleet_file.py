"""What the file of a fleet holds: a router, experts, their popularity, requests, deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from maquette.catalogue.requests import Asked
from maquette.errors import Fault, InputError
from maquette.serve.composition.popularity import Popularity
from maquette.serve.composition.tiers import Host
from maquette.serve.composition.types import Swapping
from maquette.units import Bytes, Seconds

REQUESTS = 256  # where a file does not say how many
MOST = 100_000  # experts of a group: beyond what is built, names would be made for ever


@dataclass(frozen=True)
class Router:
    """The model that names an expert, in `output_tokens` tokens."""

    model: str
    output_tokens: int = 20

    def __post_init__(self) -> None:
        if self.output_tokens < 1:
            raise InputError(Fault("output_tokens", f"is {self.output_tokens}", "1 or more"))


@dataclass(frozen=True)
class Experts:
    """`count` experts of one model, called ``NAME-1``, ``NAME-2`` …; one alone is called NAME."""

    model: str
    count: int = 1
    name: str = ""
    weight: float | None = None  # of each; see `Popularity`

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise InputError(Fault("count", f"is {self.count:,}", f"1 to {MOST:,}"))

    @property
    def group(self) -> str:
        """What all of them are called."""
        return self.name or self.model

    @property
    def names(self) -> tuple[str, ...]:
        """What each is called."""
        if self.count == 1:
            return (self.group,)
        return tuple(f"{self.group}-{i + 1}" for i in range(self.count))


@dataclass(frozen=True)
class Times:
    """Times of a model on a system that are known, in place of a price."""

    prefill: Seconds  # of a batch of prompts, first tokens included
    step: Seconds  # of every further token of the batch
    source: str

    def __post_init__(self) -> None:
        faults = []
        if not 0 < self.prefill < float("inf"):
            faults.append(Fault("prefill", f"is {self.prefill:g} s", "more than 0"))
        if not 0 <= self.step < float("inf"):
            faults.append(Fault("step", f"is {self.step:g} s", "0 or more"))
        if faults:
            raise InputError(*faults)


@dataclass(frozen=True)
class Where:
    """One system of a deployment and what it hosts: names or groups of experts, () for all."""

    on: str
    experts: tuple[str, ...] = ()
    tp: int | None = None  # devices an expert is sharded over; None: all of the system
    host: Host = field(default_factory=Host)
    reserve: Bytes | None = None  # of router and KV cache; None: as they need
    engine: str | None = None  # in place of the fleet's
    times: Mapping[str, Times] = field(default_factory=dict)  # by model
    set: tuple[str, ...] = ()  # what-ifs of the machine

    def __post_init__(self) -> None:
        faults = []
        if self.tp is not None and self.tp < 1:
            faults.append(Fault("tp", f"is {self.tp}", "1 or more"))
        if self.reserve is not None and not 0 <= self.reserve < float("inf"):
            faults.append(Fault("reserve", f"is {self.reserve:g} B", "0 or more"))
        if faults:
            raise InputError(*faults)


@dataclass(frozen=True)
class Site:
    """Systems that serve together, the first one routing; one of the deployments compared."""

    name: str
    systems: tuple[Where, ...]
    policy: Swapping | None = None  # in place of the fleet's

    def __post_init__(self) -> None:
        if not self.systems:
            raise InputError(Fault("systems", "there are none", "at least one [[…systems]]"))


@dataclass(frozen=True)
class Traffic:
    """What is served: a preset, a trace, or lengths; in batches, in a closed loop or at a rate."""

    batch: int | None = None  # requests that arrive together once the last batch is answered
    concurrency: int | None = None
    rate: float | None = None
    requests: int | None = None
    preset: str | None = None
    trace: str | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    lengths: Literal["lognormal", "fixed"] | None = None
    arrivals: Literal["poisson", "constant", "gamma"] | None = None
    arrival_cv: float | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise InputError(Fault("batch", f"is {self.batch}", "1 or more"))
        others = [n for n in ("concurrency", "rate") if getattr(self, n) is not None]
        if self.batch is not None and others:
            what = "contradict each other"
            hint = "a batch arrives when the last one is answered"
            raise InputError(*(Fault(f"batch and {n}", what, hint=hint) for n in others))
        self.asked(0)

    def asked(self, seed: int) -> Asked:
        """The same choice as the catalogue reads it; a batch as so many clients."""
        values = {k: v for k, v in vars(self).items() if k != "batch"}
        if self.trace is None:
            values["requests"] = self.requests or REQUESTS
        if self.batch is not None:
            values["concurrency"] = self.batch
        return Asked(**values, seed=seed)


@dataclass(frozen=True)
class FleetFile:
    """What the file of a fleet holds."""

    router: Router
    experts: tuple[Experts, ...]
    traffic: Traffic
    deployments: tuple[Site, ...]
    popularity: Popularity = field(default_factory=Popularity)
    policy: Swapping = field(default_factory=Swapping)
    engine: str | None = None  # None: of every system the one that serves there by default
    precision: str = "bf16"
    title: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        faults = [
            Fault(n, "there are none", "at least one")
            for n in ("experts", "deployments")
            if not getattr(self, n)
        ]
        seen = [name for e in self.experts for name in e.names]
        double = sorted({n for n in seen if seen.count(n) > 1}) if len({*seen}) < len(seen) else []
        faults += [
            Fault("experts", f"two are called {n!r}", hint="give them names") for n in double
        ]
        if faults:
            raise InputError(*faults)

    @property
    def names(self) -> tuple[str, ...]:
        """Every expert."""
        return tuple(name for e in self.experts for name in e.names)

    @property
    def weights(self) -> list[float | None]:
        """What is listed as the popularity of each expert."""
        return [e.weight for e in self.experts for _ in e.names]

    def members(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """The experts that names or groups stand for; all of them where none is named."""
        if not chosen:
            return self.names
        return tuple(n for e in self.experts for n in e.names if e.group in chosen or n in chosen)
