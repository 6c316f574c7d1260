"""Pictures of placed sections: every cell in the colour of its stage, every link as full as it is.

Written as SVG by hand: two thousand cells and as many links are a tenth of what a plotting library
makes of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from maquette.report.laid import operands
from maquette.report.numbers import amount, percent
from maquette.space.laid import LaidSection

CELL, MARGIN, TOP, LEGEND = 16, 34, 44, 230  # points
EMPTY, LINK, FULL, OTHERS = "#e6e9ee", "#39414e", "#c4302b", "#a9b0bb"
# Paul Tol's muted and light schemes, apart also for those who see few colours.
COLOURS = (
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255",
    "#aa4499", "#77aadd", "#ee8866", "#eedd88", "#bbcc33", "#ffaabb",
)  # fmt: skip
STEPS = 5  # widths of links


def floorplan(laid: LaidSection) -> str:
    """A section on its chip, an SVG document on white."""
    board = laid.placed.grid
    width = MARGIN * 2 + board.columns * CELL + LEGEND
    height = TOP + max(board.rows * CELL, 20 * (len(COLOURS) + 5)) + 20
    colours = _colours(laid)
    title = escape(_title(laid))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{title}</title>",
        f"<style>{_style(colours)}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{MARGIN - 14}" y="22" class="head">{title}</text>',
        f'<g transform="translate({MARGIN},{TOP})">',
        *_cells(laid, colours),
        *_links(laid),
        "</g>",
        f'<g transform="translate({MARGIN * 2 + board.columns * CELL},{TOP})">',
        *_legend(laid, colours),
        "</g></svg>",
    ]
    return "\n".join(lines) + "\n"


def _colours(laid: LaidSection) -> dict[str, int]:
    """The number of the colour of every stage; the largest have one each."""
    sizes = Counter(u.stage for u in laid.placed.netlist.units if u.kind != "generator")
    largest = {stage for stage, _ in sizes.most_common(len(COLOURS))}
    order = [s.stage.name for s in laid.section.shares if s.stage.name in largest]
    return {stage: i for i, stage in enumerate(order)}


def _style(colours: dict[str, int]) -> str:
    rules = ["text{font:11px sans-serif;fill:#1c2230}", ".head{font-weight:bold}",
             f".e{{fill:{EMPTY}}}", f".o{{fill:{OTHERS}}}", f".g{{fill:{LINK}}}",
             f"path{{fill:none;stroke:{LINK};stroke-opacity:.5}}",
             f".f{{stroke:{FULL};stroke-opacity:.9}}"]  # fmt: skip
    rules += [f".s{i}{{fill:{COLOURS[i]}}}" for i in colours.values()]
    return "".join(rules)


def _cells(laid: LaidSection, colours: dict[str, int]) -> Iterator[str]:
    """Compute units as squares, memory units as discs, generators as bars at the sides."""
    board, units = laid.placed.grid, laid.placed.netlist.units
    used = {cell: unit for unit, cell in zip(units, laid.placed.cells, strict=True)}
    for kind, cells in board.cells.items():
        for row, column in dict.fromkeys(cells):
            unit = used.get((row, column))
            style = (
                "e" if unit is None else f"s{colours[unit.stage]}" if unit.stage in colours else "o"
            )
            x, y = column * CELL, row * CELL
            if kind == "memory":
                yield f'<circle cx="{x + CELL // 2}" cy="{y + CELL // 2}" r="6" class="{style}"/>'
            elif kind == "compute":
                yield f'<rect x="{x + 2}" y="{y + 2}" width="12" height="12" class="{style}"/>'
            else:
                side = "e" if unit is None else "g"
                yield f'<rect x="{x + 5}" y="{y + 2}" width="6" height="12" class="{side}"/>'


def _links(laid: LaidSection) -> Iterator[str]:
    """Links in use, wider where they are fuller, red where they are full."""
    columns = laid.placed.grid.columns
    tracks = laid.routed.tracks
    by_width: dict[int, list[str]] = {}
    for (a, b), load in laid.routed.load.items():
        full = load / tracks
        step = STEPS + 1 if full >= 0.95 else 1 + int(STEPS * full)
        x, y = (a % columns) * CELL + CELL // 2, (a // columns) * CELL + CELL // 2
        across, down = b % columns - a % columns, b // columns - a // columns
        by_width.setdefault(step, []).append(f"M{x} {y}l{across * CELL} {down * CELL}")
    for step, moves in sorted(by_width.items()):
        style = ' class="f"' if step > STEPS else ""
        yield f'<path stroke-width="{0.35 * step:.2f}"{style} d="{"".join(moves)}"/>'


def _legend(laid: LaidSection, colours: dict[str, int]) -> Iterator[str]:
    section = laid.section
    reads = {s.stage.name: operands(s.stage, section)[-1:] for s in section.shares}
    entries = [(f"s{i}", " ← ".join((stage, *reads[stage]))) for stage, i in colours.items()]
    entries += [("o", "other stages"), ("e", "not used")]
    yield '<text x="0" y="10">squares compute, discs remember</text>'
    for at, (style, text) in enumerate(entries, start=1):
        y = 20 * at
        yield f'<rect x="0" y="{y}" width="12" height="12" class="{style}"/>'
        yield f'<text x="18" y="{y + 10}">{escape(text)}</text>'
    y = 20 * (len(entries) + 1) + 6
    yield f'<path d="M0 {y}h14" stroke-width="2"/><text x="18" y="{y + 4}">links, by load</text>'
    y += 20
    yield f'<path d="M0 {y}h14" stroke-width="2" class="f"/><text x="18" y="{y + 4}">full</text>'


def _title(laid: LaidSection) -> str:
    section = laid.section
    moved = ", ".join(f"{amount(t.total, 'B')} of {n}" for n, t in section.traffic.items())
    units = f"{section.compute} compute and {section.memory} memory units"
    links = f"fullest link {percent(laid.routed.worst, 0)}"
    return f"{section.name}: {units}; {moved}; bound by {laid.binding}; {links}"
