"""The figures of a report, each a function from what happened to an SVG element."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter
from numpy.typing import NDArray

from maquette.report.anatomy import Anatomy, Phase
from maquette.report.ink import BY_RESOURCE, INK, MUTED, SERIES, figure, quiet, svg
from maquette.report.numbers import digits, percent, seconds
from maquette.search.types import Answer, Gain, Targets

Floats = NDArray[np.float64]
WIDE = 10.0  # inches of 72 points: the width of the page's column
POINTS = 300  # of a curve


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
        _log(axes, "x")
        _log(axes, "y")
        axes.set_xlabel("interactivity: output tokens/s for one user")
        axes.set_ylabel("$ per million output tokens")
        quiet(axes)
        axes.legend(loc="upper left")
        axes.set_title("Fast for one, cheap for all")
        text = f"{len(points)} operating points, {len(answer.outcomes)} plans simulated"
        return svg(made, "frontier", "Interactivity against cost", text)


def _operating(outcome: Any) -> tuple[float, float]:
    return 1.0 / outcome.metrics.tpot.mean, outcome.usd_per_mtok_output


def cdfs(latencies: Mapping[str, Floats], targets: Targets) -> str:
    """Shares of requests within a latency: TTFT, TPOT and end to end, in seconds."""
    wanted = {"ttft": targets.ttft, "tpot": targets.tpot, "e2e": None}
    titles = {"ttft": "Time to first token", "tpot": "Time per output token", "e2e": "End to end"}
    with figure(WIDE, 3.1) as made:
        panels = made.subplots(1, 3, sharey=True)
        told = []
        for axes, (name, target) in zip(panels, wanted.items(), strict=True):
            values = np.sort(latencies[name])
            axes.set_title(titles[name])
            quiet(axes)
            if not len(values):
                continue
            told.append(_cdf(axes, values, target, targets.percentile))
        panels[0].set_ylabel("share of requests")
        panels[0].set_ylim(0, 1.02)
        panels[0].yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        names = (t.lower() for t in titles.values())
        text = "; ".join(f"{n}: {w}" for n, w in zip(names, told, strict=False))
        return svg(made, "cdfs", "Distributions of latency", text)


def _cdf(axes: Any, values: Floats, target: float | None, at: float) -> str:
    """Draw one distribution, its percentile and its target; say them in words."""
    share = np.arange(1, len(values) + 1) / len(values)
    few = np.unique(np.linspace(0, len(values) - 1, POINTS).astype(int))
    axes.plot(values[few], share[few], color=SERIES[0])
    reached = float(np.percentile(values, at))
    axes.plot([reached], [at / 100], "o", color=SERIES[0], markersize=7)
    words = f"p{at:g} {seconds(reached)}"
    low, high = max(values[0], values[-1] / 1e4), values[-1]
    if target is not None:
        axes.axvline(target, color=SERIES[3], linestyle=(0, (4, 3)))
        high, words = max(high, target), f"{words}, target {seconds(target)}"
    axes.set_xlim(low / 1.15, high * 1.35)
    axes.set_xscale("log")
    _time_axis(axes, low / 1.15, high * 1.35)
    axes.set_xlabel(words)
    return words


def over_time(trace: Any, blocks: int) -> str:
    """Sequences running and waiting, KV cache and devices in use, over the simulated time."""
    at, columns = timeline_bins(trace)
    with figure(WIDE, 5.0) as made:
        top, middle, low = made.subplots(3, 1, sharex=True, height_ratios=(1.3, 1, 1))
        for name, colour in (("running", SERIES[0]), ("waiting", SERIES[3])):
            top.plot(at, columns[name], color=colour, label=name, linewidth=1.5)
        top.set_title("Sequences, all replicas")
        top.legend(loc="upper right", ncols=2)
        middle.fill_between(at, columns["kv"] / max(blocks, 1), color=SERIES[1], linewidth=0)
        middle.set_title("KV cache in use")
        low.fill_between(at, columns["busy"], color=SERIES[2], linewidth=0)
        low.set_title("Share of time a step is running")
        for axes in (middle, low):
            axes.set_ylim(0, 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        top.set_ylim(bottom=0)
        low.set_xlabel("simulated time, s")
        low.set_xlim(0, at[-1] if len(at) else 1)
        for axes in (top, middle, low):
            quiet(axes, "y")
        mean = {k: float(v.mean()) if len(v) else 0.0 for k, v in columns.items()}
        text = f"on average {mean['running']:.3g} sequences run and {mean['waiting']:.3g} wait"
        return svg(made, "time", "The simulated time", text)


def timeline_bins(trace: Any, bins: int = 400) -> tuple[Floats, dict[str, Floats]]:
    """Means over equal stretches of time, summed over replicas (`busy`: mean over them)."""
    s = trace.segments
    end = max(float(s.end_ns.max(initial=0)), 1.0) * 1e-9
    edges = np.linspace(0.0, end, bins + 1)
    replicas = max(len(np.unique(s.replica)), 1)
    start, stop = s.start_ns * 1e-9, s.end_ns * 1e-9
    found = {}
    values = {"running": s.running, "waiting": s.waiting, "kv": s.kv_blocks,
              "busy": np.full(len(start), 1.0 / replicas)}  # fmt: skip
    for name, column in values.items():
        area = _cumulative(edges, start, stop, np.asarray(column, dtype=float))
        found[name] = np.diff(area) / np.diff(edges)
    found["busy"] = np.minimum(found["busy"], 1.0)
    return (edges[:-1] + edges[1:]) / 2, found


def _cumulative(at: Floats, start: Floats, stop: Floats, height: Floats) -> Floats:
    """The area to the left of every `at` under rectangles of these extents and heights."""
    order, last = np.argsort(start), np.argsort(stop)
    begun = np.concatenate([[0.0], np.cumsum(height[order])])
    begun_at = np.concatenate([[0.0], np.cumsum((height * start)[order])])
    ended = np.concatenate([[0.0], np.cumsum(height[last])])
    ended_at = np.concatenate([[0.0], np.cumsum((height * stop)[last])])
    i = np.searchsorted(start[order], at, "right")
    j = np.searchsorted(stop[last], at, "right")
    area: Floats = at * (begun[i] - ended[j]) - begun_at[i] + ended_at[j]
    return area


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
            axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
            quiet(axes, "x")
            axes.spines["left"].set_visible(False)
        panels[0].invert_yaxis()
        handles = [Patch(color=c, label=r) for r, c in BY_RESOURCE.items()]
        made.legend(handles=handles, loc="outside lower center", ncols=len(BY_RESOURCE))
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
        rest = (("link", line.link), ("launch", line.launch if line.bound != "host" else 0.0))
        busy = max(line.total - sum(x for _, x in rest), 0.0)
        inner = max(("matrix", "vector", "memory"), key=lambda r: getattr(line, r))
        left = 0.0
        for resource, x in (("host" if line.bound == "host" else inner, busy), *rest):
            axes.barh([row], [x / phase.total], left=left, color=BY_RESOURCE[resource], height=0.72)
            left += x / phase.total
        axes.text(left + 0.006, row, percent(left, 1), va="center", fontsize=9, color=INK)
    longest = max((line.total / phase.total for line in phase.lines), default=1.0)
    axes.set_xlim(0, longest * 1.18)
    axes.set_yticks(range(len(names)), names)


def gains(found: Sequence[Gain]) -> str:
    """What 10 % more of each resource changes."""
    keys = (("ttft", "TTFT", SERIES[0]), ("tpot", "TPOT", SERIES[1]),
            ("max_rate", "time busy", SERIES[2]))  # fmt: skip
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
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        quiet(axes, "x")
        axes.spines["left"].set_visible(False)
        made.legend(loc="outside lower center", ncols=3)
        text = "; ".join(f"{g.resource}: TPOT {percent(g.tpot, 1, signed=True)}" for g in found)
        return svg(made, "gains", "What ten percent more of each resource changes", text)


_STEPS = (1, 2, 5)


def _log(axes: Any, which: str) -> None:
    """A logarithmic axis with round numbers on it."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    axis.set_ticks(_round(low, high))
    axis.set_major_formatter(FuncFormatter(lambda v, _: digits(v, 1 if v < 1 else 2).rstrip(".")))
    axis.set_minor_formatter(NullFormatter())


def _time_axis(axes: Any, low: float, high: float) -> None:
    ticks = _round(low, high)
    axes.xaxis.set_ticks(ticks if len(ticks) < 6 else [t for t in ticks if _leading(t) == 1])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _short(v)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_ticks([], minor=True)
    axes.set_xlim(low, high)


def _short(value: float) -> str:
    """A round duration without needless digits: ``20 ms``."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= factor * 0.999:
            return f"{value / factor:g} {unit}"
    return f"{value:g} s"


def _leading(value: float) -> int:
    return round(value / 10 ** float(np.floor(np.log10(value * 1.0001))))


def _round(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between `low` and `high`."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return [m * 10.0**d for d in decades for m in _STEPS if low <= m * 10.0**d <= high]
