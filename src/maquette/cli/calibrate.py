"""``maquette calibrate``: fit efficiencies and overheads to measured rows."""

from __future__ import annotations

import click

from maquette.cli import options


@click.command()
@click.option("--rows", metavar="DIR", required=True, help="A folder of tidy measured rows.")
@click.option("--out", metavar="FILE.toml", required=True, help="The calibrations to write.")
@click.option("--all-rows", is_flag=True,
              help="Fit held-out rows too, so that none is left to be scored.")  # fmt: skip
@click.option("--update", is_flag=True,
              help="Start from the present calibrations instead of the priors.")  # fmt: skip
@options.calibration
@options.as_json
def calibrate(
    rows: str, out: str, all_rows: bool, update: bool, calibration: str | None, as_json: bool
) -> None:
    """Fit a calibration for each machine and engine with static batches among the rows.

    Use what is written with --calibration in plan, simulate, explain and validate.
    """
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
