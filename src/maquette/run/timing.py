"""Times that can be believed on a machine that does other things too.

A sample is disturbed when its threads did not get the processor for as long as it lasted; such
samples are left out where enough others remain.  Samples of several calls are taken in turns, so
that a slow spell of the machine hits all of them alike, and calls are compared by the ratios of
the samples of one turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

Call = Callable[[], object]
_STEADY = 0.9  # of its ceiling that a yardstick reaches on a machine at full speed
_SHARE = 0.96  # of the wall clock that every busy thread must have had


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it; `rejected` samples were disturbed and left out."""

    median: float
    low: float
    high: float
    n: int
    rejected: int = 0

    @property
    def relative(self) -> float:
        """Half of the distance between the quartiles over the median."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0


@dataclass(frozen=True)
class Sample:
    """Seconds of one call, and whether its threads had the processor all the time."""

    seconds: float
    quiet: bool


def spread(values: Sequence[float], rejected: int = 0) -> Spread:
    """The median and the quartiles of some numbers.

    >>> spread([4.0, 1.0, 2.0, 3.0, 5.0])
    Spread(median=3.0, low=2.0, high=4.0, n=5, rejected=0)
    """
    ordered = sorted(values)
    return Spread(median(ordered), _at(ordered, 0.25), _at(ordered, 0.75), len(ordered), rejected)


def _at(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def timed(call: Call, busy: int = 0, times: int = 1) -> Sample:
    """One sample of a call made `times` times; `busy` threads compute while it lasts.

    With ``busy=0`` it is not known how many do, and the sample counts as quiet.
    """
    before = time.process_time()
    start = time.perf_counter()
    for _ in range(times):
        call()
    wall = time.perf_counter() - start
    used = time.process_time() - before
    return Sample(wall / times, used >= _SHARE * busy * wall)


def kept(samples: Sequence[Sample]) -> tuple[list[float], int]:
    """Seconds of the quiet samples, and how many were not; the fastest third if too few were."""
    quiet = [s.seconds for s in samples if s.quiet]
    if 3 * len(quiet) >= len(samples):
        return quiet, len(samples) - len(quiet)
    enough = max(1, len(samples) // 3)
    return sorted(s.seconds for s in samples)[:enough], len(samples) - enough


def in_turns(
    calls: Sequence[Call],
    *,
    turns: Sequence[int],
    busy: Sequence[int] = (),
    times: Sequence[int] = (),
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[list[Sample]]:
    """Samples of each call, taken in turns; of call i in the first `turns[i]` of them.

    So sample n of any two calls was taken in the same turn.  `busy` says how many threads each call
    keeps busy, where that is known; `times` how often each is called for one sample.  Every second
    turn goes backwards: what a call leaves in the caches is not always to the gain of the same one.
    """
    found: list[list[Sample]] = [[] for _ in calls]
    most = max(turns, default=0)
    for turn in range(most):
        order = [i for i, n in enumerate(turns) if turn < n]
        for i in order if turn % 2 == 0 else reversed(order):
            found[i].append(timed(calls[i], busy[i] if busy else 0, times[i] if times else 1))
        progress(turn + 1, most)
    return found


def steadily(
    calls: Sequence[Call],
    yardstick: Callable[[], float],
    *,
    enough: int,
    budget: float,
    busy: Sequence[int],
    times: Sequence[int],
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[list[Sample]]:
    """Samples that count as quiet only if the machine was at full speed before and after.

    `yardstick` says at what share of its ceiling the machine is just now; below nine tenths what
    lies beside it does not count.  Turns go on until every call has `enough` quiet samples, or for
    `budget` seconds, twice at least; who has enough waits.
    """
    found: list[list[Sample]] = [[] for _ in calls]
    until = time.perf_counter() + budget
    before = yardstick()
    while True:
        lacking = [i for i, s in enumerate(found) if sum(x.quiet for x in s) < enough]
        progress(len(calls) - len(lacking), len(calls))
        late = time.perf_counter() > until and all(len(found[i]) >= 2 for i in lacking)
        if not lacking or late:
            return found
        for i in lacking:
            calls[i]()  # brings back into the caches what the others drove out
            sample = timed(calls[i], busy[i], times[i])
            after = yardstick()
            steady = min(before, after) > _STEADY
            found[i].append(Sample(sample.seconds, sample.quiet and steady))
            before = after


def often(call: Call, length: float) -> int:
    """How often to call for a sample of so many seconds, once what the call touches is near."""
    n = 1
    while (took := timed(call, times=n).seconds * n) < length:
        n *= max(2, min(16, round(length / max(took, 1e-7))))
    return max(1, round(n * length / took))


def ratios(mine: Sequence[Sample], other: Sequence[Sample]) -> Spread:
    """How many times as fast `mine` is as `other`: ratios of samples of the same turn.

    One of them may have been left out of later turns, which then say nothing.

    >>> a, b = [Sample(1.0, True)] * 3, [Sample(s, True) for s in (2.0, 3.0, 4.0)]
    >>> ratios(a, b).median
    3.0
    """
    pairs = list(zip(mine, other, strict=False))
    quiet = [b.seconds / a.seconds for a, b in pairs if a.quiet and b.quiet]
    if 3 * len(quiet) < len(pairs):
        quiet = [b.seconds / a.seconds for a, b in pairs]
    return spread(quiet, len(pairs) - len(quiet))
