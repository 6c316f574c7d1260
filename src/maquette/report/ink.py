"""How figures look: SVG whose colours are the page's, so that they follow light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib.figure import Figure

# Stand-ins that matplotlib draws with → what the page makes of them.
INK, MUTED, GRID, PAPER = "#010203", "#040506", "#070809", "#0a0b0c"
SERIES = ("#0d0e0f", "#101112", "#131415", "#161718", "#191a1b", "#1c1d1e")
_CSS = {INK: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}
_CSS |= {c: f"var(--c{i + 1})" for i, c in enumerate(SERIES)}
BY_RESOURCE = dict(
    zip(("memory", "matrix", "link", "launch", "vector", "host"), SERIES, strict=True)
)
BY_RESOURCE["server"] = BY_RESOURCE["host"]  # beside each other in few steps

# The page's colours for light screens (templates/page.html.j2), for figures that leave it.
LIGHT = ("#2563b0", "#d98a1f", "#3a9467", "#c2453c", "#7d5ba6", "#7a828c")

_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "maquette", "figure.facecolor": "none",
    "axes.facecolor": "none", "savefig.facecolor": "none", "font.size": 10.0,
    "axes.titlesize": 11.0, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelsize": 10.0, "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5,
    "text.color": INK, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": MUTED,
    "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK, "axes.edgecolor": MUTED,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": GRID,
    "grid.linewidth": 0.8, "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 2.0,
    "axes.titlepad": 8.0, "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of the house style, inches of 72 points."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height))


def svg(made: Figure, name: str, title: str, description: str) -> str:
    """The figure as an SVG element; `name` keeps its ids apart from those of other figures.

    Must be called inside `figure`.  `title` and `description` are for readers of text.
    """
    text = io.StringIO()
    made.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    body = text.getvalue()
    body = body[body.index("<svg") :]
    for stand_in, css in _CSS.items():
        body = body.replace(stand_in, css)
    for i, made_up in enumerate(dict.fromkeys(re.findall(r'id="([a-zA-Z]*[0-9a-f]{10})"', body))):
        body = body.replace(made_up, f"i{i}")  # matplotlib's differ from run to run
    body = re.sub(r'(id="|href="#|url\(#)', rf"\1{name}-", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", body)
    body = re.sub(r"font: ([^;\"']*)'[^;\"]*", r"font: \1var(--sans)", body)
    opening = re.match(r"<svg[^>]*>", body)
    assert opening is not None
    box = re.search(r'viewBox="[^"]*"', opening.group())
    assert box is not None
    head = '<svg xmlns="http://www.w3.org/2000/svg" '
    head += f'xmlns:xlink="http://www.w3.org/1999/xlink" {box.group()} role="img" '
    head += f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{_plain(title)}</title>'
    head += f'<desc id="{name}-d">{_plain(description)}</desc>'
    return head + body[opening.end() :]


def alone(picture: str) -> str:
    """A figure of `svg` as a file of its own: with the light colours of the page, on paper."""
    ink = "--muted:#66707c;--grid:#e4e7eb;--paper:#fff;--sans:sans-serif;color:#1c2127"
    series = ";".join(f"--c{i + 1}:{colour}" for i, colour in enumerate(LIGHT))
    start = picture.index(">") + 1
    style = f"<style>svg{{{ink};{series}}}</style>"
    return (
        picture[:start] + style + '<rect width="100%" height="100%" fill="#fff"/>' + picture[start:]
    )


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def quiet(axes: Any, grid: str = "both") -> None:
    """Grid along one axis only, no tick marks."""
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.grid(visible=True, axis=grid)
