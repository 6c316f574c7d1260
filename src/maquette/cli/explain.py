"""``maquette explain``: where the time of one step goes."""

from __future__ import annotations

import click

from maquette.cli import options
from maquette.cli.options import Values
from maquette.cli.values import POSITIVE


@click.command()
@options.model
@options.machines
@options.engine
@options.mesh
@options.formats
@options.policy
@options.calibration
@options.measured
@click.option("--batch", type=POSITIVE, default=1, show_default=True,
              help="Sequences that decode together in a replica.")  # fmt: skip
@click.option("--context", type=POSITIVE, default=1024, show_default=True,
              help="Tokens each of them has, and the length of the prompt to prefill.")  # fmt: skip
@options.sensitivity
@options.as_json
def explain(
    model: str,
    machines: Values,
    engine: str | None,
    mesh: Values,
    formats: Values,
    policy: Values,
    calibration: str | None,
    measured: bool,
    batch: int,
    context: int,
    sensitivity: bool,
    as_json: bool,
) -> None:
    """Explain a decode step and a prefill of MODEL: what each section waits for, and how long.

    MODEL is a name of the catalogue or a path to a HuggingFace config.json.
    """
    from maquette import api
    from maquette.cli.failure import warn
    from maquette.cli.printing import publish, warned
    from maquette.report import explained
    from maquette.search import whatifs

    with options.speaking():
        config, where, own = options.asked(model, machines, calibration)
        found = api.explain(
            config, where, batch=batch, context=context, engine=engine, **mesh, **formats,
            policy=options.policy_changes(policy), calibration=own, sensitivity=sensitivity,
            measured=measured,
        )  # fmt: skip
    idle = whatifs.idle([found.deployment], where, own, energy=False)
    if not as_json:
        warn(*found.warnings, *idle)
    document = warned(explained.document(found), idle)
    publish(document, explained.tables(found), as_json)
