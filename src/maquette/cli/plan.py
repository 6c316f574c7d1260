"""``maquette plan``: the cheapest deployment that keeps the targets, and why."""

from __future__ import annotations

import click

from maquette.cli import options
from maquette.cli.options import Values
from maquette.cli.values import Finite
from maquette.errors import InputError


@click.command()
@options.model
@options.machines
@click.option("--engine", metavar="NAMES",
              help="Serving engines to try, separated by commas.  [vllm, or the vendor's own where "
                   "that does not run]")  # fmt: skip
@click.option("--precision", "--weights", "weights", metavar="FORMATS",
              help="Precisions to try, such as bf16,fp8.  [the model's own]")  # fmt: skip
@options.pins
@options.policy
@options.calibration
@options.traffic
@options.targets
@click.option("--confidence", type=Finite(0, 1, min_open=True, max_open=True),
              metavar="SHARE", help="Keep the targets with this chance, such as 0.9, over what is "
                                    "uncertain of calibration and clients; not only at the most "
                                    "likely calibration.")  # fmt: skip
@options.outputs
@options.as_json
def plan(
    model: str,
    machines: Values,
    engine: str | None,
    weights: str | None,
    pins: Values,
    policy: Values,
    calibration: str | None,
    traffic: Values,
    targets: Values,
    confidence: float | None,
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
    from maquette.cli.printing import progress, publish, warned
    from maquette.report import planned
    from maquette.search import whatifs

    files = Files.of(outputs)
    with options.speaking(but="requests"), progress() as tell:
        config, where, own, stream = options.asked(model, machines, calibration, traffic)
        answer = api.plan(
            config, where, engine=engine or (), weights=() if weights is None else weights, **pins,
            policy=options.policy_changes(policy), calibration=own, traffic=stream, **targets,
            confidence=confidence, seed=traffic["seed"], progress=tell,
        )  # fmt: skip
    if faults := api.obstacles(answer):
        raise InputError(*faults)
    stopped = answer.interrupted
    idle: list[str] = []
    try:
        if not stopped:
            idle = whatifs.idle(whatifs.searched(answer.question), where, own)
    except KeyboardInterrupt:
        stopped = True
    document = warned(planned.document(answer), idle)
    warn(*((*answer.warnings, *idle) if not as_json else ()))
    if stopped:
        warn(f"interrupted: these are the {len(answer.outcomes)} plans simulated so far")
    try:
        if files.wanted:
            files.plan(answer, None if stopped else api.winner(answer), document)
    except KeyboardInterrupt:
        stopped = True
        warn("interrupted: of the files only those named above were written")
    publish(document, planned.tables(answer), as_json)
    return INTERRUPTED if stopped else None
