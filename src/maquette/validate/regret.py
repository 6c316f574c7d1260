"""Planner regret: how much worse the configuration we would choose measures than the best measured.

Where rows hold several configurations of one question (the same model and lengths on the same
machine) two questions can be asked of them: which is the fastest at this load, and which spends
the fewest device seconds on a token.  We choose by prediction; the regret is the measured value of
our choice over the best measured, less one.  Beside it stand the null models: a random choice (its
expectation) and the largest tensor-parallel size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from maquette.validate.cases import Cases, Subject
from maquette.validate.score import Priced

FASTEST, CHEAPEST = "fastest at a load", "device seconds per token"
# What is fastest: the first of these that a row has.
LATENCIES = {"static": ("e2e", "tpot"), "stages": ("e2e", "tpot"), "closed": ("tpot",)}
LOADS = {"static": "batch", "stages": "rate", "closed": "concurrency"}
Both = tuple[float, float]  # measured, predicted


@dataclass(frozen=True)
class Choice:
    """One measured row as a configuration that could be chosen; less is better."""

    lane: str
    objective: str
    question: tuple[str, ...]  # what stays the same
    configuration: tuple[str, ...]  # what could be chosen
    tp: float
    measured: float
    predicted: float


@dataclass(frozen=True)
class Regret:
    """Over the questions of one lane with several configurations; fractions, 0 is the best."""

    lane: str
    objective: str
    n: int  # questions
    configurations: int  # in all of them together
    median: float
    p90: float
    best: float  # share of questions in which the best was chosen
    random: float  # median over questions of what a random choice is expected to lose
    largest_tp: float


def choices(
    lane: str, cases: Cases, priced: Mapping[str, Iterable[tuple[Subject, object, Priced]]]
) -> Iterator[Choice]:
    """The rows of a table that were not fitted, as choices."""
    told: dict[int, dict[str, Both]] = {}
    for quantity, parts in priced.items():
        for _, _, p in parts:
            for row, m, said in zip(p.rows, p.measured, p.predicted, strict=True):
                told.setdefault(int(row), {})[quantity] = (float(m), float(said))
    if lane not in LATENCIES:
        return
    table = cases.table
    load = table.values(LOADS[lane])
    lengths = [table.values(c) for c in ("input_tokens", "output_tokens")]
    for row, both in told.items():
        if cases.calibration[row]:
            continue
        s, shape = cases.subject[row], [f"{x[row]:g}" for x in lengths]
        mesh = [f"{a}{cases.mesh[a][row]:g}" for a in cases.mesh]
        own = (s.engine, str(s.precision), *mesh, f"x{cases.replicas[row]:g}")
        asked, tp, at = (s.machine, s.model, *shape), float(cases.mesh["tp"][row]), f"{load[row]:g}"
        name = next((q for q in LATENCIES[lane] if q in both), None)
        if name is not None:
            yield Choice(lane, FASTEST, (*asked, at, name), own, tp, *both[name])
        spent = _spent(lane, both, float(load[row]), float(lengths[1][row]))
        if spent is not None:
            used = cases.replicas[row] * np.prod([cases.mesh[a][row] for a in ("tp", "pp", "dp")])
            measured, said = (float(used) * x for x in spent)
            yield Choice(lane, CHEAPEST, asked, (*own, at), tp, measured, said)


def _spent(lane: str, both: Mapping[str, Both], load: float, out: float) -> Both | None:
    """Seconds per output token of all requests at once, measured and predicted."""
    if not (load > 0 and out > 0):
        return None
    if lane == "static" and "e2e" in both:
        measured, said = both["e2e"]
    elif lane == "closed" and {"ttft", "tpot"} <= {*both}:
        measured, said = (a + b * (out - 1) for a, b in zip(both["ttft"], both["tpot"],
                                                            strict=True))  # fmt: skip
    else:
        return None
    return measured / (load * out), said / (load * out)


def regrets(found: Iterable[Choice]) -> list[Regret]:
    """Regret by lane and objective, over questions with at least two configurations.

    >>> rows = [Choice("static", FASTEST, ("q",), (c,), tp, m, p)
    ...         for c, tp, m, p in (("a", 1, 2.0, 1.5), ("b", 2, 1.0, 1.6), ("c", 4, 4.0, 4.0))]
    >>> one = regrets(rows)[0]
    >>> one.n, one.median, round(one.random, 3), one.largest_tp
    (1, 1.0, 1.333, 3.0)
    """
    asked: dict[tuple[str, str, tuple[str, ...]], dict[tuple[str, ...], list[Choice]]] = {}
    for c in found:
        asked.setdefault((c.lane, c.objective, c.question), {}).setdefault(
            c.configuration, []
        ).append(c)
    lost: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for (lane, objective, _), options in asked.items():
        if len(options) > 1:
            lost.setdefault((lane, objective), []).append(_lost([*options.values()]))
    return [_regret(*key, np.array(rows)) for key, rows in sorted(lost.items(), reverse=True)]


def _lost(options: Sequence[Sequence[Choice]]) -> tuple[float, ...]:
    """What our choice, a random one and the largest tensor-parallel size lose; and how many.

    Repeated measurements of a configuration count as their median.
    """
    measured, said = (
        np.array([np.median([getattr(c, name) for c in o]) for o in options])
        for name in ("measured", "predicted")
    )
    tp = np.array([o[0].tp for o in options])
    over = measured / measured.min() - 1
    return (
        float(over[np.argmin(said)]), float(over.mean()), float(over[tp == tp.max()].mean()),
        float(len(options)),
    )  # fmt: skip


def _regret(lane: str, objective: str, rows: np.ndarray) -> Regret:
    ours, random, largest, count = rows.T
    return Regret(
        lane, objective, len(rows), int(count.sum()), float(np.median(ours)),
        float(np.quantile(ours, 0.9)), float(np.mean(ours == 0)), float(np.median(random)),
        float(np.median(largest)),
    )  # fmt: skip
