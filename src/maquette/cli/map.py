"""``maquette map``: a layer of a model on the units of a dataflow chip."""

from __future__ import annotations

import click

from maquette.cli import options
from maquette.cli.options import Values
from maquette.cli.values import DURATION, POSITIVE


@click.command()
@options.model
@options.machines
@click.option("--layer", is_flag=True,
              help="Only one layer, of the kind that occurs most often.")  # fmt: skip
@click.option("--part", "parts", metavar="NAME", multiple=True,
              help="Only embed, head, or a kind of layer; repeatable.  [all]")  # fmt: skip
@click.option("--batch", type=POSITIVE, default=1, show_default=True, help="Sequences at once.")
@click.option("--tokens", type=POSITIVE, default=1, show_default=True,
              help="New tokens of each: 1 decodes, more are a prompt.")  # fmt: skip
@click.option("--context", type=POSITIVE, default=4096, show_default=True,
              help="Tokens each has after the step.")  # fmt: skip
@click.option("--launch", type=DURATION,
              help="What starting a section takes.  [the machine's, else nothing]")  # fmt: skip
@click.option("--configure", type=DURATION,
              help="What loading one takes.  [the machine's, else nothing]")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the annealing.")
@click.option(
    "--out",
    metavar="DIR",
    help="Write map.json, pictures of the sections and timelines for Perfetto.",
)
@options.as_json
def map(
    model: str,
    machines: Values,
    layer: bool,
    parts: tuple[str, ...],
    batch: int,
    tokens: int,
    context: int,
    launch: float | None,
    configure: float | None,
    seed: int,
    out: str | None,
    as_json: bool,
) -> None:
    """Lay a step of MODEL out on a dataflow chip: units, cycles, bytes per tier, what binds.

    Several devices share it by tensor parallelism.
    """
    from maquette import api
    from maquette.cli.files import layout
    from maquette.cli.printing import progress, publish
    from maquette.report import laid
    from maquette.report.files import folder

    place = folder(out, "--out") if out else None
    wanted = (*(("layer",) if layer else ()), *parts) or None
    with options.speaking(), progress() as tell:
        found = api.lay(model, parts=wanted, batch=batch, tokens=tokens, context=context,
                        launch=launch, configure=configure, seed=seed, progress=tell,
                        **machines)  # fmt: skip
    asked = {"model": found.program, "system": machines["on"], "batch": batch,
             "new_tokens": tokens, "context_tokens": context, "launch_s": launch,
             "configure_s": configure, "seed": seed}  # fmt: skip
    document = laid.document(found, asked)
    if place is not None:
        layout(place, found, document)
    publish(document, laid.tables(found, f"{found.program} on {machines['on']}"), as_json)
