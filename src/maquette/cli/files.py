"""What ``--out``, ``--html`` and ``--perfetto`` write, checked before the work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from maquette.report.document import dumps
from maquette.report.files import folder, place, write

if TYPE_CHECKING:
    from maquette.search.simulation import Simulation
    from maquette.search.types import Answer
    from maquette.space.laid import LaidProgram


@dataclass(frozen=True)
class Files:
    """Where the results go; None where nobody asked."""

    out: Path | None
    html: Path | None
    perfetto: Path | None

    @classmethod
    def of(cls, outputs: Mapping[str, str | None]) -> Files:
        """The places, once it is known that they can be written."""
        out, html, perfetto = (outputs[k] for k in ("out", "html", "perfetto"))
        return cls(
            folder(out, "--out") if out else None,
            place(html, "--html") if html else None,
            place(perfetto, "--perfetto") if perfetto else None,
        )

    def simulation(self, found: Simulation, document: Mapping[str, Any]) -> None:
        """Write what was asked for of a simulation."""
        self._write("simulate.json", None, lambda: dumps(document))
        self._write("index.html", self.html, lambda: _page_of(found))
        self._write("timeline.json", self.perfetto, lambda: _timeline(found))

    def plan(self, answer: Answer, best: Simulation | None, document: Mapping[str, Any]) -> None:
        """Write what was asked for of a search; `best` is the winner, simulated."""
        self._write("plan.json", None, lambda: dumps(document))
        self._write("index.html", self.html, lambda: _page_of_answer(answer, best))
        if best is not None:
            self._write("timeline.json", self.perfetto, lambda: _timeline(best))
        if self.out is not None:
            for name, text in answer.launch.items():
                yaml = name == "kubernetes" or name.endswith("-options")
                suffix = "yaml" if yaml else "sh"
                _say(write(self.out / f"launch-{name}.{suffix}", text + "\n"))

    @property
    def wanted(self) -> bool:
        """Whether anything is to be written."""
        return any((self.out, self.html, self.perfetto))

    def _write(self, name: str, own: Path | None, text: Any) -> None:
        places = [p for p in (self.out / name if self.out else None, own) if p is not None]
        if places:
            made = text()
            for path in places:
                _say(write(path, made))


def layout(place: Path, found: LaidProgram, document: Mapping[str, Any]) -> None:
    """Write what was laid out into a folder: document, a picture per section, a timeline each."""
    import json

    from maquette.report.floorplan import floorplan
    from maquette.report.pipeline import pipeline

    _say(write(place / "map.json", dumps(document)))
    for name, laid in found.parts.items():
        for section in laid.sections:
            _say(write(place / f"{section.section.name}.svg", floorplan(section)))
        text = json.dumps(pipeline(laid), allow_nan=False)
        _say(write(place / f"{name}.timeline.json", text))


def _say(path: Path) -> None:
    click.echo(f"wrote {path}", err=True)


def _page_of(found: Simulation) -> str:
    from maquette.report.page import simulation_page

    return simulation_page(found)


def _page_of_answer(answer: Answer, best: Simulation | None) -> str:
    from maquette.report.page import answer_page

    return answer_page(answer, best)


def _timeline(found: Simulation) -> str:
    import json

    from maquette.report.timeline import timeline

    return json.dumps(timeline(found.trace), allow_nan=False)
