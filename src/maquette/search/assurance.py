"""How sure it is that a plan keeps the targets: the same simulation under drawn calibrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from maquette.price.calibration import Calibration
from maquette.price.interval import Floats, spread_draws
from maquette.search.evaluate import Setting, chance, run
from maquette.search.fleet import fleet
from maquette.search.forecast import knee_slope
from maquette.search.types import Candidate, Outcome
from maquette.serve.types import Trace

DRAWS = 20  # calibrations a plan is tried under when it must keep the targets with confidence


def common(setting: Setting, candidate: Candidate, trace: Trace, seed: int) -> list[Calibration]:
    """The draws that all plans of a setting are tried under: even along what moves one's knee."""
    return spread_draws(setting.calibration, knee(setting, candidate, trace), DRAWS, seed)


def knee(setting: Setting, candidate: Candidate, trace: Trace) -> Floats:
    """What moves the rate that a plan sustains; see `forecast.knee_slope`."""
    plan = candidate.plan
    return knee_slope(
        trace,
        lambda at: fleet(setting.schedule, candidate.system, setting.engine, plan, at),
        plan.policy,
        setting.calibration,
    )


def assured(
    outcome: Outcome, setting: Setting, confidence: float, drawn: Sequence[Calibration]
) -> Outcome:
    """The outcome, a miss unless the targets are kept with a chance of `confidence`.

    Every plan is tried under the same draws and requests, the slowest first.  A plan that can no
    longer reach the share is tried no further: its `probability` is then the most it could have
    reached.
    """
    need, beside = confidence * len(drawn) - 1e-9, setting.calibration.unexplained
    lost = 0.0
    for cal in reversed(drawn):
        lost += 1 - chance(run(setting, outcome.candidate, cal), setting.targets, beside)
        if len(drawn) - lost < need:
            break
    share = (len(drawn) - lost) / len(drawn)
    if len(drawn) - lost >= need:
        return replace(outcome, probability=share)
    miss = f"targets kept with a chance of at most {share:.0%} < {confidence:.0%}"
    margin = min(outcome.margin, share / confidence)
    return replace(outcome, meets=False, misses=(miss,), probability=share, margin=margin)
