"""``maquette reproduce``: published claims, computed again and judged."""

from __future__ import annotations

import click

from maquette.cli import options
from maquette.errors import Fault, InputError


@click.command()
@click.argument("names", metavar="[CLAIM]...", nargs=-1)
@click.option("--list", "listing", is_flag=True, help="Only say which claims there are.")
@options.as_json
def reproduce(names: tuple[str, ...], listing: bool, as_json: bool) -> None:
    """Compute published claims again: theirs, ours, what was fitted, and the verdict.

    Without a CLAIM all of them, as a summary.
    """
    from time import process_time

    from maquette.cli.printing import progress, publish
    from maquette.errors import together
    from maquette.report import reproduced
    from maquette.reproduce.registry import claim, claims

    if listing:
        if names:
            raise InputError(Fault("--list", "takes no claim", "either a list or claims"))
        publish(reproduced.listed(claims()), reproduced.list_tables(claims()), as_json)
        return
    chosen = together(*((lambda n=n: claim(n)) for n in names)) or list(claims().values())
    found = []
    with progress() as tell:
        for at, each in enumerate(chosen):
            tell(each.name, at, len(chosen))
            start = process_time()
            result = each.run()
            found.append(reproduced.Outcome(each, result, process_time() - start))
    publish(reproduced.document(found), reproduced.tables(found), as_json)
