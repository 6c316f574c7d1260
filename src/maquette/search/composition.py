"""A fleet of experts, priced, placed and simulated on each of its deployments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from maquette.catalogue import fleets, machines
from maquette.catalogue.fleet_file import FleetFile, Site, Where
from maquette.catalogue.requests import requests as requested
from maquette.errors import Fault, InputError, MaquetteError, nearest
from maquette.plans.types import Infeasible
from maquette.price.calibration import Calibration
from maquette.search.forecast import about
from maquette.search.hosting import Hosted, Models, hosted, nodes
from maquette.search.types import Interval
from maquette.serve.composition.figures import figures
from maquette.serve.composition.popularity import drawn, shares
from maquette.serve.composition.simulate import simulate
from maquette.serve.composition.types import Composition, History, Ints, Node, Stream, Swapping
from maquette.traffic.packings import unpack
from maquette.traffic.types import Requests

T = TypeVar("T")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Served:
    """A deployment and what it did, or why it cannot be."""

    site: Site
    swapping: Swapping
    hosted: tuple[Hosted, ...]
    outcome: History | Infeasible
    intervals: Mapping[str, Interval] = field(default_factory=dict)  # of `headline`, 80 %


@dataclass(frozen=True, eq=False)
class Composed:
    """All deployments of a fleet under the same requests."""

    fleet: FleetFile
    requests: Requests
    chances: tuple[float, ...]  # the share of requests of every expert
    nbytes: tuple[int, ...]  # of every expert
    served: tuple[Served, ...]
    seed: int

    @property
    def unused(self) -> tuple[str, ...]:
        """Experts that nobody ever asks for: they take room all the same."""
        return tuple(n for n, c in zip(self.fleet.names, self.chances, strict=True) if c == 0)


def compose(
    fleet: str | FleetFile,
    *,
    overrides: Sequence[str] = (),
    calibration: Sequence[Calibration] = (),
    seed: int = 0,
    draws: int = 0,
    progress: Progress = lambda *_: None,
) -> Composed:
    """Experts behind a router on every deployment of a fleet: a name, a file, or one in Python.

    All deployments serve the same requests for the same experts; one that does not fit is
    `Infeasible`, with what it is short of.  `overrides` are what-ifs of a file; so many `draws`
    from the calibrations' posteriors give intervals.  Raises InputError for choices that
    contradict each other.

    >>> found = compose("samba-coe", overrides=["fleet.traffic.requests=16"])
    >>> found.served[0].hosted[0].tiers.path, found.served[-1].hosted[0].tiers.path
    ('ddr to hbm', 'host to hbm over 8 links')
    """
    if isinstance(fleet, str):
        fleet = fleets.fleet(fleet, overrides)
    elif overrides:
        raise InputError(Fault("overrides", "need a fleet by name", hint="change it in Python"))
    made = Models(fleet, calibration)
    found = _composed(made, seed, progress)
    if not draws:
        return found
    others = []
    for i in range(draws):
        progress("drawing calibrations", i, draws)
        others.append(_composed(made.drawn(partial(_draw, i, draws, seed)), seed))
    served = (_sure(one, [o.served[k] for o in others]) for k, one in enumerate(found.served))
    return replace(found, served=tuple(served))


def headline(history: History) -> dict[str, float]:
    """The figures that have intervals."""
    f = figures(history)
    return {"e2e_p50_s": f.e2e[50.0], "e2e_p99_s": f.e2e[99.0], "requests_per_s": f.requests_per_s}


def _draw(i: int, n: int, seed: int, cal: Calibration) -> Calibration:
    """One of `n` calibrations of the posterior, with its share of the residual error."""
    noise = np.random.default_rng(seed + 1).normal(0.0, cal.residual, n)
    return cal.draws(n, seed)[i].slower(float(np.exp(noise[i])))


def _sure(served: Served, others: Sequence[Served]) -> Served:
    """What was served, with the central 80 % of what others make of it."""
    if isinstance(served.outcome, Infeasible):
        return served
    point = headline(served.outcome)
    known = [headline(o.outcome) for o in others if isinstance(o.outcome, History)]
    found = {k: about(v, [other[k] / v for other in known]) for k, v in point.items()}
    return replace(served, intervals=found)


def curve(
    fleet: FleetFile,
    counts: Sequence[int],
    *,
    calibration: Sequence[Calibration] = (),
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> dict[int, Composed]:
    """The same fleet with so many experts of its first group: where its memories end.

    >>> found = curve(fleets.fleet("samba-coe"), [40, 400])
    >>> [type(c.served[2].outcome).__name__ for c in found.values()]
    ['History', 'Infeasible']
    """
    made, found = Models(fleet, calibration), {}
    for done, n in enumerate(counts):
        progress("counting experts", done, len(counts))
        group, *others = fleet.experts
        asked = fleets.checked(replace(fleet, experts=(replace(group, count=n), *others)))
        found[n] = _composed(made.of(asked), seed)
    return found


def _composed(made: Models, seed: int, progress: Progress = lambda *_: None) -> Composed:
    fleet = made.fleet
    stream, chances = _stream(fleet, seed)
    served = []
    for done, site in enumerate(fleet.deployments):
        progress(f"simulating {site.name}", done, len(fleet.deployments))
        served.append(_serve(made, site, stream, chances))
    nbytes = _nbytes(made, fleet.deployments[0].systems[0])
    return Composed(fleet, stream.requests, tuple(chances), nbytes, tuple(served), seed)


def _serve(made: Models, site: Site, stream: Stream, chances: Sequence[float]) -> Served:
    """One deployment: all its systems on one clock."""
    fleet, swapping = made.fleet, site.policy or made.fleet.policy
    offers: list[Hosted] = []
    parts: list[Node] = []
    for i, where in enumerate(site.systems):
        at, routes = f"{site.name}: {where.on}", i == 0
        offer = _at(at, partial(hosted, made, where, stream.requests, swapping, routes))
        offers.append(offer)
        found = _at(at, partial(nodes, made, where, offer, chances, swapping, routes))
        if isinstance(found, Infeasible):
            reason = f"{where.on}: {found.reason}" if len(site.systems) > 1 else found.reason
            return Served(site, swapping, tuple(offers), replace(found, reason=reason))
        parts += found
    nbytes = _nbytes(made, site.systems[0])
    tokens = fleet.router.output_tokens
    of = Composition(fleet.names, nbytes, tuple(parts), swapping, tokens)
    return Served(site, swapping, tuple(offers), simulate(of, stream))


def _nbytes(made: Models, where: Where) -> tuple[int, ...]:
    """Bytes of every expert."""
    system = machines.system(where.on, where.set)
    experts = made.fleet.experts
    return tuple(made.stored(e.model, where, system)[0] for e in experts for _ in e.names)


def _at(where: str, ask: Callable[[], T]) -> T:
    """What `ask` returns; its faults say where they are."""
    try:
        return ask()
    except MaquetteError as error:
        at = (replace(f, where=": ".join(filter(None, (where, f.where)))) for f in error.faults)
        raise type(error)(*at) from None


def _stream(fleet: FleetFile, seed: int) -> tuple[Stream, Sequence[float]]:
    """The requests with the expert of each, and the share of every expert."""
    traffic, popularity = fleet.traffic, fleet.popularity
    batch = traffic.batch or 0
    if popularity.file is None:
        asked = requested(traffic.asked(seed))
        chances = shares(popularity, fleet.weights)
        return Stream(asked, drawn(chances, len(asked), seed), batch), chances
    named = _named(popularity.file, popularity.column, fleet.names)
    if traffic.requests is None and traffic.trace is None:
        traffic = replace(traffic, requests=len(named))
    asked = requested(traffic.asked(seed))
    if len(named) < len(asked):
        what = f"{len(named)} rows for {len(asked)} requests"
        raise InputError(Fault(popularity.file, what, hint="ask for fewer requests"))
    named = named[: len(asked)]
    counts = np.bincount(named, minlength=len(fleet.names))
    return Stream(asked, named, batch), (counts / len(asked)).tolist()


def _named(path: str, column: str, names: Sequence[str]) -> Ints:
    """The experts that the rows of a trace name."""
    table = unpack(Path(path))
    if column not in table.columns:
        what, hint = f"no column {column!r}", nearest(column, table.columns)
        raise InputError(Fault(f"{path}: row 1", what, hint=hint))
    number = {name: i for i, name in enumerate(names)}
    values = [str(v) for v in table.columns[column]]
    for record, value in enumerate(values):
        if value not in number:
            table.fault(record, column, f"{value!r} is no expert", "", nearest(value, names))
    table.check()
    return np.array([number[v] for v in values], dtype=np.int64)
