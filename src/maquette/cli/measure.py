"""``maquette measure``: a real engine under a real client, predicted from half of what it did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from maquette.cli import options
from maquette.cli.values import ABOVE_ZERO, FILLED, POSITIVE
from maquette.errors import Fault, InputError

QUIET = 0.2  # cores that others may keep busy without a word

HERE = options.bundle(
    "here",
    click.option("--machine", type=click.Choice(["this"]),
                 help="Where: the processor at hand, which is the default."),
    click.option("--python", type=FILLED, metavar="PATH",
                 help="The Python that has vLLM for CPUs.  [this one]"),
    click.option("--threads", type=POSITIVE, help="Cores that compute.  [half of them]"),
)  # fmt: skip

POLICY = options.bundle(
    "policy",
    click.option("--max-seqs", type=POSITIVE,
                 help="Sequences running at once.  [16; with --url the engine's default]"),
    click.option("--max-batched-tokens", type=POSITIVE,
                 help="Token budget of a step.  [512; with --url the engine's default]"),
)  # fmt: skip
THERE = options.bundle(
    "there",
    click.option("--url", type=FILLED, metavar="URL",
                 help="An engine that is up already, instead of one started here."),
    click.option("--on", type=FILLED, metavar="SYSTEM", help="The devices that it runs on."),
    click.option("--engine", type=FILLED, metavar="NAME", help="What it is.  [vllm]"),
    click.option("--tp", type=POSITIVE, help="Tensor parallel devices.  [1]"),
    click.option("--served-name", type=FILLED, metavar="NAME",
                 help="What it calls the model.  [--model]"),
)  # fmt: skip


@click.command()
@click.option("--model", type=FILLED, metavar="MODEL",
              help="A name of the catalogue or a config.json; weights are random.  "
                   "[a Llama of 40 million parameters]")  # fmt: skip
@click.option("--out", type=FILLED, metavar="DIR", default="measured", show_default=True,
              help="Where runs, machine, calibration and picture go; what is there already is "
                   "not measured again.")  # fmt: skip
@click.option("--seconds", type=ABOVE_ZERO, default=12.0, show_default=True, metavar="SECONDS",
              help="How long each load lasts, about.")  # fmt: skip
@POLICY
@HERE
@THERE
@options.as_json
def measure(
    model: str | None, out: str, seconds: float, policy: dict[str, Any], here: dict[str, Any],
    there: dict[str, Any], as_json: bool,
) -> None:  # fmt: skip
    """Measure a real engine at several loads, learn from half of them, predict the others.

    Starts vLLM on this processor with random weights (make engine sets it up), measures the
    processor's ceilings, sends requests over HTTP at rates up to beyond what the engine can take
    and in closed loops, and keeps each result as vLLM's own benchmark does.  Then the constants of
    the machine are learned from half of the loads and the other half is predicted, with
    intervals, beside null models and the scatter of repeated measurements.  About five minutes.

    With --url an engine that is up already is measured instead; say what it is with --model,
    --on and --engine.
    """
    from maquette.report.files import folder

    _together(here, there, model)
    place = folder(out, "--out")
    runs = folder(place / "runs", "--out")
    if there["url"]:
        _elsewhere(place, runs, str(model), seconds, {**there, **policy})
    else:
        _started(place, runs, model, seconds, {**here, **policy})
    _judged(place, runs, as_json)


def _together(here: dict[str, Any], there: dict[str, Any], model: str | None) -> None:
    """Raise InputError for options that would be read and ignored, and for what is missing."""
    unused, of = (here, "with --url") if there["url"] else (there, "without --url")
    faults = [
        Fault(f"--{k.replace('_', '-')}", f"has no meaning {of}")
        for k, v in unused.items() if v is not None
    ]  # fmt: skip
    if there["url"]:
        needed = {"--on": there["on"], "--model": model}
        faults += [
            Fault(k, "is missing beside --url", "what serves there")
            for k, v in needed.items() if v is None
        ]  # fmt: skip
    if faults:
        raise InputError(*faults)


def _started(
    place: Path, runs: Path, model: str | None, seconds: float, here: dict[str, Any]
) -> None:
    """Measure an engine started on this machine."""
    from maquette.cli.failure import warn
    from maquette.cli.printing import progress
    from maquette.measure import here as own

    given = {k: v for k, v in here.items() if v is not None and k != "machine"}
    launch = own.launch(**given)
    others = own.disturbance()
    if others is not None and others > QUIET:
        warn(f"other work keeps {others:.2g} cores of this machine busy: what is measured beside "
             "it scatters, and the floors of the tables say how much")  # fmt: skip
    with progress() as tell:
        own.run(place, runs, launch, own.config(model), seconds, tell, _keep(runs))


def _elsewhere(place: Path, runs: Path, model: str, seconds: float, there: dict[str, Any]) -> None:
    """Measure an engine that is up at an address."""
    from maquette.cli.printing import progress
    from maquette.measure import elsewhere

    with progress() as tell:
        elsewhere.run(place, runs, model, seconds, tell, _keep(runs), there)


def _keep(runs: Path) -> Any:
    from maquette.report.files import write

    return lambda name, text: write(runs / name, text)


def _judged(place: Path, runs: Path, as_json: bool) -> None:
    from datetime import date

    from maquette import api
    from maquette.catalogue.write_calibrations import write
    from maquette.cli.printing import progress, publish
    from maquette.measure.halves import judge
    from maquette.report import measured as report
    from maquette.report.files import write as write_text
    from maquette.validate.runs.folder import read
    from maquette.validate.shelf import shelf

    with progress() as tell:
        found = judge(read(runs).runs, api.deployment, shelf(), date.today().isoformat(), tell)
    target = place / "calibration.toml"
    write(found.calibrations, target, "Learned by maquette measure")
    write_text(place / "measured.svg", report.picture(found))
    click.echo(f"wrote {target} and {place / 'measured.svg'}", err=True)
    publish(report.document(found, str(place)), report.tables(found), as_json)
