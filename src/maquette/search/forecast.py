"""What a deployment will do, as a distribution: its constants are uncertain, its requests a draw.

Calibrations are drawn from the posterior, evenly along the direction that moves what the replicas
sustain (`price.interval.spread_draws`), and generated traffic is drawn with other seeds.  Drawn
calibrations serve the same requests as the most likely one, so what they change is theirs; what
streams change is seen under the most likely calibration; both together are their products, and what
no simulation knows of clients widens them.  Close to saturation the distribution is skewed and the
share of it in overload matters more than a point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log
from statistics import NormalDist

import numpy as np

from maquette.plans.types import Policy
from maquette.price.calibration import NAMES, PARAMETERS, Calibration
from maquette.price.interval import Z80, Floats, central, gradient, spread_draws
from maquette.search.evaluate import chance, doubt, figures
from maquette.search.fleet import Fleet
from maquette.search.types import Doubt, Interval, Targets
from maquette.serve.saturation import Load, sustainable
from maquette.serve.types import REJECTED, Trace
from maquette.traffic.types import Requests

DRAWS = 16  # calibrations drawn from a posterior
STREAMS = 4  # draws of generated traffic, the one asked about among them
MATERIAL = 0.05  # probability of overload from which an answer is told as a distribution
OTHER_SEEDS = 10_007  # of further streams
Simulated = Callable[[Calibration, Requests], Trace]


@dataclass(frozen=True)
class Forecast:
    """Figures by name as central 80 % intervals; see `evaluate.figures` for names and units."""

    intervals: Mapping[str, Interval]  # of constants, requests and clients together
    constants: Mapping[str, Interval]  # with these very requests
    requests: Mapping[str, Interval]  # under the most likely constants; the point where none differ
    clients: Mapping[str, Interval]  # what no simulation knows of them (`Calibration.unexplained`)
    medians: Mapping[str, float]
    kept: float  # the chance that the targets are kept
    sustainable: Interval  # requests per second
    overload: float | None  # probability that more is asked than sustained; None in a closed loop
    draws: int
    streams: int

    @property
    def material(self) -> bool:
        """Whether overload is likely enough to be told as a distribution."""
        return self.overload is not None and self.overload >= MATERIAL


def forecast(
    simulated: Simulated,
    slope: Floats,
    cal: Calibration,
    requests: Requests,
    point: Mapping[str, float],
    targets: Targets,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Forecast:
    """Simulate draws of constants and of requests.

    `requests` may be fewer than those that gave `point`: how far draws lie from a simulation of
    them under `cal` is carried over as a ratio.
    """
    sent = streams(requests)
    at = targets.percentile
    base = [simulated(cal, r) for r in sent]
    likely = [figures(t, at) for t in base]
    of = [min(i, draws - 1 - i) % len(sent) for i in range(draws)]  # mirrored draws share a stream
    traces = []
    for i, (c, j) in enumerate(zip(spread_draws(cal, slope, draws, seed), of, strict=True)):
        progress(i + 1)
        traces.append(simulated(c, sent[j]))
    moved = [figures(t, at) for t in traces]
    constants, luck, clients, both, medians = {}, {}, {}, {}, {}
    for name, value in point.items():
        own = [_ratio(m[name], likely[j][name]) for m, j in zip(moved, of, strict=True)]
        stream = [_ratio(b[name], likely[0][name]) for b in likely]
        product = [x * y for x in own for y in stream]
        constants[name], luck[name] = about(value, own), about(value, stream)
        beside = doubt(cal.unexplained, base[0], name)
        clients[name] = widened(Interval(value, value), value, beside)
        both[name] = widened(about(value, product), value, beside)
        known = [x for x in product if np.isfinite(x)]
        medians[name] = value * float(np.median(known)) if known else float("nan")
    able = [float(t.sustainable_per_s) for t in traces]
    return Forecast(
        intervals=both,
        constants=constants,
        requests=luck,
        clients=clients,
        medians=medians,
        kept=sum(chance(t, targets, cal.unexplained) for t in traces) / draws,
        sustainable=Interval(*central(able)),
        overload=_overload(base[0], traces),
        draws=draws,
        streams=len(sent),
    )


def streams(requests: Requests, n: int = STREAMS) -> list[Requests]:
    """The requests, and other draws of the same traffic where they are generated."""
    again = requests.redrawn
    others = [] if again is None else [again(OTHER_SEEDS + i) for i in range(1, n)]
    return [requests, *others]


def knee_slope(
    base: Trace, fleet: Callable[[Calibration], Fleet], policy: Policy, cal: Calibration
) -> Floats:
    """d log(seconds per request at saturation) / d log(parameter): what moves the knee."""
    able = base.status != REJECTED
    load = Load.of(*(c[able] for c in (base.input_tokens, base.cached_tokens, base.output_tokens)))

    def seconds(at: Calibration) -> float:
        held = fleet(at)
        return 1.0 / sustainable(load, held.replicas, policy, held.prefill)

    return gradient(seconds, cal)


def doubts(slope: Floats, cal: Calibration) -> tuple[Doubt, ...]:
    """What makes a figure of such a slope uncertain, the most important first.

    A share is how much of the variance of its logarithm is gone once one constant is known
    exactly; constants that were fitted together say something about each other, so shares need
    not sum to one.
    """
    covariance = np.array(cal.covariance)
    moved = covariance @ slope
    total = float(slope @ moved) + cal.residual**2
    if total <= 0:
        return ()
    found = [
        Doubt(n, PARAMETERS[n][3], float(m**2 / v) / total, float(np.sqrt(v)))
        for n, m, v in zip(NAMES, moved, np.diag(covariance), strict=True)
        if v > 0
    ]
    unexplained = "what no constant explains of a model on a machine"
    found.append(Doubt("residual", unexplained, cal.residual**2 / total, cal.residual))
    return tuple(sorted(found, key=lambda d: -d.share))


def _ratio(value: float, base: float) -> float:
    return value / base if base else 1.0


def about(point: float, ratios: Sequence[float]) -> Interval:
    """The central 80 % of draws; a mode at the edge of a skewed posterior is still inside."""
    low, high = central(ratios)
    return Interval(point * min(low, 1.0), point * max(high, 1.0))


def widened(told: Interval, point: float, sd: float) -> Interval:
    """An 80 % interval about a point with a further deviation of the logarithm, independent of it.

    >>> widened(Interval(1.0, 1.0), 1.0, 0.1).high == exp(0.1 * Z80)
    True
    """
    if not (sd > 0 and point > 0 and told.low > 0):
        return told
    down, up = np.hypot(np.log([point / told.low, told.high / point]), Z80 * sd)
    return Interval(point * exp(-down), point * exp(up))


def _overload(base: Trace, traces: Sequence[Trace]) -> float | None:
    """The probability that what is offered exceeds what is sustained, by a normal of its logarithm.

    A normal through all draws says more of a tail than the few draws in it.
    """
    span = int(base.arrival_ns.max() - base.arrival_ns.min())
    if base.closed_loop or span <= 0:
        return None
    offered = (len(base.arrival_ns) - 1) / (span * 1e-9)
    logs = [log(offered / t.sustainable_per_s) for t in traces if t.sustainable_per_s > 0]
    if len(logs) < len(traces):
        return 1.0
    mean, sd = float(np.mean(logs)), float(np.std(logs))
    return NormalDist().cdf(mean / sd) if sd > 0 else float(mean > 0)
