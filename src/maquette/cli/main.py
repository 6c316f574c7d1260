"""The ``maquette`` command: commands load when they are called, so that help is instant."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from maquette.cli.failure import guard, past_click
from maquette.errors import UnknownName

COMMANDS = {
    "plan": "Find the cheapest deployment that keeps latency targets, and say why.",
    "simulate": "Replay a trace, or a made-up stream, against one deployment.",
    "explain": "Where the time of one step goes, section by section.",
    "map": "Lay a model out on the units of a dataflow chip.",
    "show": "What the catalogue knows, with units and sources.",
    "compile": "Compile a function or module of yours, and say what was made of it.",
    "bench": "Compare what is compiled with the framework, side by side.",
    "calibrate": "Fit to measured rows, or measure the ceilings of this machine.",
    "measure": "Run a real engine here, learn from half of what it does, predict the rest.",
    "validate": "Compare predictions with measured rows.",
    "reproduce": "Compute published claims again, and judge them.",
}
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Commands(click.Group):
    """A group whose commands live in modules of their names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"maquette.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UnknownName("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **settings: Any) -> click.Context:
        with past_click():  # --help and --version print here
            return super().make_context(*args, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        with past_click():
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, *rest: Any, **settings: Any) -> NoReturn:
        """Run, print what is wrong, and exit with 0, 2 (your input, or Ctrl-C) or 1 (a bug)."""
        settings["standalone_mode"] = False
        run = super().main
        guard(lambda: run(args, *rest, **settings), args)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"maquette {version('maquette')}")
        ctx.exit()


@click.group(cls=Commands, context_settings=HELP)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version,
              help="Print the version and leave.")  # fmt: skip
def main() -> None:
    """Model a foundation model, a machine and its traffic before you buy or build the big one."""
