"""``maquette plan``: the cheapest deployment that keeps the targets, and why."""

from __future__ import annotations

import click

from maquette.cli import options
from maquette.cli.options import Values
from maquette.errors import InputError


@click.command()
@click.argument("model")
@options.machines
@click.option("--engine", metavar="NAMES", default="vllm", show_default=True,
              help="Serving engines to try, separated by commas.")  # fmt: skip
@click.option("--precision", "--weights", "weights", metavar="FORMATS", default="",
              help="Precisions to try, such as bf16,fp8.  [the model's own]")  # fmt: skip
@options.policy
@options.calibration
@options.traffic
@options.targets
@options.outputs
@options.as_json
def plan(
    model: str,
    machines: Values,
    engine: str,
    weights: str,
    policy: Values,
    calibration: str | None,
    traffic: Values,
    targets: Values,
    outputs: Values,
    as_json: bool,
) -> int | None:
    """Plan how to serve MODEL: which plan keeps the targets at the lowest cost, and why.

    --on takes several systems, separated by commas.  Ctrl-C ends the search and keeps what it
    found.
    """
    from maquette import api
    from maquette.cli.failure import INTERRUPTED, warn
    from maquette.cli.files import Files
    from maquette.cli.printing import progress, publish
    from maquette.report import planned

    files = Files.of(outputs)
    with progress() as tell:
        answer = api.plan(
            model, **machines, engine=engine, weights=weights,
            policy=options.policy_changes(policy),
            calibration=options.calibrations(calibration),
            traffic=options.requests(traffic), **targets,
            seed=traffic["seed"], progress=tell,
        )  # fmt: skip
    if faults := api.obstacles(answer):
        raise InputError(*faults)
    document = planned.document(answer)
    warn(*(answer.warnings if not as_json else ()))
    if answer.interrupted:
        warn(f"interrupted: these are the {len(answer.outcomes)} plans simulated so far")
    if files.wanted:
        best = None if answer.interrupted else api.winner(answer)
        files.plan(answer, best, document)
    publish(document, planned.tables(answer), as_json)
    return INTERRUPTED if answer.interrupted else None
