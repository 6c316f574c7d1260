"""Traffic from a description: the same description and seed give the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from math import sqrt
from typing import Literal

import numpy as np

from maquette.errors import Fault, InputError
from maquette.traffic.arrivals import Arrivals, Process, arrival_ns
from maquette.traffic.lengths import Lengths, fixed, lognormal, uniform
from maquette.traffic.prefixes import Prefixes, block_hashes
from maquette.traffic.types import Floats, Requests
from maquette.units import PerSecond

# The spread of lengths when only their means are known.  The Azure 2023 conversation trace has
# about 0.93 (input) and 0.62 (output), in the quantile tables fitted to it (preset `chat`); a
# lognormal of 0.8 about the trace's means has its p90 within 20 % in the input and 5 % in the
# output (tests/traffic/test_presets.py).
CV = 0.8
# InferenceX's client draws lengths uniformly between this share of the nominal ones and them
# (SemiAnalysisAI/InferenceX, --random-range-ratio 0.8 of its benchmark scripts).
RANGE_RATIO = 0.8
Distribution = Literal["lognormal", "fixed", "below"]

# One independent stream of variates each, so that a change in one leaves the others as they were.
_STREAMS = ("arrivals", "input", "output", "system", "continue", "priority")


@dataclass(frozen=True)
class Priority:
    """A class of requests: its level (lower is served first) and its share of the traffic."""

    level: int
    share: float


@dataclass(frozen=True)
class TrafficSpec:
    """A description of traffic to generate.  Raises InputError for what contradicts itself."""

    input: Lengths
    output: Lengths
    rate: PerSecond | None = None  # requests per second; None in a closed loop only
    arrivals: Arrivals = field(default_factory=Arrivals)
    correlation: float = 0.0  # between input and output, of the normal scores of their ranks
    prefixes: Prefixes | None = None
    priorities: tuple[Priority, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        faults = []
        if (self.rate is None) != (self.arrivals.process == "closed"):
            what = "is missing" if self.rate is None else "does not go with a closed loop"
            faults.append(Fault("rate", what, hint="a closed loop has a concurrency instead"))
        if self.rate is not None and not 0 < self.rate < float("inf"):
            faults.append(Fault("rate", f"{self.rate} is out of range", "requests per second > 0"))
        if not -1 < self.correlation < 1:
            faults.append(Fault("correlation", f"{self.correlation} is out of range", "-1 .. 1"))
        shares = [p.share for p in self.priorities]
        if shares and (min(shares) < 0 or abs(sum(shares) - 1) > 1e-9):
            faults.append(Fault("priorities", f"shares {shares} do not add up to 1"))
        if faults:
            raise InputError(*faults)

    def __str__(self) -> str:
        rate = f" at {self.rate:g} req/s" if self.rate is not None else ""
        parts = [f"{self.arrivals}{rate}", f"input {self.input}", f"output {self.output}"]
        if self.correlation:
            parts.append(f"rank correlation {self.correlation:.2g}")
        if self.prefixes:
            parts.append(str(self.prefixes))
        if self.priorities:
            parts.append(
                "priorities " + ", ".join(f"{p.level}: {p.share:g}" for p in self.priorities)
            )
        return (f"{self.name}: " if self.name else "") + "; ".join(parts)


@dataclass(frozen=True)
class Preset:
    """A TrafficSpec with where its parameters come from."""

    name: str
    summary: str
    source: str  # the trace, its licence and who published it
    method: str  # how the parameters were fitted, and what was not fitted
    traffic: TrafficSpec
    statistics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # fitted to these


def generate(spec: TrafficSpec, n: int, seed: int = 0) -> Requests:
    """`n` requests.  Those of a smaller `n`, or of another rate on its own clock, are the same.

    >>> spec = synthetic(rate=2.0, input_tokens=100, output_tokens=10, distribution="fixed")
    >>> few = generate(spec, 3, seed=7)
    >>> few.input_tokens.tolist(), int(few.arrival_ns[0])
    ([100, 100, 100], 0)
    """
    if n < 1 or seed < 0:
        name, value = ("requests", n) if n < 1 else ("seed", seed)
        low = 1 if n < 1 else 0
        raise InputError(Fault(name, f"{value} is out of range", f"{low} or more"))
    u = {name: _uniform(seed, stream, n) for stream, name in enumerate(_STREAMS)}
    u_output = u["output"]
    if spec.correlation:
        from scipy.special import ndtr, ndtri  # slow to import, and a trace needs none of it

        r = spec.correlation
        u_output = ndtr(r * ndtri(u["input"]) + sqrt(1 - r * r) * ndtri(u_output))
    lengths = spec.input.at(u["input"])
    hashes, start, priority = None, None, None
    if spec.prefixes:
        hashes, start = block_hashes(spec.prefixes, lengths, u["system"], u["continue"])
    if spec.priorities:
        edges = np.cumsum([p.share for p in spec.priorities])[:-1]
        levels = np.array([p.level for p in spec.priorities], np.int64)
        priority = levels[np.searchsorted(edges, u["priority"], side="right")]
    return Requests(
        arrival_ns=arrival_ns(spec.arrivals, spec.rate or 1.0, u["arrivals"]),
        input_tokens=lengths,
        output_tokens=spec.output.at(u_output),
        priority=priority,
        block_hash=hashes,
        block_start=start,
        block_tokens=spec.prefixes.block_tokens if spec.prefixes else 0,
        concurrency=spec.arrivals.concurrency,
        source=f"{spec} ({n} requests, seed {seed})",
        redrawn=partial(generate, spec, n),
    )


def _uniform(seed: int, stream: int, n: int) -> Floats:
    """`n` variates in (0, 1) of one stream of a seed."""
    sequence = np.random.SeedSequence(seed, spawn_key=(stream,))
    u = np.random.Generator(np.random.PCG64(sequence)).random(n)
    return np.clip(u, 2**-53, 1 - 2**-53)


def synthetic(
    *,
    input_tokens: float,
    output_tokens: float,
    rate: float | None = None,
    concurrency: int = 0,
    distribution: Distribution = "lognormal",
    cv: float = CV,
    range_ratio: float = RANGE_RATIO,
    process: Process | None = None,
    arrival_cv: float | None = None,
    prefixes: Prefixes | None = None,
) -> TrafficSpec:
    """Traffic of which only means are known, as ``maquette simulate --rate … --input-tokens …``.

    Lengths are lognormal of these means with coefficient of variation `cv`, or all equal
    (``"fixed"``), or drawn as the clients of public benchmarks do: uniformly from `range_ratio` of
    these numbers, which are then nominal ones, up to them (``"below"``).  Arrivals are Poisson, or
    gamma of an `arrival_cv`, or a closed loop.

    >>> str(synthetic(concurrency=8, input_tokens=1000, output_tokens=100, distribution="below"))
    'closed loop of 8 clients; input uniform 800..1000; output uniform 80..100'
    """
    if (rate is None) == (concurrency == 0):
        what = "are contradictory" if concurrency else "are both missing"
        raise InputError(Fault("rate and concurrency", what, "exactly one of them"))
    chosen = process or ("closed" if concurrency else "poisson" if arrival_cv is None else "gamma")
    if chosen != "gamma" and arrival_cv is not None:
        raise InputError(Fault("arrival_cv", f"does not go with {chosen} arrivals", "gamma"))
    if not 0 < range_ratio <= 1:
        raise InputError(Fault("range_ratio", f"{range_ratio:g} is out of range", "0 .. 1"))
    if chosen == "bursts":
        raise InputError(Fault("process", "bursts have more parameters", hint="see TrafficSpec"))

    def lengths(name: str, mean: float) -> Lengths:
        if not 1 <= mean < float("inf"):
            raise InputError(Fault(name, f"{mean} is out of range", "1 token or more"))
        if distribution == "fixed":
            return fixed(round(mean))
        if distribution == "below":
            return uniform(max(1, round(mean * range_ratio)), round(mean))
        return lognormal(mean=mean, cv=cv)

    return TrafficSpec(
        lengths("input_tokens", input_tokens),
        lengths("output_tokens", output_tokens),
        rate=None if rate is None else PerSecond(rate),
        arrivals=Arrivals(chosen, arrival_cv or 1.0, concurrency=concurrency),
        prefixes=prefixes,
    )
