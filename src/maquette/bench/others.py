"""How much of the processor other work takes: what times beside it are worth.

A team of threads waits at its barrier for the one that does not run, so that little of such work
may cost a whole time slice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_STAT = "/proc/stat"
_IDLE = (3, 4)  # of its numbers: idle, and waiting for disks
_TWICE = 8  # numbers from here on are counted in others already


def others() -> Callable[[], float | None]:
    """A function that says what share of all processors others have had since now.

    It says None where the system does not tell (it is Linux that does), and is good to a few
    hundredths of a second.

    >>> share = others()
    >>> (share() or 0.0) <= 1.0
    True
    """
    start, own, busy = time.perf_counter(), time.process_time(), _busy()

    def share() -> float | None:
        wall, mine, all_ = time.perf_counter() - start, time.process_time() - own, _busy()
        if busy is None or all_ is None:
            return None
        total = max(wall, 1e-9) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (all_ - busy - mine) / total))

    return share


def _busy() -> float | None:
    """Seconds in which any processor was not idle, since the system started."""
    try:
        with open(_STAT) as file:
            ticks = [int(n) for n in file.readline().split()[1:][:_TWICE]]
        return sum(n for i, n in enumerate(ticks) if i not in _IDLE) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return None
