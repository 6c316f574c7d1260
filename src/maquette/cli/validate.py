"""``maquette validate``: predictions beside measured rows."""

from __future__ import annotations

import click

from maquette.cli import options


@click.command()
@click.option("--rows", metavar="DIR", required=True, help="A folder of tidy measured rows.")
@click.option("--lane", "lanes", multiple=True,
              type=click.Choice(["static", "stages", "closed", "offline"]),
              help="What to compare; repeatable.  [all there is]")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), default=200, show_default=True,
              help="Rows of a serving file to simulate; 0 for all.")  # fmt: skip
@click.option("--hold-out", "ways", multiple=True,
              type=click.Choice(["batch", "model", "machine"]),
              help="Also fit anew without whole batch sizes, models or machines, and score those; "
                   "repeatable.")  # fmt: skip
@options.calibration
@options.as_json
def validate(
    rows: str,
    lanes: tuple[str, ...],
    limit: int,
    ways: tuple[str, ...],
    calibration: str | None,
    as_json: bool,
) -> None:
    """Compare predictions with measured rows, group by group, beside null models.

    Rows of the calibration split are reported apart and never scored.  Three tables: what can be
    priced, the forward pass, and serving end to end; and what choosing by prediction would lose.
    """
    from maquette.cli.printing import progress, publish
    from maquette.report import validated
    from maquette.validate.holdout import held_out
    from maquette.validate.lanes import LANES
    from maquette.validate.shelf import shelf
    from maquette.validate.validation import validate as compare

    known, chosen, most = shelf(calibration), lanes or LANES, limit or None
    found, held = compare(rows, known, chosen, most), None
    if ways:
        with progress() as tell:
            held = held_out(rows, known, list(dict.fromkeys(ways)), chosen, most, tell)
    publish(validated.document(found, held), validated.tables(found, held), as_json)
