"""``maquette simulate``: one deployment under one traffic."""

from __future__ import annotations

import click

from maquette.cli import options
from maquette.cli.options import Values


@click.command()
@options.model_or_fleet
@options.fleet
@options.machines_or_fleet
@options.engine
@options.mesh
@options.disaggregated
@options.formats
@options.policy
@options.calibration
@options.measured
@options.traffic
@options.targets
@click.option("--draws", type=click.IntRange(min=0),
              help="Calibrations drawn for the 80 % intervals; 0 for none.  "
                   "[16, and 8 with --fleet]")  # fmt: skip
@options.sensitivity
@options.outputs
@options.as_json
def simulate(
    model: str | None,
    fleet: Values,
    machines: Values,
    engine: str | None,
    mesh: Values,
    prefill: Values,
    formats: Values,
    policy: Values,
    calibration: str | None,
    measured: bool,
    traffic: Values,
    targets: Values,
    draws: int | None,
    sensitivity: bool,
    outputs: Values,
    as_json: bool,
) -> None:
    """Simulate MODEL serving a trace, a preset or a made-up stream of requests.

    MODEL is a name of the catalogue or a path to a HuggingFace config.json.  Say what the requests
    are with --for, --trace, or --input-tokens and --output-tokens with --rate or --concurrency.
    With --fleet many models serve, each request the one that a router names.
    """
    from maquette.cli import fleets

    if fleet["fleet"] is not None:
        n, seed, changes = traffic["requests"], traffic["seed"], machines["overrides"]
        few = 8 if draws is None else draws
        if measured:
            raise click.UsageError("--measured has no meaning with --fleet")
        fleets.serve(fleet, changes, n, seed, calibration, few, outputs, as_json)
        return
    model = fleets.needed(model, machines, fleet)
    from maquette import api
    from maquette.cli.failure import warn
    from maquette.cli.files import Files
    from maquette.cli.printing import progress, publish, warned
    from maquette.report import simulated
    from maquette.search import whatifs
    from maquette.search.forecast import DRAWS

    files = Files.of(outputs)
    seed = traffic["seed"]
    with options.speaking(but="requests"), progress() as tell:
        config, where, own, stream = options.asked(model, machines, calibration, traffic)
        found = api.simulate(
            config, where, engine=engine, **mesh, **prefill, **formats,
            policy=options.policy_changes(policy), calibration=own, measured=measured,
            traffic=stream, **targets,
            draws=DRAWS if draws is None else draws, seed=seed, sensitivity=sensitivity,
            progress=tell,
        )  # fmt: skip
    idle = whatifs.idle([found.deployment], where, own)
    document = warned(simulated.document(found, seed), idle)
    if not as_json:
        warn(*found.metrics.warnings, *idle)
    files.simulation(found, document)
    publish(document, simulated.tables(found), as_json)
