"""What a fleet's deployments cost: systems by the hour, over the tokens that they served."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

from maquette.plans.types import Infeasible
from maquette.search.composition import Served


@dataclass(frozen=True)
class Costs:
    """US dollars; not a number where no price of a machine is known, or nothing was served."""

    per_hour: float
    per_mtok_output: float  # million tokens that experts answered with
    per_mtok: float  # of all tokens, prompts as well
    dates: tuple[str, ...]  # of the prices
    unpriced: tuple[str, ...]  # machines whose price nobody states


def costs(served: Served) -> Costs:
    """The costs of one deployment: every device of its systems, as long as the traffic took.

    The router's tokens are nobody's answer: it costs time and gives none.

    >>> from maquette.search.composition import compose
    >>> found = compose("samba-coe", overrides=["fleet.traffic.requests=16"])
    >>> costs(found.served[0]).unpriced, costs(found.served[2]).per_hour > 0
    (('sn40l',), True)
    """
    machines = [(on.system.machine, on.system.devices) for on in served.hosted]
    unpriced = tuple(dict.fromkeys(m.name for m, _ in machines if m.price is None))
    prices = [(m.price, n) for m, n in machines if m.price is not None]
    dates = tuple(dict.fromkeys(p.date for p, _ in prices))
    hour = nan if unpriced else sum(n * float(p.per_hour.value) for p, n in prices)
    history = served.outcome
    if isinstance(history, Infeasible):
        return Costs(hour, nan, nan, dates, unpriced)
    spent = hour * history.end_ns * 1e-9 / 3600 * 1e6
    answers = float(history.output_tokens.sum())
    both = answers + float(history.input_tokens.sum())
    return Costs(
        hour, spent / answers if answers else nan, spent / both if both else nan, dates, unpriced
    )
