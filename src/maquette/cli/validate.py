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
@options.calibration
@options.as_json
def validate(
    rows: str, lanes: tuple[str, ...], limit: int, calibration: str | None, as_json: bool
) -> None:
    """Compare predictions with measured rows, group by group, beside null models.

    Rows of the calibration split are reported apart and never scored.
    """
    from maquette.cli.printing import publish
    from maquette.report import validated
    from maquette.validate.lanes import LANES
    from maquette.validate.shelf import shelf
    from maquette.validate.validation import validate as compare

    found = compare(rows, shelf(calibration), lanes or LANES, limit or None)
    publish(validated.document(found), validated.tables(found), as_json)
