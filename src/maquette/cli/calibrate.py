"""``maquette calibrate``: fit efficiencies to measured rows, or measure the machine at hand."""

from __future__ import annotations

import click

from maquette.cli import options
from maquette.errors import Fault, InputError


@click.command()
@click.option("--rows", metavar="DIR", help="A folder of tidy measured rows.")
@click.option("--machine", metavar="this", help="Measure this processor's ceilings instead.")
@click.option("--out", metavar="FILE.toml", required=True,
              help="The calibrations, or the machine, to write.")  # fmt: skip
@click.option("--all-rows", is_flag=True,
              help="Fit held-out rows too, so that none is left to be scored.")  # fmt: skip
@click.option("--update", is_flag=True,
              help="Start from the present calibrations instead of the priors.")  # fmt: skip
@options.calibration
@options.as_json
def calibrate(
    rows: str | None, machine: str | None, out: str, all_rows: bool, update: bool,
    calibration: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Fit a calibration for each machine and engine with static batches among the rows.

    Use what is written with --calibration in plan, simulate, explain and validate.

    With --machine this, measure the ceilings of this processor in seconds and write them as a
    machine file, which show and the other commands take by its path; maquette.compile chooses its
    tiles by them from then on.
    """
    if (rows is None) == (machine is None):
        what = "are both given" if rows else "is missing"
        where = "--rows and --machine" if rows else "--rows or --machine"
        raise InputError(Fault(where, what, "--rows DIR, or --machine this"))
    if rows is not None:
        _rows(rows, out, all_rows, update, calibration, as_json)
        return
    if machine != "this":
        what = f"{machine!r} is not at hand"
        raise InputError(Fault("--machine", what, "this", "others have files in the catalogue"))
    for name, given in (("--all-rows", all_rows), ("--update", update),
                        ("--calibration", calibration)):  # fmt: skip
        if given:
            raise InputError(Fault(name, "has no meaning with --machine", "--rows DIR"))
    _machine(out, as_json)


def _rows(
    rows: str, out: str, all_rows: bool, update: bool, calibration: str | None, as_json: bool
) -> None:
    from datetime import date

    from maquette.catalogue.write_calibrations import write
    from maquette.cli.printing import publish
    from maquette.report import validated
    from maquette.report.files import place
    from maquette.validate.calibrate import calibrate as fit
    from maquette.validate.shelf import shelf

    target = place(out, "--out")
    found = fit(rows, shelf(calibration), date=date.today().isoformat(), everything=all_rows,
                update=update)  # fmt: skip
    write(found.calibrations, target, f"Fitted by maquette calibrate --rows {rows}")
    click.echo(f"wrote {target}", err=True)
    publish(validated.fits_document(found, str(target)), validated.fits_tables(found), as_json)


def _machine(out: str, as_json: bool) -> None:
    from maquette.catalogue.write_machines import text
    from maquette.cli.failure import warn
    from maquette.cli.printing import progress, publish
    from maquette.report import ceilings as report
    from maquette.report.files import place, write
    from maquette.run.ceilings import disturbed, measure
    from maquette.run.ceilings_machine import machine
    from maquette.run.host import processor
    from maquette.run.measured import keep

    target = place(out, "--out")
    with progress() as tell:
        found = measure(processor(), progress=tell)
    if disturbed(found):
        warn("other work took part of this machine meanwhile: these ceilings are too low, and "
             "compile does not use them; run again when it is quiet")  # fmt: skip
        kept = ""
    else:
        kept = str(keep(found))
    made = machine(found, target.stem)
    write(target, text(made, "Measured by maquette calibrate --machine this"))
    click.echo(f"wrote {target}", err=True)
    publish(report.document(found, str(target), kept), report.tables(found, str(target), kept),
            as_json)  # fmt: skip
