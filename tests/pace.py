"""A yardstick of speed: limits in tests are multiples of it and never seconds."""

from __future__ import annotations

import time
from collections.abc import Callable


def cpu(work: Callable[[], object], times: int = 5) -> float:
    """CPU seconds of `work`, the least of some runs."""
    spent = []
    for _ in range(times):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def unit() -> float:
    """CPU seconds of a fixed piece of plain Python: about 10 ms where this was written."""
    return cpu(lambda: sum(i * i for i in range(200_000)))
