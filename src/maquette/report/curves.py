"""Curves of a simulation: distributions of latency, and the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maquette.report.ink import SERIES, figure, quiet, svg
from maquette.report.numbers import seconds
from maquette.report.scales import percents, time_axis
from maquette.search.types import Targets

Floats = NDArray[np.float64]
WIDE = 10.0  # inches of 72 points: the width of the page's column
POINTS = 300  # of a curve


def cdfs(latencies: Mapping[str, Floats], targets: Targets) -> str:
    """Shares of requests within a latency: TTFT, TPOT and end to end, in seconds."""
    wanted = {"ttft": targets.ttft, "tpot": targets.tpot, "e2e": None}
    titles = {"ttft": "Time to first token", "tpot": "Time per output token", "e2e": "End to end"}
    with figure(WIDE, 3.1) as made:
        panels = made.subplots(1, 3, sharey=True, gridspec_kw={"wspace": 0.08})
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
        panels[0].yaxis.set_major_formatter(percents())
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
    time_axis(axes, low / 1.15, high * 1.35)
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
        _filled(middle, "KV cache in use", at, columns["kv"] / max(blocks, 1), SERIES[1])
        _filled(low, "Share of time a step is running", at, columns["busy"], SERIES[2])
        most = max(columns[k].max(initial=1) for k in ("running", "waiting"))
        top.set_ylim(0, 1.25 * most)  # room for the legend
        low.set_xlabel("simulated time, s")
        low.set_xlim(0, at[-1] if len(at) else 1)
        for axes in (top, middle, low):
            quiet(axes, "y")
        mean = {k: float(v.mean()) if len(v) else 0.0 for k, v in columns.items()}
        text = f"on average {mean['running']:.3g} sequences run and {mean['waiting']:.3g} wait"
        return svg(made, "time", "The simulated time", text)


def _filled(axes: Any, title: str, at: Floats, share: Floats, colour: str) -> None:
    axes.fill_between(at, share, color=colour, linewidth=0, alpha=0.75)
    axes.set_title(title)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(percents())


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
