"""The figures of a report, each a function from what happened to an SVG element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch

from maquette.report.anatomy import BESIDE, Anatomy, Line, Phase
from maquette.report.ink import BY_RESOURCE, INK, MUTED, SERIES, figure, quiet, svg
from maquette.report.numbers import percent, seconds
from maquette.report.scales import logarithmic, percents
from maquette.search.types import Answer, Gain

WIDE = 10.0  # inches of 72 points: the width of the page's column


def frontier(answer: Answer) -> str:
    """Speed for one user against dollars per million output tokens."""
    with figure(WIDE, 4.4) as made:
        axes = made.subplots()
        points = answer.frontier
        x = [p.tokens_per_s_user for p in points]
        y = [p.usd_per_mtok_output for p in points]
        axes.step(x, y, where="pre", color=SERIES[0], label="frontier of the bounds")
        axes.plot(x, y, "o", color=SERIES[0], markersize=3.5)
        for meets, label, colour in ((True, "simulated, keeps the targets", SERIES[2]),
                                     (False, "simulated, misses them", SERIES[3])):  # fmt: skip
            at = [_operating(o) for o in answer.outcomes if o.meets == meets]
            if at:
                axes.plot(*zip(*at, strict=True), "o", color=colour, label=label, markersize=6)
        if answer.winner is not None:
            best = _operating(answer.winner)
            axes.plot(*best, "*", color=INK, markersize=16, label="the winner")
        logarithmic(axes, "x")
        logarithmic(axes, "y")
        axes.set_xlabel("interactivity: output tokens/s for one user")
        axes.set_ylabel("$ per million output tokens")
        quiet(axes)
        axes.legend(loc="upper left")
        axes.set_title("Fast for one, cheap for all")
        text = f"{len(points)} operating points, {len(answer.outcomes)} plans simulated"
        return svg(made, "frontier", "Interactivity against cost", text)


def _operating(outcome: Any) -> tuple[float, float]:
    return 1.0 / outcome.metrics.tpot.mean, outcome.usd_per_mtok_output


def bounds(found: Anatomy) -> str:
    """What each section of a decode step and of a prefill takes, and what it waits for."""
    phases = (found.decode, found.prefill)
    names = _shown(phases)
    with figure(WIDE, 1.25 + 0.27 * len(names)) as made:
        panels = made.subplots(1, 2, sharey=True)
        for axes, phase in zip(panels, phases, strict=True):
            _bars(axes, phase, names)
            kind = f"{phase.batch} sequences" if phase.name == "decode" else "one prompt"
            axes.set_title(f"{phase.name.capitalize()}, {kind}: {seconds(phase.total)}")
            axes.xaxis.set_major_formatter(percents())
            quiet(axes, "x")
            axes.spines["left"].set_visible(False)
        panels[0].invert_yaxis()
        used = {r for p in phases for ln in p.lines for r in (_inner(ln), "link", "launch")
                if r == _inner(ln) or getattr(ln, r) > 0}  # fmt: skip
        handles = [Patch(color=c, label=r) for r, c in BY_RESOURCE.items() if r in used]
        made.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        text = "; ".join(
            f"{p.name}: " + ", ".join(f"{ln.name} {percent(ln.total / p.total, 0)} ({ln.bound})"
                                      for ln in sorted(p.lines, key=lambda x: -x.total)[:4])
            for p in phases
        )  # fmt: skip
        return svg(made, "bounds", "Where a step's time goes", text)


def _shown(phases: Sequence[Phase], least: float = 0.004) -> list[str]:
    """Sections worth a bar: those with a visible share of either phase, in running order."""
    most: dict[str, float] = {}
    for phase in phases:
        for line in phase.lines:
            most[line.name] = max(most.get(line.name, 0.0), line.total / phase.total)
    return [name for name, share in most.items() if share >= least]


def _bars(axes: Any, phase: Phase, names: Sequence[str]) -> None:
    """One bar per section: what binds it, then the links and launches it also waits for."""
    lines = {line.name: line for line in phase.lines}
    for row, name in enumerate(names):
        line = lines.get(name)
        if line is None:
            continue
        rest = (("link", line.link), ("launch", line.launch if line.bound not in BESIDE else 0.0))
        busy = max(line.total - sum(x for _, x in rest), 0.0)
        left = 0.0
        for resource, x in ((_inner(line), busy), *rest):
            axes.barh([row], [x / phase.total], left=left, color=BY_RESOURCE[resource], height=0.72)
            left += x / phase.total
        axes.text(left + 0.006, row, percent(left, 1), va="center", fontsize=9, color=INK)
    longest = max((line.total / phase.total for line in phase.lines), default=1.0)
    axes.set_xlim(0, longest * 1.18)
    axes.set_yticks(range(len(names)), names)


def _inner(line: Line) -> str:
    """What the kernels of a section wait for."""
    if line.bound in BESIDE:
        return line.bound
    return max(("matrix", "vector", "memory"), key=lambda r: float(getattr(line, r)))


def gains(found: Sequence[Gain]) -> str:
    """What 10 % more of each resource changes."""
    keys = (("ttft", "TTFT", SERIES[0]), ("tpot", "TPOT", SERIES[1]),
            ("max_rate", "sustained rate", SERIES[2]))  # fmt: skip
    with figure(WIDE, 1.3 + 0.62 * len(found)) as made:
        axes = made.subplots()
        for i, (key, label, colour) in enumerate(keys):
            at = np.arange(len(found)) + (i - 1) * 0.26
            values = [getattr(g, key) for g in found]
            axes.barh(at, values, height=0.24, color=colour, label=label)
            for y, value in zip(at, values, strict=True):
                side = "right" if value < 0 else "left"
                axes.annotate(percent(value, 1, signed=True), (value, y), fontsize=8.5, va="center",
                              ha=side, xytext=(-4 if value < 0 else 4, 0),
                              textcoords="offset points")  # fmt: skip
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(range(len(found)), [f"+10 % {g.resource}" for g in found])
        axes.invert_yaxis()
        axes.margins(x=0.14)
        axes.xaxis.set_major_formatter(percents())
        quiet(axes, "x")
        axes.spines["left"].set_visible(False)
        made.legend(loc="outside lower center", ncols=3)
        text = "; ".join(f"{g.resource}: TPOT {percent(g.tpot, 1, signed=True)}" for g in found)
        return svg(made, "gains", "What ten percent more of each resource changes", text)
