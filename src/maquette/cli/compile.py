"""``maquette compile``: a function or module from a file of yours, and what was made of it."""

from __future__ import annotations

import click

from maquette.cli import options


@click.command()
@click.argument("what", metavar="FILE.py:NAME")
@click.option("--shapes", required=True, metavar="SHAPES",
              help="Of the arguments: q=1x8x512x64,k=… or 1x8x512x64,…; ids=1x512:int64 for one "
                   "of another format; x=4 for a vector, x= for a scalar.")  # fmt: skip
@click.option("--dtype", default="float32", show_default=True, metavar="FORMAT",
              help="Format of arguments that name none.")  # fmt: skip
@click.option("--explain", is_flag=True,
              help="Show program, derived, fused and tiled form, and bytes per tier.")  # fmt: skip
@click.option("--source", is_flag=True,
              help="Print the generated code and nothing else; with --json, add it.")  # fmt: skip
@options.as_json
def compile(  # the name of the command
    what: str, shapes: str, dtype: str, explain: bool, source: bool, as_json: bool
) -> None:
    """Compile NAME of FILE.py, a function or a torch module, for arguments of SHAPES.

    Without --explain, print what each kernel does, how it runs and what binds it.
    """
    if source and explain:
        raise click.UsageError("--explain has no meaning with --source, which prints nothing else")
    from maquette import api
    from maquette.cli.printing import publish
    from maquette.cli.user_code import arguments, blamed, load
    from maquette.report import compiled as report

    function = load(what)
    given = arguments(function, shapes, dtype)
    made = api.compile(function)
    with blamed(what):
        made.prepare(*given)
    if source and not as_json:
        click.echo(made.source)
        return
    code = {"source": made.source} if source else {}
    publish(report.document(what, made) | code, report.tables(what, made, explain), as_json)
