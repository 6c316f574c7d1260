"""What is tried on an engine: open loops up to near its capacity, closed loops, longer prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from maquette.measure.client import Answers
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.lengths import Lengths, lognormal
from maquette.traffic.spec import TrafficSpec, generate
from maquette.traffic.types import Requests
from maquette.units import PerSecond

SHARES = (0.2, 0.4, 0.6, 0.8, 0.95, 1.1)  # of the capacity, of the first shape
FEWER = (0.3, 0.7)  # of the second
CLIENTS = (1, 2, 4, 8)
SHAPES = ((128, 32), (384, 16))  # mean tokens in and out
SPREAD = 0.5  # coefficient of variation of lengths
LEAST = 20  # requests of a trial: fewer say little of a mean
AGAIN = ("rate 0.60", "clients 4")  # trials run twice, for how much a measurement scatters


@dataclass(frozen=True)
class Trial:
    """One load, under a name that its result is kept by."""

    name: str
    spec: TrafficSpec
    requests: int
    seed: int

    def stream(self) -> Requests:
        """What is sent."""
        return generate(self.spec, self.requests, self.seed)


def probe(clients: int) -> Trial:
    """A closed loop of as many clients as the engine takes at once: it runs at its capacity."""
    spec = _spec(SHAPES[0], None, Arrivals("closed", concurrency=clients))
    return Trial("capacity", spec, 4 * clients, seed=1)


def warm_up(clients: int) -> Trial:
    """What makes the engine allocate and choose whatever it does at the first request."""
    return replace(probe(clients), name="warm-up", requests=2 * clients, seed=2)


def capacity(seen: Answers) -> float:
    """Tokens per second, a prompt's and an answer's alike, of an engine that was never idle."""
    done = seen.done
    return float((seen.input_tokens + seen.output_tokens)[done].sum() / seen.seconds)


def trials(tokens_per_s: float, seconds: float) -> list[Trial]:
    """Loads of about `seconds` each for an engine of a capacity.

    Open and closed ones alternate, so that a machine that slows down meanwhile slows both.

    >>> [t.name for t in trials(1000.0, 10.0)][:3]
    ['rate 0.20', 'clients 1', 'rate 0.40']
    """
    first, second = SHAPES
    open_ = [_open(first, share, tokens_per_s, seconds, "rate") for share in SHARES]
    open_ += [_open(second, share, tokens_per_s, seconds, "long rate") for share in FEWER]
    closed = [_closed(first, clients, tokens_per_s, seconds) for clients in CLIENTS]
    found = [t for pair in zip(open_, closed, strict=False) for t in pair] + open_[len(closed) :]
    return found + [replace(t, name=f"{t.name} again") for t in found if t.name in AGAIN]


def _open(
    shape: tuple[int, int], share: float, tokens_per_s: float, seconds: float, name: str
) -> Trial:
    rate = share * tokens_per_s / sum(shape)
    n = max(LEAST, round(rate * seconds))
    return Trial(f"{name} {share:.2f}", _spec(shape, rate, Arrivals()), n, seed=3)


def _closed(shape: tuple[int, int], clients: int, tokens_per_s: float, seconds: float) -> Trial:
    """Few clients do not keep an engine busy: they are given a part of what it could do."""
    most = seconds * tokens_per_s / sum(shape)
    n = max(LEAST, 3 * clients, round(most * clients / (clients + max(CLIENTS))))
    spec = _spec(shape, None, Arrivals("closed", concurrency=clients))
    return Trial(f"clients {clients}", spec, n, seed=4)


def _spec(shape: Sequence[int], rate: float | None, arrivals: Arrivals) -> TrafficSpec:
    inputs, outputs = (_lengths(n) for n in shape)
    return TrafficSpec(inputs, outputs, None if rate is None else PerSecond(rate), arrivals)


def _lengths(mean: float) -> Lengths:
    return lognormal(mean=mean, cv=SPREAD)
