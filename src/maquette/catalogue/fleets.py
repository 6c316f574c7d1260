"""Fleets of experts by name or path: models behind a router, where they run, and their requests.

A file has the fields of `FleetFile`; ``samba-coe`` is an example.  Names in it are those of the
catalogue.  `read` checks all of them and reports every fault at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from maquette.catalogue import engines, machines, models
from maquette.catalogue.loader import load
from maquette.catalogue.requests import Asked
from maquette.errors import Fault, InputError, MaquetteError, UnknownName, nearest
from maquette.plans.legality import PRECISIONS
from maquette.serve.composition.popularity import Popularity, shares
from maquette.serve.composition.tiers import Host
from maquette.serve.composition.types import Swapping
from maquette.units import Bytes, Seconds

FOLDER = Path(__file__).with_name("fleets")
REQUESTS = 256  # where a file does not say how many


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
        if self.count < 1:
            raise InputError(Fault("count", f"is {self.count}", "1 or more"))

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
        faults = [
            Fault(n, f"is {getattr(self, n):g} s", "0 or more")
            for n in ("prefill", "step")
            if not 0 <= getattr(self, n) < float("inf")
        ]
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


def names() -> tuple[str, ...]:
    """The names of the fleets of the catalogue."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def fleet(name_or_path: str) -> FleetFile:
    """The fleet of that name, or in the file at that path (a slash or ``.toml``), checked.

    Raises UnknownName with the nearest names, or InputError with every fault of the file.

    >>> fleet("samba-coe").experts[0].count
    150
    """
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        found = load(FleetFile, name_or_path)
        return checked(_beside(found, Path(name_or_path)), Path(name_or_path).name)
    if name_or_path not in names():
        raise UnknownName("fleet", name_or_path, names())
    return checked(load(FleetFile, FOLDER / f"{name_or_path}.toml"), f"{name_or_path}.toml")


def _beside(found: FleetFile, path: Path) -> FleetFile:
    """Traces with relative paths lie beside the file that names them."""
    traffic, popularity = found.traffic, found.popularity
    if traffic.trace is not None:
        traffic = replace(traffic, trace=str(path.parent / traffic.trace))
    if popularity.file is not None:
        popularity = replace(popularity, file=str(path.parent / popularity.file))
    return replace(found, traffic=traffic, popularity=popularity)


def checked(found: FleetFile, where: str = "") -> FleetFile:
    """The same fleet, once everything in it is known to exist; InputError with all faults."""
    faults = [replace(f, where=f"{where}: {f.where}".strip(": ")) for f in _faults(found)]
    if faults:
        raise InputError(*faults)
    return found


def _faults(found: FleetFile) -> Iterator[Fault]:
    if found.engine is not None:
        yield from _asked("engine", partial(engines.engine, found.engine))
    if found.precision not in PRECISIONS:
        hint = nearest(found.precision, PRECISIONS)
        yield Fault("precision", f"unknown precision {found.precision!r}", hint=hint)
    yield from _asked("router.model", lambda: models.model(found.router.model))
    for i, experts in enumerate(found.experts):
        yield from _asked(f"experts[{i}].model", partial(models.model, experts.model))
    yield from _asked("", lambda: shares(found.popularity, weights(found)))
    for i, site in enumerate(found.deployments):
        yield from _site_faults(found, site, f"deployments[{i}]")
    titles = [site.name for site in found.deployments]
    for name in sorted({t for t in titles if titles.count(t) > 1}):
        yield Fault("deployments", f"two are called {name!r}")


def _site_faults(found: FleetFile, site: Site, where: str) -> Iterator[Fault]:
    groups = {e.group for e in found.experts}
    known = [*groups, *found.names]
    used = {found.router.model, *(e.model for e in found.experts)}
    hosted: set[str] = set()
    for i, each in enumerate(site.systems):
        at = f"{where}.systems[{i}]"
        yield from _asked(f"{at}.on", partial(machines.system, each.on, each.set))
        if each.engine is not None:
            yield from _asked(f"{at}.engine", partial(engines.engine, each.engine))
        for name in each.experts:
            if name not in known:
                yield Fault(
                    f"{at}.experts", f"no expert is called {name!r}", hint=nearest(name, known)
                )
        for model in each.times:
            if model not in used:
                yield Fault(
                    f"{at}.times.{model}", "is no model of this fleet", hint=nearest(model, used)
                )
        hosted |= set(members(found, each.experts))
    missing = [n for n in found.names if n not in hosted]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        yield Fault(where, f"hosts no {missing[0]!r}{more}", "every expert on some system")


def members(found: FleetFile, chosen: Sequence[str]) -> tuple[str, ...]:
    """The experts that names or groups stand for; all of them where none is named."""
    if not chosen:
        return found.names
    return tuple(
        name for e in found.experts for name in e.names if e.group in chosen or name in chosen
    )


def weights(found: FleetFile) -> list[float | None]:
    """What is listed as the popularity of each expert."""
    return [e.weight for e in found.experts for _ in e.names]


def _asked(where: str, ask: Callable[[], Any]) -> Iterator[Fault]:
    """The faults of a look-up, at its place in the file."""
    try:
        ask()
    except MaquetteError as error:
        for fault in error.faults:
            yield replace(fault, where=".".join(filter(None, (where, fault.where))))
