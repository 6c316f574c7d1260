"""``maquette calibrate``: fit to measured rows, learn from runs, or measure the machine at hand."""

from __future__ import annotations

from typing import Any

import click

from maquette.cli import options
from maquette.cli.values import FILLED, POSITIVE
from maquette.errors import Fault, InputError

deployed = options.bundle(
    "said",
    click.option("--model", type=FILLED, metavar="NAME",
                 help="The model that was served, where files do not say it."),
    click.option("--on", type=FILLED, metavar="SYSTEM", help="The devices it was served on."),
    click.option("--engine", type=FILLED, metavar="NAME", help="The engine that served it."),
    click.option("--engine-version", type=FILLED, metavar="VERSION", help="Its version."),
    click.option("--tp", type=POSITIVE, help="Tensor parallel devices.  [1]"),
    click.option("--replicas", type=POSITIVE, help="Copies of the model.  [1]"),
)  # fmt: skip


@click.command()
@click.option("--rows", metavar="DIR", help="A folder of tidy measured rows.")
@click.option("--from", "runs", metavar="DIR",
              help="A folder of results of vLLM bench serve, AIPerf, GenAI-Perf, GuideLLM, "
                   "inference-perf, or CSV, of your own system.")  # fmt: skip
@click.option("--machine", metavar="this", help="Measure this processor's ceilings instead.")
@click.option("--out", metavar="FILE.toml", required=True,
              help="The calibrations, or the machine, to write.")  # fmt: skip
@click.option("--all-rows", is_flag=True,
              help="Fit held-out rows too, so that none is left to be scored.")  # fmt: skip
@click.option("--update", is_flag=True,
              help="Start from the present calibrations instead of the priors.")  # fmt: skip
@click.option("--measured", is_flag=True,
              help="Fit kernel tables of the package aiconfigurator-core too.")  # fmt: skip
@deployed
@options.calibration
@options.as_json
def calibrate(
    rows: str | None, runs: str | None, machine: str | None, out: str, all_rows: bool,
    update: bool, measured: bool, said: dict[str, Any], calibration: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Fit a calibration for each machine and engine with batches or runs among the rows.

    Use what is written with --calibration in plan, simulate, explain and validate.

    With --from, learn the constants of a system from about ten measured runs of it, starting from
    the calibration that prices it today.  Files say what was sent and seen; a deployment.toml
    beside them, or options, say what was deployed.  Errors are reported before and after, on runs
    that were not used.

    With --machine this, measure the ceilings of this processor in seconds and write them as a
    machine file, which show and the other commands take by its path; maquette.compile chooses its
    tiles by them from then on.
    """
    given = {"--rows": rows, "--from": runs, "--machine": machine}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) != 1:
        what = "are both given" if chosen else "is missing"
        where = " and ".join(chosen[:2]) or "--from, --rows or --machine"
        raise InputError(Fault(where, what, "--rows DIR, --from DIR, or --machine this"))
    flags = {"--all-rows": all_rows, "--update": update, "--measured": measured}
    if rows is None:
        _idle(flags, chosen[0], "--rows DIR")
    if runs is None:
        _idle({f"--{k.replace('_', '-')}": v for k, v in said.items()}, chosen[0], "--from DIR")
    if rows is not None:
        _rows(rows, out, all_rows, update, measured, calibration, as_json)
        return
    if runs is not None:
        _runs(runs, out, said, calibration, as_json)
        return
    if machine != "this":
        what = f"{machine!r} is not at hand"
        raise InputError(Fault("--machine", what, "this", "others have files in the catalogue"))
    _idle({"--calibration": calibration}, "--machine", "--rows DIR or --from DIR")
    _machine(out, as_json)


def _idle(options: dict[str, Any], beside: str, expected: str) -> None:
    """Raise InputError for options that would be read and ignored."""
    faults = [
        Fault(name, f"has no meaning with {beside}", expected)
        for name, value in options.items() if value
    ]  # fmt: skip
    if faults:
        raise InputError(*faults)


def _runs(
    runs: str, out: str, said: dict[str, Any], calibration: str | None, as_json: bool
) -> None:
    from datetime import date
    from functools import partial

    from maquette import api
    from maquette.catalogue.write_calibrations import write
    from maquette.cli.printing import progress, publish
    from maquette.report import runs as report
    from maquette.report.files import place
    from maquette.validate.runs.types import Said
    from maquette.validate.runs.update import update
    from maquette.validate.shelf import shelf

    target = place(out, "--out")
    deploy = partial(api.deployment, calibration=options.calibrations(calibration))
    told = {"version" if k == "engine_version" else k: v for k, v in said.items()}
    with progress() as tell:
        found = update(runs, deploy, shelf(calibration), Said(**told),
                       date.today().isoformat(), tell)  # fmt: skip
    write(found.calibrations, target, f"Learned by maquette calibrate --from {runs}")
    click.echo(f"wrote {target}", err=True)
    publish(report.document(found, str(target)), report.tables(found), as_json)


def _rows(
    rows: str, out: str, all_rows: bool, update: bool, measured: bool, calibration: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    from datetime import date

    from maquette.catalogue.write_calibrations import write
    from maquette.cli.printing import publish
    from maquette.report import validated
    from maquette.report.files import place
    from maquette.validate import packaged
    from maquette.validate.calibrate import calibrate as fit
    from maquette.validate.shelf import shelf

    tables = packaged.folder() if measured else None
    target = place(out, "--out")
    found = fit(rows, shelf(calibration), date=date.today().isoformat(), everything=all_rows,
                update=update, measured=tables)  # fmt: skip
    beside = f" --measured ({packaged.release()})" if measured else ""
    write(found.calibrations, target, f"Fitted by maquette calibrate --rows {rows}{beside}")
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
