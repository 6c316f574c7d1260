"""How far predictions are from measurements, group by group, beside null models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maquette.price.calibration import Calibration

Floats = NDArray[np.float64]

# Relative scatter of a repeated measurement, below which no error means anything:
# (lane, quantity) → (median, where it comes from).
NOISE_FLOORS: dict[tuple[str, str], tuple[float, str]] = {
    ("static", "e2e"): (0.008, "145 replicate groups of LLM-Inference-Bench, median; p90 3.7 %"),
    ("static", "ttft"): (0.012, "Splitwise prefill replicates, coefficient of variation"),
    ("static", "tpot"): (0.004, "Splitwise decode replicates, coefficient of variation"),
    ("stages", "ttft"): (0.037, "4 repeated vLLM 0.15.1 serving configurations, mean TTFT"),
    ("stages", "tpot"): (0.006, "4 repeated vLLM 0.15.1 serving configurations, mean ITL"),
    ("stages", "e2e"): (0.008, "4 repeated vLLM 0.15.1 serving configurations, mean E2E"),
    ("stages", "ttft_p99"): (0.44, "4 repeated vLLM 0.15.1 serving configurations, TTFT p99"),
    ("closed", "tpot"): (0.10, "InferenceX groups at several engine versions, max/min − 1; "
                               "drift of software, not noise"),
    ("closed", "ttft"): (0.12, "InferenceX groups at several engine versions, max/min − 1; "
                               "drift of software, not noise"),
    ("offline", "rate"): (0.045, "MLPerf offline, other submitter on the same system: 2-7 %"),
}  # fmt: skip
# How the notes of a calibration say that no row of some files was held out.
EVERY_ROW = "fitted to every row of "


@dataclass(frozen=True, eq=False)
class Scored:
    """Predictions beside measurements of one lane and quantity, as columns."""

    lane: str
    quantity: str
    machine: NDArray[np.object_]
    family: NDArray[np.object_]
    engine: NDArray[np.object_]
    basis: NDArray[np.object_]  # of the calibration that priced a row
    experts: NDArray[np.bool_]  # rows of models with experts
    calibration: NDArray[np.bool_]  # rows of the calibration split
    measured: Floats
    predicted: Floats
    low: Floats  # of the central 80 % interval of a measurement, as predicted
    high: Floats
    ideal: Floats  # the roofline of the machine's stated peaks
    constant: Floats  # the null model: the roofline times one factor of rows that were fitted

    def where(self, keep: NDArray[np.bool_]) -> Scored:
        """Some of the rows."""
        return replace(self, **{c: getattr(self, c)[keep] for c in COLUMNS})


COLUMNS = ("machine", "family", "engine", "basis", "experts", "calibration", "measured",
           "predicted", "low", "high", "ideal", "constant")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Priced:
    """Rows of one subject and quantity, priced; columns."""

    rows: NDArray[np.int64]  # of the table they come from
    measured: Floats
    predicted: Floats
    low: Floats  # of the central 80 % interval of a measurement
    high: Floats
    ideal: Floats


class Key(NamedTuple):
    """What a group of scored rows has in common."""

    lane: str
    quantity: str
    hardware: str
    family: str
    engine: str


@dataclass(frozen=True)
class Errors:
    """Relative errors of one predictor over rows; fractions, not percent."""

    n: int
    ape_p50: float
    ape_p90: float
    bias: float  # median signed error: negative predicts too fast
    within_2: float = float("nan")  # share of predictions within a factor of two


@dataclass(frozen=True)
class Group:
    """Rows of one lane, quantity, hardware, model family and engine."""

    key: Key
    basis: str
    errors: Errors
    ideal: Errors
    constant: Errors | None  # best constant factor on the roofline, of calibration rows
    floor: float | None
    floor_source: str
    coverage_80: float  # share of measurements inside the central 80 % interval
    fitted: Errors | None  # the same predictor on rows of the calibration split, apart


def errors(measured: Floats, predicted: Floats) -> Errors | None:
    """Median and 90th percentile of the absolute percentage error, and the bias.

    >>> errors(np.array([1.0, 2.0]), np.array([1.1, 1.8])).ape_p50
    0.1
    """
    if not len(measured):
        return None
    relative = predicted / measured - 1
    size = np.abs(relative)
    return Errors(
        len(measured),
        _tidy(np.median(size)),
        _tidy(np.quantile(size, 0.9)),
        _tidy(np.median(relative)),
        _tidy(np.mean((predicted <= 2 * measured) & (predicted >= measured / 2))),
    )


def _tidy(x: float | np.floating) -> float:
    return float(np.round(x, 6))


def coverage(measured: Floats, low: Floats, high: Floats) -> float:
    """Share of measurements inside their interval; NaN of none."""
    if not len(measured):
        return float("nan")
    return float(np.mean((measured >= low) & (measured <= high)))


def groups(scored: Iterable[Scored]) -> list[Group]:
    """Scores by group, held-out rows only; calibration rows apart."""
    found = []
    for lane in scored:
        names = zip(lane.machine, lane.family, lane.engine, strict=True)
        label = np.empty(len(lane.measured), dtype=object)
        label[:] = list(names)
        for name in sorted(set(label)):
            rows = np.array([x == name for x in label])
            if np.any(rows & ~lane.calibration):
                found.append(_group(lane, Key(lane.lane, lane.quantity, *name), rows))
    return found


def _group(lane: Scored, key: Key, rows: NDArray[np.bool_]) -> Group:
    held = rows & ~lane.calibration
    own = rows & lane.calibration
    scored = errors(lane.measured[held], lane.predicted[held])
    ideal = errors(lane.measured[held], lane.ideal[held])
    assert scored is not None and ideal is not None
    floor, source = NOISE_FLOORS.get((key.lane, key.quantity), (None, ""))
    return Group(
        key=key,
        basis=str(lane.basis[held][0]),
        errors=scored,
        ideal=ideal,
        constant=_of_constant(lane, held),
        floor=floor,
        floor_source=source,
        coverage_80=coverage(lane.measured[held], lane.low[held], lane.high[held]),
        fitted=errors(lane.measured[own], lane.predicted[own]),
    )


def _of_constant(lane: Scored, held: NDArray[np.bool_]) -> Errors | None:
    known = held & np.isfinite(lane.constant)
    return errors(lane.measured[known], lane.constant[known])


def with_constant(lane: Scored) -> Scored:
    """With the null model: of rows fitted on a machine and engine, whatever the family, one factor.

    Where none was fitted there the factor is that of all fitted rows, and NaN without any.
    """
    own, found = lane.calibration, np.full(len(lane.measured), np.nan)
    gaps = np.log(lane.measured / lane.ideal)
    for name in sorted({*zip(lane.machine, lane.engine, strict=True)}):
        here = (lane.machine == name[0]) & (lane.engine == name[1])
        like = own & here if np.any(own & here) else own
        if np.any(like):
            found[here] = lane.ideal[here] * np.exp(np.median(gaps[like]))
    return replace(lane, constant=found)


def fitted_all(cal: Calibration, file: str) -> bool:
    """Whether a calibration was fitted to all of a file, whatever its split."""
    said = (n.removeprefix(EVERY_ROW) for n in cal.notes if n.startswith(EVERY_ROW))
    return cal.basis != "transferred" and any(file in files.split(", ") for files in said)


def pooled(
    scored: Sequence[Scored], lane: str, quantity: str, fitted: bool = False
) -> Errors | None:
    """Errors of one lane and quantity over all groups: of rows held out, or of rows `fitted`."""
    of = [s for s in scored if (s.lane, s.quantity) == (lane, quantity)]
    if not of:
        return None
    measured = np.concatenate([s.measured[s.calibration == fitted] for s in of])
    predicted = np.concatenate([s.predicted[s.calibration == fitted] for s in of])
    return errors(measured, predicted)


def joined(scored: Sequence[Scored]) -> list[Scored]:
    """Scores of one lane and quantity from several files, as one."""
    found: dict[tuple[str, str], list[Scored]] = {}
    for s in scored:
        found.setdefault((s.lane, s.quantity), []).append(s)
    return [
        Scored(lane, quantity, **{c: np.concatenate([getattr(s, c) for s in g]) for c in COLUMNS})
        for (lane, quantity), g in found.items()
    ]
