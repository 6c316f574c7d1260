"""Results on stdout, progress on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from maquette.report.document import dumps
from maquette.report.tables import console, write

Report = Callable[[str, int, int], None]


def publish(document: Mapping[str, Any], parts: Iterable[RenderableType], as_json: bool) -> None:
    """Print a result: its document with ``--json``, else its tables."""
    if as_json:
        print(dumps(document))
        return
    write(parts)


def warned(document: Mapping[str, Any], more: Sequence[str]) -> dict[str, Any]:
    """A document with more warnings."""
    return {**document, "warnings": [*document["warnings"], *more]}


@contextmanager
def progress() -> Iterator[Report]:
    """A bar on stderr that shows stage, done and total, where stderr is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    err = console(stderr=True)
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        task = bars.add_task("starting", total=None)

        def tell(stage: str, done: int, total: int) -> None:
            bars.update(task, description=stage, completed=done, total=total)

        yield tell
