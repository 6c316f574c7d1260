"""When requests arrive: gaps of mean 1, drawn by inversion, then scaled by the rate.

Inversion and scaling make common random numbers hold: with one seed, another rate sees the same
arrivals on another clock, and another process sees its gaps long where the first one's were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from maquette.errors import Fault, InputError
from maquette.traffic.types import LONGEST, LONGEST_NS, Floats, Ints

Process = Literal["constant", "poisson", "gamma", "bursts", "closed"]


@dataclass(frozen=True)
class Arrivals:
    """An arrival process, without its rate.

    - ``constant``: equal gaps; ``poisson``: independent requests (CV 1);
    - ``gamma``: gaps of coefficient of variation `cv` (below 1 smoother, above 1 burstier);
    - ``bursts``: Poisson bursts between pauses: a share `pause_share` of the gaps are pauses,
      exponential too, so long that all gaps together have `cv` (a hyperexponential);
    - ``closed``: `concurrency` clients, each sending its next request when its last one ends.

    Raises InputError for a parameter out of range.
    """

    process: Process = "poisson"
    cv: float = 1.0
    pause_share: float = 0.0
    concurrency: int = 0

    def __post_init__(self) -> None:
        faults = []
        if not 0 < self.cv < float("inf"):
            faults.append(Fault("cv", f"{self.cv} is out of range", "a positive number"))
        if self.process in ("constant", "poisson") and self.cv != 1.0:
            faults.append(Fault("cv", f"is fixed for {self.process} arrivals", hint="use gamma"))
        if self.process == "bursts" and not (
            self.cv > 1 and 0 < self.pause_share < 2 / (self.cv**2 + 1)
        ):
            what = f"{self.pause_share} does not go with a cv of {self.cv}"
            faults.append(Fault("pause_share", what, "cv > 1 and 0 < pause_share < 2/(cv²+1)"))
        if (self.process == "closed") != (self.concurrency > 0):
            what = f"{self.concurrency} does not go with {self.process} arrivals"
            faults.append(Fault("concurrency", what, "1 or more in a closed loop, else 0"))
        if faults:
            raise InputError(*faults)

    def __str__(self) -> str:
        if self.process == "gamma":
            return f"gamma arrivals (CV {self.cv:g})"
        if self.process == "bursts":
            return f"bursts (CV {self.cv:g}, {self.pause_share:.3g} of gaps are pauses)"
        if self.process == "closed":
            return f"closed loop of {self.concurrency} clients"
        return f"{self.process} arrivals"


def unit_gaps(arrivals: Arrivals, u: Floats) -> Floats:
    """Gaps of mean 1 at the uniform variates `u` in (0, 1): the inverse of their distribution.

    >>> unit_gaps(Arrivals("constant"), np.array([0.1, 0.9])).tolist()
    [1.0, 1.0]
    """
    if arrivals.process == "constant":
        return np.ones_like(u)
    if arrivals.process == "gamma":
        from scipy.special import gammaincinv  # slow to import, and a trace needs none of it

        shape = arrivals.cv**-2
        return np.asarray(gammaincinv(shape, u) / shape)
    if arrivals.process == "bursts":
        share = arrivals.pause_share
        pause = 1 + np.sqrt((1 - share) / share * (arrivals.cv**2 - 1) / 2)
        within = (1 - share * pause) / (1 - share)
        paused = u >= 1 - share
        v = np.where(paused, (u - (1 - share)) / share, u / (1 - share))
        return np.asarray(-np.log1p(-np.minimum(v, 1 - 2**-53)) * np.where(paused, pause, within))
    return np.asarray(-np.log1p(-u))


def arrival_ns(arrivals: Arrivals, rate: float, u: Floats) -> Ints:
    """Arrival times in ns, one per variate, the first at 0, at `rate` requests per second.

    Raises InputError where the rate is so low that 64 bits do not hold them.
    """
    if arrivals.process == "closed":
        return np.zeros(len(u), np.int64)
    times = np.cumsum(unit_gaps(arrivals, u))
    with np.errstate(over="ignore", invalid="ignore"):
        return whole_ns((times - times[:1]) * (1e9 / rate), "rate", rate)


def whole_ns(times: Floats, where: str, said: float) -> Ints:
    """Times as whole ns; InputError where what was `said` makes them too many."""
    if not times.max(initial=0.0) < LONGEST_NS:
        what = f"at {said:g} the {len(times):,} requests span more than {LONGEST}"
        raise InputError(Fault(where, what, "a higher one"))
    return np.rint(times).astype(np.int64)
