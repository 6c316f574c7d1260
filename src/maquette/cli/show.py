"""``maquette show``: what the catalogue knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from maquette.cli.options import as_json as json_option
from maquette.errors import Fault, InputError

if TYPE_CHECKING:
    from maquette.report.listing import Shown

KINDS = ("machine", "model", "engine", "traffic", "calibration", "fleet")
PLURALS = {"machines": "machine", "models": "model", "engines": "engine", "presets": "traffic",
           "calibrations": "calibration", "fleets": "fleet"}  # fmt: skip


@click.command()
@click.argument("kind", metavar="KIND")
@click.argument("names", metavar="[NAME]", nargs=-1)
@click.option("--set", "overrides", metavar="PATH=VALUE", multiple=True,
              help="A what-if on a machine, as in plan; repeatable.")  # fmt: skip
@json_option
def show(kind: str, names: tuple[str, ...], overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what the catalogue knows, every number with its unit, kind and source.

    KIND is machine, model, engine, traffic, calibration or fleet.  Without a NAME all are listed.
    A NAME may also be a path; a calibration's is MACHINE or MACHINE/ENGINE.
    """
    from maquette.cli.printing import publish

    chosen = PLURALS.get(kind, kind)
    if chosen not in KINDS:
        from maquette.errors import UnknownName

        raise UnknownName("kind", kind, [*KINDS, *PLURALS])
    if overrides and (chosen != "machine" or not names):
        raise InputError(Fault("--set", "needs a machine to change", "show machine NAME"))
    if len(names) > 1:
        raise InputError(Fault("", f"{len(names)} names were given", "one, or none"))
    shown = _one(chosen, names[0], overrides) if names else _all(chosen)
    publish(*shown, as_json)


def _one(kind: str, name: str, overrides: tuple[str, ...]) -> Shown:
    from maquette.catalogue import calibrations, engines, machines, models, traffic
    from maquette.report import listing

    if kind == "machine":
        return listing.machine(machines.system(name, overrides).machine)
    if kind == "model":
        return listing.model(models.model(name))
    if kind == "engine":
        return listing.engine(engines.engine(name))
    if kind == "traffic":
        return listing.traffic(traffic.preset(name))
    if kind == "fleet":
        from maquette.catalogue.fleets import fleet
        from maquette.report import fleets

        return fleets.fleet(fleet(name), name)
    text, _, engine = name.partition("/")
    machine = machines.machine(text)
    chosen = engines.engine(engine or engines.default(machine))
    return listing.calibration(calibrations.find(machine, chosen.name))


def _all(kind: str) -> Shown:
    from maquette.catalogue import calibrations, engines, machines, models, traffic
    from maquette.report import listing

    if kind == "machine":
        return listing.machines(machines.machine(n) for n in machines.names())
    if kind == "model":
        return listing.models(models.model(n) for n in models.names())
    if kind == "engine":
        return listing.engines(engines.engines())
    if kind == "traffic":
        return listing.presets(traffic.preset(n) for n in traffic.presets())
    if kind == "fleet":
        from maquette.catalogue.fleets import fleet, names
        from maquette.report import fleets

        return fleets.fleets({n: fleet(n) for n in names()})
    return listing.calibrations(calibrations.embedded())
