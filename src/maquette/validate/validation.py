"""`validate`: every row that can be priced, beside its price, by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from maquette.errors import Fault, InputError
from maquette.price.calibration import Calibration
from maquette.validate import score
from maquette.validate.cases import resolve, sent
from maquette.validate.durations import with_units
from maquette.validate.goals import Summary, summaries
from maquette.validate.lanes import LANES, PRICERS, Compared, compared, said, thin
from maquette.validate.regret import Regret, regrets
from maquette.validate.rows import Reading, Skipped, read
from maquette.validate.shelf import Shelf


@dataclass(frozen=True)
class Validation:
    """What was compared and how it came out."""

    folder: str
    groups: tuple[score.Group, ...]
    pooled: dict[tuple[str, str], score.Errors]  # (lane, quantity) → held-out errors of all rows
    fitted: dict[tuple[str, str], score.Errors]  # the same of rows that may be fitted, apart
    rows: dict[str, int]  # lane → rows read
    priced: dict[str, int]  # lane → rows priced
    unpriced: dict[str, dict[str, int]]  # lane → why → rows
    skipped: tuple[Skipped, ...]
    calibrations: tuple[str, ...]  # those used: machine, engine, basis and source
    notes: tuple[Skipped, ...] = ()  # what was taken for granted, by file
    regrets: tuple[Regret, ...] = ()  # of choosing among the rows by prediction
    summaries: tuple[Summary, ...] = ()  # of all rows of a lane, beside the goals

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON; errors are fractions."""
        return {
            "folder": self.folder,
            "groups": [
                {**g.key._asdict(), **{k: v for k, v in asdict(g).items() if k != "key"}}
                for g in self.groups
            ],
            "pooled": [
                {"lane": lane, "quantity": quantity, **asdict(e)}
                for (lane, quantity), e in self.pooled.items()
            ],
            "fitted": [
                {"lane": lane, "quantity": quantity, **asdict(e)}
                for (lane, quantity), e in self.fitted.items()
            ],
            "rows": self.rows,
            "priced": self.priced,
            "unpriced": self.unpriced,
            "skipped": [asdict(s) for s in self.skipped],
            "calibrations": list(self.calibrations),
            "notes": [asdict(n) for n in self.notes],
            "regrets": [asdict(r) for r in self.regrets],
            "summaries": [asdict(x) for x in self.summaries],
        }


def validate(
    folder: str | Path | Reading,
    shelf: Shelf,
    lanes: Sequence[str] = LANES,
    limit: int | None = 200,
) -> Validation:
    """Compare predictions with the measured rows of a folder.

    Rows of the calibration split are priced but never scored: they are reported apart.  `limit`
    bounds the rows of a file of a serving lane, which are simulated one by one.

    Raises:
        InputError: no row of the lanes asked for can be read.
    """
    wrong = [lane for lane in lanes if lane not in PRICERS]
    if wrong:
        raise InputError(
            *(Fault("lanes", f"no lane {w!r}", f"of {', '.join(LANES)}") for w in wrong)
        )
    reading = folder if isinstance(folder, Reading) else read(folder)
    requests = sent(reading.of("requests"))
    found: list[Compared] = []
    counts: dict[str, tuple[int, int, Counter[str]]] = {}
    used: dict[tuple[str, str], Calibration] = {}
    notes: list[Skipped] = []
    for lane in (lane for lane in lanes if reading.of(lane)):
        total, why = 0, Counter[str]()
        for table in reading.of(lane):
            cases = with_units(resolve(table, shelf, requests), shelf)
            if lane != "static":
                thin(cases, limit)
            own = compared(lane, cases, shelf, used)
            found, notes = [*found, own], notes + said(cases)
            total, why = total + len(table), why + own.why
        counts[lane] = (total, total - sum(why.values()), why)
    if not counts:
        raise InputError(_no_lane(reading, lanes))
    return replace(_result(reading, found, counts, used), notes=tuple(notes))


def _no_lane(reading: Reading, lanes: Sequence[str]) -> Fault:
    kinds = sorted({t.kind.name for t in reading.tables})
    return Fault(
        reading.folder,
        f"has rows of {', '.join(kinds)} and none of {', '.join(lanes)}",
        "static batches, serving stages or closed-loop points",
    )


def _result(
    reading: Reading,
    found: Sequence[Compared],
    counts: dict[str, tuple[int, int, Counter[str]]],
    used: dict[tuple[str, str], Calibration],
) -> Validation:
    scored = [*map(score.with_constant, score.joined([s for own in found for s in own.scored]))]
    keys = list(dict.fromkeys((s.lane, s.quantity) for s in scored))
    pooled = {k: e for k in keys if (e := score.pooled(scored, *k))}
    fitted = {k: e for k in keys if (e := score.pooled(scored, *k, fitted=True))}
    return Validation(
        folder=reading.folder,
        groups=tuple(score.groups(scored)),
        summaries=tuple(summaries(scored)),
        regrets=tuple(regrets(c for own in found for c in own.choices)),
        pooled=pooled,
        fitted=fitted,
        rows={lane: total for lane, (total, _, _) in counts.items()},
        priced={lane: priced for lane, (_, priced, _) in counts.items()},
        unpriced={lane: dict(why.most_common()) for lane, (_, _, why) in counts.items()},
        skipped=reading.skipped,
        calibrations=tuple(
            f"{machine} {engine}: {cal.basis}; {cal.source}"
            for (machine, engine), cal in sorted(used.items())
        ),
    )
