"""Tables for a terminal: few lines, aligned, numbers to the right."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDTH = 130  # of output that goes to a file or a pipe
Row = Sequence[str]


def console(stderr: bool = False) -> Console:
    """A console that keeps its width when it is not a terminal, and never guesses at numbers."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else WIDTH
    return Console(file=stream, width=width, highlight=False, soft_wrap=False)


def table(
    title: str, columns: Iterable[str], rows: Iterable[Row], caption: str = "", total: bool = False
) -> Table:
    """A table; a column whose name starts with ``>`` is of numbers, with ``~`` of prose.

    With `total` the last row is a sum, set apart.
    """
    made = Table(
        title=title or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        caption=caption or None,
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    for i, name in enumerate(columns):
        kind, label = (name[0], name[1:]) if name[:1] in (">", "~") else ("", name)
        made.add_column(
            label,
            justify="right" if kind == ">" else "left",
            no_wrap=kind == ">" or (i == 0 and not kind),  # a cut name cannot be copied
            overflow="ellipsis" if kind == ">" else "fold",
            style="dim" if kind == "~" and i else "",
        )
    listed = [[Text(cell) for cell in row] for row in rows]
    for i, row in enumerate(listed):
        last = total and i == len(listed) - 1
        made.add_row(
            *row, style="bold" if last else None, end_section=total and i == len(listed) - 2
        )
    return made


def pairs(title: str, rows: Iterable[Row]) -> Table:
    """Labels and values, without a heading."""
    made = Table(
        title=title or None, title_justify="left", title_style="bold", box=None,
        show_header=False, pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for label, value in rows:
        made.add_row(Text(label), Text(value))
    return made


class Listing(Text):
    """Lines to be copied: never wrapped, however narrow the terminal."""


def listing(title: str, text: str) -> Listing:
    """Lines to be copied, under a title."""
    return Listing.assemble((f"{title}\n", "bold"), text)  # type: ignore[return-value]


def write(parts: Iterable[RenderableType]) -> None:
    """Print the parts; in a file or a pipe, without spaces at the ends of lines."""
    out = console()
    if out.is_terminal:
        _print(out, parts)
        return
    with out.capture() as text:
        _print(out, parts)
    for line in text.get().splitlines():
        print(line.rstrip())


def _print(out: Console, parts: Iterable[RenderableType]) -> None:
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, Listing))


def html(*parts: RenderableType) -> str:
    """The parts as one block of HTML, for a notebook."""
    with open(os.devnull, "w") as nowhere:
        paper = Console(record=True, width=WIDTH, file=nowhere, highlight=False)
        _print(paper, parts)
        return paper.export_html(inline_styles=True, code_format=_FORMAT)


_FORMAT = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:1.25;'
    'font-family:ui-monospace,Menlo,Consolas,monospace">{code}</pre>'
)
