"""Fleets of the catalogue, for `maquette show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from maquette.catalogue.fleet_file import FleetFile, Site
from maquette.report.document import plain, stamp
from maquette.report.tables import pairs, table

if TYPE_CHECKING:
    from maquette.report.listing import Shown


def fleet(found: FleetFile, name: str) -> Shown:
    """One fleet: its experts, and its deployments with their systems and policies."""
    document = {**stamp("show"), "kind": "fleet", "name": name, **plain(found)}
    router = f"{found.router.model}, {found.router.output_tokens} tokens"
    general = [("fleet", found.title), ("router", router), ("popularity", str(found.popularity)),
               ("policy", _changes(found)), ("source", found.source)]  # fmt: skip
    experts = [(e.group, e.model, str(e.count)) for e in found.experts]
    rows = [row for site in found.deployments for row in _systems(found, site)]
    heads = ("deployment", "system", "experts", "host", "policy")
    return document, [pairs("", general), "", table("", ("experts", "model", ">count"), experts),
                      "", table("", heads, rows)]  # fmt: skip


def fleets(found: Mapping[str, FleetFile]) -> Shown:
    """All fleets by name, a line each."""
    listed = [{"name": n, "title": f.title, "source": f.source} for n, f in found.items()]
    rows = [(name, f.title, f"{len(f.deployments)} deployments") for name, f in found.items()]
    document = {**stamp("show"), "kind": "fleets", "fleets": listed}
    return document, [table("", ("name", "fleet", "~compares"), rows)]


def _systems(found: FleetFile, site: Site) -> Iterator[tuple[str, ...]]:
    for i, where in enumerate(site.systems):
        host = [] if where.host.links is None else [f"{where.host.links} links"]
        if where.host.memory is not None:
            host.append(f"{where.host.memory / 1e12:.3g} TB")
        sharded = "" if where.tp is None else f", tp {where.tp}"
        yield (
            "" if i else site.name,
            where.on + sharded,
            ", ".join(where.experts) or "all",
            ", ".join(host),
            "" if site.policy is None else _changes(found, site),
        )


def _changes(found: FleetFile, site: Site | None = None) -> str:
    """The fleet's policy in words of its file; of a deployment what differs from it."""
    values = vars(found.policy)
    if site is not None and site.policy is not None:
        values = {k: v for k, v in vars(site.policy).items() if v != values[k]}
    shown = ((k, str(v).lower() if isinstance(v, bool) else v) for k, v in values.items())
    return ", ".join(f"{k} = {v}" for k, v in shown)
