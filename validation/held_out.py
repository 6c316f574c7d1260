"""Published runs of engines beside predictions that never saw their like, kept in held_out.csv.

    python validation/held_out.py model machine    # fit without whole groups, score those
    python validation/held_out.py                  # print what is kept

Every way (`batch`, `model`, `machine`) deals its groups into folds, fits everything else anew from
the priors (`maquette.validate.holdout`) and scores the fold.  Ways may be run side by side.
docs/validation.md is written from the file by `document.py`.
"""

from __future__ import annotations

import csv
import fcntl
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from maquette.report.markdown import table
from maquette.validate.goals import Goal, Summary, goal, summaries
from maquette.validate.holdout import WAYS, held_out
from maquette.validate.regret import Regret, regrets
from maquette.validate.rows import read
from maquette.validate.score import NOISE_FLOORS, Errors, joined
from maquette.validate.shelf import shelf

ROOT = Path(__file__).parent
ROWS = ROOT / "served"
KEPT = ROOT / "held_out.csv"
LIMIT = 10  # serving rows of a file that are simulated in a fold
HEADS = ("way", "lane", "quantity", "kind", "machine", "engine", "n", "median", "p90", "bias",
         "within_2", "null_median", "null_p90", "roofline", "inside", "chosen")  # fmt: skip
GROUP = 8  # rows from which a machine and engine has a line of its own
Line = dict[str, str]


def main() -> None:
    """Run the ways asked for, or print what is kept."""
    for way in sys.argv[1:]:
        record(way, scored(way))
    print(pooled(kept()))


def scored(way: str) -> Iterator[Line]:
    """A line of all rows of each lane and quantity, and of each machine and engine with enough."""
    # Half of all models at once would leave machines without one.
    dealt = 2 if way == "batch" else 4
    found = held_out(read(ROWS), shelf(), [way], limit=LIMIT, progress=_tell, dealt=dealt)
    print(*found.skipped, sep="\n", file=sys.stderr)
    lanes = joined(found.scored[way])
    yield from (_line(s, "", "") for s in summaries(lanes, way))
    for one in lanes:
        for machine, engine in sorted({*zip(one.machine, one.engine, strict=True)}):
            keep = (one.machine == machine) & (one.engine == engine) & ~one.calibration
            if keep.sum() >= GROUP:
                own = summaries([one.where(keep)], way)
                yield from (_line(s, machine, engine) for s in own if s.errors.n >= GROUP)
    yield from (_regret(way, r) for r in regrets(found.choices))


def _tell(what: str, at: int, of: int) -> None:
    print(f"{at + 1} of {of}: {what}", file=sys.stderr, flush=True)


def _line(s: Summary, machine: str, engine: str) -> Line:
    e, null, roof = s.errors, s.constant, s.roofline
    values = (
        s.way, s.lane, s.quantity, s.kind, machine, engine, e.n, e.ape_p50, e.ape_p90, e.bias,
        e.within_2, null and null.ape_p50, null and null.ape_p90, roof and roof.ape_p50,
        s.coverage_80, None,
    )  # fmt: skip
    return {h: _cell(v) for h, v in zip(HEADS, values, strict=True)}


def _regret(way: str, r: Regret) -> Line:
    """Regret in the same columns: its nulls are a random choice and the largest tensor parallel."""
    values = (way, f"regret: {r.lane}", r.objective, "", "", "", r.n, r.median, r.p90, None, None,
              r.random, r.largest_tp, None, None, r.best)  # fmt: skip
    return {h: _cell(v) for h, v in zip(HEADS, values, strict=True)}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def record(way: str, lines: Iterable[Line]) -> None:
    """Put what a way said in the place of what it said before; ways may end at the same time."""
    new = list(lines)
    with KEPT.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        others = [row for row in kept() if row["way"] != way] if KEPT.exists() else []
        ordered = sorted((*others, *new), key=lambda row: WAYS.index(row["way"]))
        partial = KEPT.with_suffix(".part")
        with partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, HEADS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(ordered)
        partial.replace(KEPT)


def kept() -> list[Line]:
    """The lines of held_out.csv."""
    with KEPT.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def pooled(lines: Sequence[Line]) -> str:
    """All rows of each way, lane and quantity, beside null models, noise and goals."""
    rows = [r for r in lines if not r["machine"] and not r["lane"].startswith("regret")]
    heads = ("held out", "rows", "n", "median", "p90", "bias", "noise", "null median", "null p90",
             "roofline", "in 80 %", "goal", "met")  # fmt: skip
    return table(heads, [_pooled(r) for r in rows], 2)


def _pooled(r: Line) -> tuple[str, ...]:
    lane, quantity = r["lane"], r["quantity"]
    floor, _ = NOISE_FLOORS.get((lane, quantity), (None, ""))
    aim = goal(lane, quantity, r["way"], r["kind"])
    return (
        r["way"], f"{lane} {quantity} {r['kind']}".strip(), r["n"], _percent(r["median"]),
        _percent(r["p90"], 0), _percent(r["bias"], 1, "+"), f"{floor:.1%}" if floor else "",
        _percent(r["null_median"], 0), _percent(r["null_p90"], 0), _percent(r["roofline"], 0),
        _percent(r["inside"], 0), str(aim or ""), _met(aim, r),
    )  # fmt: skip


def _met(aim: Goal | None, r: Line) -> str:
    if aim is None:
        return ""
    values = (float(r[c]) for c in ("median", "p90", "bias", "within_2"))
    return "yes" if aim.met(Errors(int(r["n"]), *values)) else "no"


def by_machine(lines: Sequence[Line], way: str, lane: str, quantity: str) -> str:
    """Each machine and engine of one way, lane and quantity."""
    rows = [
        (r["machine"], r["engine"], r["kind"], r["n"], _percent(r["median"]), _percent(r["p90"], 0),
         _percent(r["bias"], 1, "+"), _percent(r["null_median"], 0), _percent(r["inside"], 0))
        for r in lines
        if r["machine"] and (r["way"], r["lane"], r["quantity"]) == (way, lane, quantity)
    ]  # fmt: skip
    heads = ("machine", "engine", "", "n", "median", "p90", "bias", "null", "in 80 %")
    return table(heads, rows, 3)


def regret(lines: Sequence[Line]) -> str:
    """What choosing by prediction loses over the best measured."""
    rows = [
        (r["way"], r["lane"].removeprefix("regret: ") + ", " + r["quantity"], r["n"],
         _percent(r["median"]), _percent(r["p90"], 0), _percent(r["chosen"], 0),
         _percent(r["null_median"], 0), _percent(r["null_p90"], 0))
        for r in lines
        if r["lane"].startswith("regret")
    ]  # fmt: skip
    heads = ("held out", "question", "n", "median lost", "p90", "best chosen", "random",
             "largest tp")  # fmt: skip
    return table(heads, rows, 2)


def _percent(cell: str, digits: int = 1, sign: str = "") -> str:
    return f"{float(cell):{sign}.{digits}%}" if cell not in ("", "nan") else ""


if __name__ == "__main__":
    main()
