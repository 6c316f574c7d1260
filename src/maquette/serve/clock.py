"""The clock: integer quanta of 2**-30 ns, and the order of what happens at one instant.

Every coefficient of a price is rounded to whole quanta once; from there on time is integer
arithmetic, so the sum of a run in closed form equals the sum of its steps exactly, ties are ties,
and results do not depend on the platform.  A quantum is about 1e-18 s: rounding the time of one
query-key pair to it loses less than one part in a million even where a pair takes 1 fs.

Recorded times are whole nanoseconds.  Events are ordered by (time, phase, number): at one instant
steps end first, then requests arrive, then batches form, so that a request that arrives exactly at
a step boundary joins the step that starts there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

QUANTA = 1 << 30  # in one nanosecond
PER_SECOND = 1e9 * QUANTA
HALF = QUANTA >> 1
WORD = 2.0**63  # quanta that a signed word does not hold: some nine seconds
SHIFT = 30

END, ARRIVE, FORM = 0, 1, 2  # phases of one instant


def quanta(seconds: float) -> int:
    """Whole quanta nearest to `seconds`.

    >>> quanta(1e-9)
    1073741824
    """
    return round(seconds * PER_SECOND)


def quanta_of(seconds: NDArray[np.float64]) -> list[int]:
    """The same for every number of a column.

    >>> quanta_of(np.array([0.0, 1e-9]))
    [0, 1073741824]
    >>> quanta_of(np.array([9.0])) == [quanta(9.0)]
    True
    """
    with np.errstate(over="ignore"):  # int() refuses what is infinite then
        whole = np.rint(seconds * PER_SECOND)
    if whole.max(initial=0.0) < WORD:
        return list(whole.astype(np.int64).tolist())
    return [int(x) for x in whole.tolist()]


def nanoseconds(time: int) -> int:
    """Whole nanoseconds nearest to `time` quanta.

    >>> nanoseconds(quanta(1.5))
    1500000000
    """
    return (time + HALF) >> SHIFT
