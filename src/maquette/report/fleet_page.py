"""The page of a fleet: its deployments beside each other, on the same requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from maquette.report import composed
from maquette.report.figures import WIDE
from maquette.report.fleet_costs import costs
from maquette.report.ink import SERIES, figure, quiet, svg
from maquette.report.numbers import digits, dollars, percent, seconds
from maquette.report.page import Card, Part, rendered
from maquette.report.scales import percents, time_axis
from maquette.search.composition import Composed, Served
from maquette.serve.composition.figures import figures
from maquette.serve.composition.types import History


def fleet_page(found: Composed) -> str:
    """One self-contained HTML page: latencies, where nodes' time went, memory, costs."""
    able = [s for s in found.served if isinstance(s.outcome, History)]
    heads, rows = composed.deployments(found)
    parts = [Part("Deployments", "All serve the same requests.", heads=heads, rows=rows)]
    if able:
        parts += [
            Part("Latency", "From arrival to the last token.", latencies(able)),
            Part(
                "Where the time of nodes goes",
                "Of all nodes' time from first to last.",
                spent(able),
            ),
        ]
    heads, rows = composed.memory(found)
    parts.append(Part("Memory, in experts", heads=heads, rows=rows))
    parts.append(Part("Provenance", pairs=[*composed.general(found), *_prices(able)]))
    notes = list(composed.warnings(found))
    return rendered(f"Fleet: {found.fleet.title}", str(found.fleet.popularity), _cards(able), parts,
                    notes)  # fmt: skip


def _cards(able: Sequence[Served]) -> list[Card]:
    """The best deployment of each figure."""
    if not able:
        return []
    made = [(s, figures(s.outcome), costs(s)) for s in able if isinstance(s.outcome, History)]
    quick = min(made, key=lambda m: m[1].e2e[50.0])
    busy = max(made, key=lambda m: m[1].requests_per_s)
    cards = [
        Card("latency p50", seconds(quick[1].e2e[50.0]), "the shortest", quick[0].site.name),
        Card("requests/s", digits(busy[1].requests_per_s), "the most", busy[0].site.name),
    ]
    priced = [m for m in made if m[2].per_mtok_output == m[2].per_mtok_output]
    if priced:
        cheap = min(priced, key=lambda m: m[2].per_mtok_output)
        where = f"{cheap[0].site.name}, prices of {', '.join(cheap[2].dates)}"
        cost = dollars(cheap[2].per_mtok_output)
        cards.append(Card("cost", cost, "per million output tokens", where))
    moved = min(made, key=lambda m: m[1].switching_share)
    share = percent(moved[1].switching_share)
    return [*cards, Card("switching", share, "of the busy time, the least", moved[0].site.name)]


def _prices(able: Sequence[Served]) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys(n for s in able for n in costs(s).unpriced):
        yield f"price of {name}", "nobody states one"
    known = {on.system.machine.name: on.system.machine.price for s in able for on in s.hosted}
    for name, price in known.items():
        if price is not None:
            value = f"{dollars(float(price.per_hour.value))} per device and hour, {price.date}"
            yield f"price of {name}", f"{value} ({price.per_hour.source})"


def latencies(able: Sequence[Served]) -> str:
    """Shares of requests within a latency, a line for each deployment."""
    with figure(WIDE, 3.4) as made:
        axes: Any = made.subplots()
        words, ends = [], []
        for i, served in enumerate(able):
            assert isinstance(served.outcome, History)
            values = np.sort(served.outcome.finish_ns - served.outcome.arrival_ns) * 1e-9
            share = np.arange(1, len(values) + 1) / len(values)
            axes.plot(values, share, color=SERIES[i % len(SERIES)], label=served.site.name)
            ends += [float(values[0]), float(values[-1])]
            words.append(f"{served.site.name}: median {seconds(float(np.median(values)))}")
        axes.set_xscale("log")
        low, high = max(min(ends), 1e-6) / 1.15, max(ends) * 1.35
        axes.set_xlim(low, high)
        time_axis(axes, low, high)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(percents())
        axes.set_ylabel("share of requests")
        quiet(axes)
        axes.legend(loc="lower right")
        return svg(made, "fleet-latency", "Latency by deployment", "; ".join(words))


def spent(able: Sequence[Served]) -> str:
    """Router, experts, waiting for copies and idle: shares of the time of a deployment's nodes."""
    kinds = ("router", "experts", "waiting for experts")
    with figure(WIDE, 1.2 + 0.4 * len(able)) as made:
        axes: Any = made.subplots()
        words = []
        for row, served in enumerate(able):
            assert isinstance(served.outcome, History)
            uses, whole = served.outcome.uses, served.outcome.end_ns * len(served.outcome.uses)
            shares = [sum(getattr(u, k) for u in uses) / whole
                      for k in ("router_ns", "compute_ns", "stall_ns")]  # fmt: skip
            left = 0.0
            for i, share in enumerate(shares):
                label = kinds[i] if row == 0 else None
                axes.barh([row], [share], left=left, color=SERIES[i], height=0.7, label=label)
                left += share
            told = ", ".join(f"{k} {percent(x)}" for k, x in zip(kinds, shares, strict=True))
            words.append(f"{served.site.name}: {told}")
        axes.set_yticks(range(len(able)), [s.site.name for s in able])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(percents())
        quiet(axes, "x")
        made.legend(loc="outside lower center", ncols=len(kinds))
        return svg(made, "fleet-time", "Where the time of nodes goes", "; ".join(words))
