"""Predicted and measured time of our own schedules: how far a price may be trusted.

Schedules are timed in turns; the medians of odd and even turns, apart, tell how well a measurement
repeats itself, which no price can beat.  The null model knows nothing but one rate: the work of a
schedule at the speed that the median schedule of the fitted sizes reaches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from maquette.bench.schedules import Schedule, Sizes, runnable, schedules
from maquette.compiler.processor import Processor
from maquette.compiler.tiling import Counts
from maquette.errors import MaquetteError
from maquette.price.kernel import FITTED, Constants, light, seconds
from maquette.run.ceilings import yardstick
from maquette.run.timing import Sample, kept, often, steadily

Numbers = NDArray[np.float64]
Progress = Callable[[str, int, int], None]
_LENGTH = 2e-3  # seconds of a sample


@dataclass(frozen=True)
class Observation:
    """One schedule: what it does, and the seconds that it takes, twice."""

    schedule: Schedule
    seconds: float
    again: tuple[float, float]  # medians of odd and of even turns
    calls: int

    @property
    def counts(self) -> Counts:
        return self.schedule.candidate.counts


@dataclass(frozen=True)
class Errors:
    """Of predictions beside measurements: absolute shares and the bias of the logarithm."""

    n: int
    median: float
    p90: float
    bias: float


@dataclass(frozen=True)
class Judged:
    """Prices beside measurements, the null model, and what repeating a measurement scatters."""

    observations: tuple[Observation, ...]
    priced: tuple[float, ...]
    price: Errors
    null: Errors
    floor: Errors
    beaten_light: tuple[str, ...]  # measured faster than anything should be
    failed: tuple[tuple[str, str], ...]
    fitted: Errors | None = None  # of the schedules that constants were fitted to, apart


def observe(
    chosen: Mapping[str, Sequence[Sizes]],
    processor: Processor,
    *,
    each: int = 3,
    turns: int = 8,
    budget: float = 40.0,
    constants: Constants = FITTED,
    progress: Progress = lambda *_: None,
) -> tuple[list[Observation], list[tuple[str, str]]]:
    """Compile and time schedules of the chosen kernels; and those that failed, with why.

    A schedule is done with `turns` samples taken while the machine was at full speed.
    """
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401  whose library shares its threads with generated code
    found = list(schedules(chosen, processor, lambda c: seconds(c.counts, processor, constants),
                           each))  # fmt: skip
    able, runs, failed = [], [], []
    for i, schedule in enumerate(found):
        progress("compiling", i, len(found))
        try:
            run = runnable(schedule, processor)
        except MaquetteError as error:
            failed.append((schedule.name, str(error).splitlines()[0]))
            continue
        run()
        able.append(schedule)
        runs.append(run)
    times = [often(run, _LENGTH) for run in runs]
    samples = steadily(
        runs,
        yardstick(processor),
        enough=turns,
        budget=budget,
        busy=[processor.threads if s.candidate.counts.fma else 1 for s in able],
        times=times,
        progress=lambda done, of: progress("timed", done, of),
    )
    held = zip(able, samples, times, strict=True)
    return [_observed(s, taken, n) for s, taken, n in held], failed


def _observed(schedule: Schedule, samples: Sequence[Sample], times: int) -> Observation:
    lasted, _ = kept(samples)
    halves = lasted[::2], lasted[1::2] or lasted
    return Observation(schedule, median(lasted), (median(halves[0]), median(halves[1])), times)


def judge(
    observations: Sequence[Observation],
    processor: Processor,
    constants: Constants = FITTED,
    rate: float | None = None,
    failed: Sequence[tuple[str, str]] = (),
) -> Judged:
    """Prices of the observed schedules beside what they took.

    `rate` is that of the null model, operations a second; by default the median of these very
    schedules, which flatters it.
    """
    measured = [o.seconds for o in observations]
    priced = [seconds(o.counts, processor, constants) for o in observations]
    each = rate or null_rate(observations)
    null = [_work(o.counts) / each for o in observations]
    beaten = [
        o.schedule.name for o in observations if o.seconds < 0.97 * light(o.counts, processor)
    ]
    return Judged(
        tuple(observations),
        tuple(priced),
        errors(priced, measured),
        errors(null, measured),
        errors([o.again[0] for o in observations], [o.again[1] for o in observations]),
        tuple(beaten),
        tuple(failed),
    )


def null_rate(observations: Sequence[Observation]) -> float:
    """Operations a second of the median schedule."""
    return median(_work(o.counts) / o.seconds for o in observations)


def _work(counts: Counts) -> float:
    return counts.fma + counts.vector + counts.traffic.get("l3", 0.0)


def errors(predicted: Sequence[float], measured: Sequence[float]) -> Errors:
    """Absolute errors as shares of what was measured, and the bias.

    >>> errors([1.1, 0.9, 2.0], [1.0, 1.0, 1.0]).n
    3
    """
    ratio = np.array(predicted) / np.array(measured)
    away = np.abs(ratio - 1)
    return Errors(
        len(ratio),
        float(np.median(away)),
        float(np.quantile(away, 0.9)),
        float(np.exp(np.mean(np.log(ratio))) - 1),
    )


def fit(
    observations: Sequence[Observation],
    processor: Processor,
    source: str,
    start: Constants = FITTED,
) -> Constants:
    """The constants that bring prices closest to what was measured, by the median error.

    Fractions stay within (0, 1], so that no price beats the light.
    """
    from scipy.optimize import minimize

    measured = np.log([o.seconds for o in observations])

    def made(x: Numbers) -> Constants:
        product, vector, near, far = (float(1 / (1 + np.exp(-v))) for v in x[:4])
        return replace(
            start, product=product, vector=vector, near=near, far=far,
            iteration=float(np.exp(x[4])), overlap=1 + float(np.exp(x[5])),
        )  # fmt: skip

    def loss(x: Numbers) -> float:
        c = made(x)
        priced = np.log([seconds(o.counts, processor, c) for o in observations])
        return float(np.mean(np.abs(priced - measured)) + 1e-3 * np.sum((x - first) ** 2))

    shares = (start.product, start.vector, start.near, start.far)
    odds = [np.log(v / (1 - v)) for v in (min(s, 0.98) for s in shares)]
    first = np.array([*odds, np.log(start.iteration + 1e-3), np.log(start.overlap - 1)])
    best = minimize(loss, first, method="Nelder-Mead", options={"maxiter": 3000, "fatol": 1e-5})
    found = made(best.x)
    priced = np.log([seconds(o.counts, processor, found) for o in observations])
    spread = float(np.median(np.abs(priced - measured)) / 0.6745)  # of a normal distribution
    return replace(found, residual=spread, source=source)
