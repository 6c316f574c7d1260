"""``maquette simulate --fleet``: a composition of experts on each of its deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from maquette.cli.options import Values
from maquette.errors import Fault, InputError

GOES_ALONG = {"fleet", "overrides", "requests", "seed", "calibration", "out", "as_json"}


def serve(name: str, changes: Sequence[str], requests: int | None, seed: int,
          calibration: str | None, out: str | None, as_json: bool) -> None:  # fmt: skip
    """Simulate the fleet of that name or file, print it, and write its document to `out`."""
    _alone(click.get_current_context())
    from maquette.catalogue.fleets import fleet
    from maquette.cli.failure import warn
    from maquette.cli.options import calibrations
    from maquette.cli.printing import progress, publish
    from maquette.report import composed
    from maquette.report.document import dumps
    from maquette.report.files import folder, write
    from maquette.search.composition import compose

    place = folder(out, "--out") if out else None
    asked = fleet(name, changes)
    if requests is not None:
        asked = replace(asked, traffic=replace(asked.traffic, requests=requests))
    with progress() as tell:
        found = compose(asked, seed=seed, calibration=calibrations(calibration), progress=tell)
    document = composed.document(found)
    if not as_json:
        warn(*composed.warnings(found))
    if place is not None:
        click.echo(f"wrote {write(Path(place) / 'fleet.json', dumps(document))}", err=True)
    publish(document, composed.tables(found), as_json)


def _alone(ctx: click.Context) -> None:
    """Raise InputError for options and arguments that the fleet's file decides."""
    given = click.core.ParameterSource.COMMANDLINE
    clash = [
        p.opts[-1] if isinstance(p, click.Option) else p.make_metavar(ctx)
        for p in ctx.command.params
        if p.name not in GOES_ALONG and p.name and ctx.get_parameter_source(p.name) is given
    ]
    if clash:
        hint = "the fleet's file says it"
        raise InputError(
            *(Fault(f"--fleet and {c}", "do not go together", hint=hint) for c in clash)
        )


def needed(model: str | None, machines: Values) -> str:
    """The model, where neither it nor its machines are missing, as click would say it."""
    ctx = click.get_current_context()
    missing = {"model": model, "on": machines["on"]}
    for param in ctx.command.params:
        if param.name in missing and missing[param.name] is None:
            raise click.MissingParameter(ctx=ctx, param=param)
    assert model is not None
    return model
