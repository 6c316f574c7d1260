"""What clients saw beside simulations that know the constants: of each load and quantity, how much.

When a client begins and how it sends, a server's queue in front of the engine, options that no row
states: of these a simulation knows nothing, and times to first token under load depend on all of
them.  No constant holds that, so it is a deviation of its own, of the logarithm: what rows of all
machines that were fitted scatter about their own simulations, beyond what their fits allow for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import brentq

from maquette.price.calibration import CLIENT, Calibration
from maquette.price.interval import Z80
from maquette.validate.fitting import Block, Made
from maquette.validate.served import as_time
from maquette.validate.serving import seen, unknown

LEAST = 10  # values that tell how far they scatter
Gap = tuple[float, float]  # log(measured / simulated), and the deviation an interval of it has


def unexplained(fits: Sequence[tuple[Made, Calibration]]) -> dict[str, float]:
    """Deviations by load and quantity, as `Calibration.unexplained` has them.

    A deviation is what makes 80 % of the gaps lie inside their central 80 %: tails are long.
    """
    found: dict[str, list[Gap]] = {}
    for made, cal in fits:
        for block in made.task.own:
            for name, gap in _gaps(block, cal):
                found.setdefault(name, []).append(gap)
    return {name: beyond(gaps) for name, gaps in sorted(found.items()) if len(gaps) >= LEAST}


def _gaps(block: Block, cal: Calibration) -> Iterable[tuple[str, Gap]]:
    """Of the fitted values of a block, simulated with the offsets of their model and version."""
    held = block.served
    if held is None:
        return
    told: dict[int, dict[tuple[str, str], float]] = {}
    values = zip(held.keys, held.of, block.measured, block.version, block.calibration, strict=True)
    for (quantity, key), run, measured, version, fitted in values:
        name = unknown(held.runs[run], quantity)
        if not (fitted and name):
            continue
        if run not in told:
            own = cal.of(block.subject.model, str(version))
            told[run] = seen(held.runs[run], held.shelf, own)
        level = as_time(quantity, told[run][key])
        if np.isfinite(level) and level > 0:
            client = CLIENT * cal["request"] / level if quantity == "ttft" else 0.0
            yield name, (float(np.log(measured / level)), float(np.hypot(cal.scatter**0.5, client)))


def beyond(gaps: Sequence[Gap]) -> float:
    """The deviation that, added to each gap's own, leaves 80 % of them inside.

    >>> round(beyond([(x * 0.5, 0.3) for x in (-1.5, -0.8, -0.1, 0.2, 0.9, 1.1)]), 3)
    0.307
    """
    away, own = np.abs(np.array(gaps)).T

    def outside(sd: float) -> float:
        return float(np.quantile(away / np.hypot(own, max(sd, 1e-9)), 0.8)) - Z80

    most = float(away.max()) + 1e-6
    return float(brentq(outside, 0.0, most)) if outside(0.0) > 0 else 0.0
