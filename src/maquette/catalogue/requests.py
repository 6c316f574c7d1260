"""Traffic as people ask for it: a preset, a trace, or made-up requests of given mean lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from maquette.catalogue.traffic import preset as find_preset
from maquette.errors import Fault, InputError
from maquette.traffic.arrivals import Arrivals
from maquette.traffic.describe import head, scale
from maquette.traffic.readers import read
from maquette.traffic.spec import RANGE_RATIO, Distribution, TrafficSpec, generate, synthetic
from maquette.traffic.types import Requests
from maquette.units import PerSecond

GENERATED = 2000  # requests of generated traffic, where nobody says how many


@dataclass(frozen=True)
class Asked:
    """A choice of traffic; None and 0 are what was not said.

    Exactly one of `preset`, `trace` and the mean lengths.  `rate` (requests/s) replaces the rate
    of a preset or a trace, `rate_scale` multiplies it, `concurrency` makes a closed loop of any.
    """

    preset: str | None = None
    trace: str | Path | None = None
    rate: float | None = None
    rate_scale: float | None = None
    concurrency: int | None = None
    requests: int | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    lengths: Distribution | None = None
    range_ratio: float | None = None  # of lengths "below"
    arrivals: Literal["poisson", "constant", "gamma"] | None = None
    arrival_cv: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        faults = [*self._contradictions(), *self._incomplete()]
        if faults:
            raise InputError(*faults)

    def _given(self, names: Sequence[str]) -> list[str]:
        return [n for n in names if getattr(self, n) is not None]

    def _contradictions(self) -> Iterable[Fault]:
        made_up = ("input_tokens", "output_tokens", "lengths", "range_ratio")
        process = ("arrivals", "arrival_cv")
        clashes: tuple[tuple[Sequence[str], Sequence[str], str], ...] = (
            (("preset",), ("trace",), "choose one source of requests"),
            (("preset", "trace"), made_up, "lengths come from the preset or the trace"),
            (("concurrency",), ("rate",), "a closed loop has no rate of its own"),
            (("concurrency",), ("rate_scale",), "a closed loop has no rate of its own"),
            (("concurrency",), process, "in a closed loop answers decide when requests come"),
            (("trace",), process, "arrivals come from the trace"),
        )
        for left, right, hint in clashes:
            for a in self._given(left):
                for b in self._given(right):
                    yield Fault(f"{a} and {b}", "contradict each other", hint=hint)
        if self.trace is not None and self.rate is not None and self.rate_scale is not None:
            what = "both say how fast a trace is replayed"
            yield Fault("rate and rate_scale", what, "one of them")
        if self.range_ratio is not None and self.lengths != "below":
            hint = "only lengths below a nominal one have a ratio"
            yield Fault("lengths and range_ratio", "contradict each other", hint=hint)
        if self.arrival_cv is not None and self.arrivals in ("poisson", "constant"):
            what = "contradict each other"
            yield Fault("arrivals and arrival_cv", what, hint="only gamma arrivals have a cv")

    def _incomplete(self) -> Iterable[Fault]:
        if self.preset is not None or self.trace is not None:
            return
        lacking = [n for n in ("input_tokens", "output_tokens") if getattr(self, n) is None]
        if len(lacking) == 2 and self.rate is None and self.concurrency is None:
            yield Fault("traffic", "nothing says what the requests are", "a preset, a trace, or "
                        "input_tokens and output_tokens with a rate or a concurrency")  # fmt: skip
            return
        for name in lacking:
            yield Fault(name, "is missing", "a mean number of tokens", "or a preset, or a trace")
        if self.rate is None and self.concurrency is None:
            yield Fault("rate", "is missing", "requests per second, or a concurrency")


def requests(asked: Asked) -> Requests:
    """The requests asked for.  InputError for what a file or a description does not allow.

    >>> stream = requests(Asked("chat", rate=2.0, requests=100))
    >>> len(stream), stream.source.startswith("chat: gamma arrivals (CV 1.09) at 2 req/s")
    (100, True)
    """
    if asked.trace is not None:
        return _replayed(asked)
    spec = _described(asked)
    return generate(spec, asked.requests or GENERATED, asked.seed)


def _described(asked: Asked) -> TrafficSpec:
    factor = asked.rate_scale or 1.0
    if asked.preset is not None:
        spec = find_preset(asked.preset).traffic
        if asked.concurrency is not None:
            closed = Arrivals("closed", concurrency=asked.concurrency)
            return replace(spec, rate=None, arrivals=closed)
        rate = asked.rate or spec.rate
        if rate is not None:
            spec = replace(spec, rate=PerSecond(rate * factor))
        elif asked.rate_scale is not None:
            raise InputError(Fault("rate_scale", f"{asked.preset} is a closed loop without a rate"))
        return _with_process(spec, asked)
    assert asked.input_tokens is not None and asked.output_tokens is not None
    return synthetic(
        rate=None if asked.rate is None else asked.rate * factor,
        concurrency=asked.concurrency or 0,
        input_tokens=asked.input_tokens,
        output_tokens=asked.output_tokens,
        distribution=asked.lengths or "lognormal",
        range_ratio=RANGE_RATIO if asked.range_ratio is None else asked.range_ratio,
        process=asked.arrivals,
        arrival_cv=asked.arrival_cv,
    )


def _with_process(spec: TrafficSpec, asked: Asked) -> TrafficSpec:
    if asked.arrivals is None and asked.arrival_cv is None:
        return spec
    process = asked.arrivals or "gamma"
    return replace(spec, arrivals=Arrivals(process, asked.arrival_cv or 1.0))


def _replayed(asked: Asked) -> Requests:
    assert asked.trace is not None
    found = read(asked.trace)
    if asked.requests is not None:
        if asked.requests > len(found):
            what = f"{asked.requests} are asked for and the trace has {len(found)}"
            raise InputError(Fault("requests", what))
        found = head(found, asked.requests)
    if asked.concurrency is not None:
        source = f"{found.source}, in a closed loop of {asked.concurrency} clients"
        return replace(found, concurrency=asked.concurrency, source=source)
    if asked.rate is not None:
        return scale(found, rate=asked.rate)
    return scale(found, factor=asked.rate_scale) if asked.rate_scale is not None else found
