"""How sure it is that a plan keeps the targets: the same simulation under drawn calibrations."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from maquette.search.evaluate import Setting, drawn, missed, run
from maquette.search.types import Outcome

DRAWS = 20  # calibrations a plan is tried under when it must keep the targets with confidence


def assured(outcome: Outcome, setting: Setting, confidence: float, seed: int) -> Outcome:
    """The outcome, a miss unless the targets hold in a share `confidence` of drawn calibrations.

    Every plan is tried under the same draws and requests.  A plan that can no longer reach the
    share is tried no further: its `probability` is then the most it could have reached.
    """
    need = ceil(confidence * DRAWS - 1e-9)
    lost = 0
    for cal in drawn(setting.calibration, DRAWS, seed):
        lost += bool(missed(run(setting, outcome.candidate, cal), setting.targets))
        if DRAWS - lost < need:
            break
    share = (DRAWS - lost) / DRAWS
    if DRAWS - lost >= need:
        return replace(outcome, probability=share)
    miss = f"targets kept in at most {share:.0%} of calibration draws < {confidence:.0%}"
    margin = min(outcome.margin, share / confidence)
    return replace(outcome, meets=False, misses=(miss,), probability=share, margin=margin)
