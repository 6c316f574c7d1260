"""``maquette simulate --fleet``: a composition of experts on each of its deployments."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from maquette.cli.options import Values
from maquette.errors import Fault, InputError
from maquette.report.document import dumps
from maquette.report.files import folder, place, write

if TYPE_CHECKING:
    from maquette.search.composition import Composed

GOES_ALONG = {"fleet", "experts", "overrides", "requests", "seed", "calibration", "draws", "out",
              "perfetto", "html", "as_json"}  # fmt: skip


def serve(choice: Values, changes: Sequence[str], requests: int | None, seed: int,
          calibration: str | None, draws: int, outputs: Values, as_json: bool) -> None:  # fmt: skip
    """Simulate the fleet of that name or file, print it, and write what was asked for."""
    _alone(click.get_current_context())
    from maquette.catalogue.fleets import fleet
    from maquette.cli.failure import warn
    from maquette.cli.options import calibrations
    from maquette.cli.printing import progress, publish
    from maquette.report import composed
    from maquette.search.composition import compose, curve

    out, perfetto, html = _places(outputs, choice["experts"])
    asked = fleet(choice["fleet"], changes)
    if requests is not None:
        asked = replace(asked, traffic=replace(asked.traffic, requests=requests))
    own = calibrations(calibration)
    with progress() as tell:
        if choice["experts"]:
            counted = curve(asked, choice["experts"], seed=seed, calibration=own, progress=tell)
        else:
            found = compose(asked, seed=seed, calibration=own, draws=draws, progress=tell)
    if choice["experts"]:
        document, parts = composed.curve_document(counted), composed.curve_tables(counted)
    else:
        document, parts = composed.document(found), composed.tables(found)
        if not as_json:
            warn(*composed.warnings(found))
        _timeline(found, out, perfetto)
        _page(found, out, html)
    _write(out / "fleet.json" if out else None, lambda: dumps(document))
    publish(document, parts, as_json)


def _places(outputs: Values, counts: Sequence[int] | None) -> tuple[Path | None, ...]:
    """Where to write all, the timeline and the page, once it is known that they can be written."""
    given = click.get_current_context().get_parameter_source("draws")
    if counts and given is click.core.ParameterSource.COMMANDLINE:
        what = "do not go together: a curve has no intervals"
        raise InputError(Fault("--draws and --experts", what))
    for name, what in (("perfetto", "timeline"), ("html", "page")):
        if counts and outputs[name]:
            what = f"one {what} for many numbers of experts"
            raise InputError(Fault(f"--{name} and --experts", what, hint="choose one number"))
    folders = folder(outputs["out"], "--out") if outputs["out"] else None
    single = (place(outputs[n], f"--{n}") if outputs[n] else None for n in ("perfetto", "html"))
    return folders, *single


def _timeline(found: Composed, out: Path | None, perfetto: Path | None) -> None:
    from maquette.report.swaps import swaps

    for path in (out / "timeline.json" if out else None, perfetto):
        _write(path, lambda: json.dumps(swaps(found), allow_nan=False))


def _page(found: Composed, out: Path | None, html: Path | None) -> None:
    from maquette.report.fleet_page import fleet_page

    for path in (out / "index.html" if out else None, html):
        _write(path, lambda: fleet_page(found))


def _write(path: Path | None, text: Callable[[], str]) -> None:
    if path is not None:
        click.echo(f"wrote {write(path, text())}", err=True)


def _alone(ctx: click.Context) -> None:
    """Raise InputError for options and arguments that the fleet's file decides."""
    given = click.core.ParameterSource.COMMANDLINE
    clash = [
        p.opts[-1] if isinstance(p, click.Option) else p.make_metavar(ctx)
        for p in ctx.command.params
        if p.name not in GOES_ALONG and p.name and ctx.get_parameter_source(p.name) is given
    ]
    if clash:
        what = "do not go together"
        own = "the fleet's file says it"
        raise InputError(*(Fault(f"--fleet and {c}", what, hint=own) for c in clash))


def needed(model: str | None, machines: Values, fleet: Values) -> str:
    """The model, where neither it nor its machines are missing, as click would say it."""
    if fleet["experts"] is not None:
        raise InputError(Fault("--experts", "counts the experts of a fleet", hint="give --fleet"))
    ctx = click.get_current_context()
    missing = {"model": model, "on": machines["on"]}
    for param in ctx.command.params:
        if param.name in missing and missing[param.name] is None:
            raise click.MissingParameter(ctx=ctx, param=param)
    assert model is not None
    return model
