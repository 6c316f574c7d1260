"""Write docs/measured.md: a real engine measured on a processor, and predicted.

python validation/measured.py

The folders of `measured/` hold what was kept of `maquette measure --seconds 8 --out NAME` with the
options of `CAMPAIGNS`.  All but the first began with the machine's file of the first, and
`few-seqs` with its loads (`runs/capacity.txt`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from maquette import api
from maquette.measure.halves import Half, Judged, floors, half, judge
from maquette.report.markdown import table
from maquette.report.measured import SHOWN, Line, lines, picture
from maquette.report.numbers import NONE, percent
from maquette.validate.runs.folder import read
from maquette.validate.runs.forward import Point, points
from maquette.validate.runs.types import Key
from maquette.validate.shelf import shelf

ROOT = Path(__file__).parents[1]
FOLDER = Path(__file__).with_name("measured")
PAGE = ROOT / "docs" / "measured.md"
PICTURE = ROOT / "docs" / "images" / "measured.svg"
TEXT = Path(__file__).with_name("measured.md")
CAMPAIGNS = {  # folder → options, what was measured
    "tiny": ("", "8 layers of 512, at most 16 sequences and 512 tokens in a step"),
    "few-seqs": ("--max-seqs 4", "the same model, at most 4 sequences"),
    "wide": (
        "--model validation/measured/wide/model/config.json",
        "another model: 4 layers of 1,024, a quarter as many key heads as heads",
    ),
}
HEADS = ("predicted", "n", "error", "p90", "bias", "in 80 %", "uncalibrated", "null", "floor")
METRICS: tuple[Key, ...] = (("e2e", "mean"), ("ttft", "mean"), ("tpot", "mean"))


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    if "--picture" in sys.argv[1:]:
        PICTURE.write_text(picture(first()), encoding="utf-8")
        print(f"wrote {PICTURE.relative_to(ROOT)}")


def present() -> list[str]:
    """The campaigns that are there, in order."""
    return [name for name in CAMPAIGNS if (FOLDER / name / "runs").is_dir()]


@cache
def campaign(name: str) -> tuple[Point, ...]:
    """The runs of a campaign with their deployments."""
    return tuple(points(read(FOLDER / name / "runs").runs, api.deployment, shelf()))


@cache
def first() -> Judged:
    """The first campaign, each half from the other."""
    return judge(read(FOLDER / "tiny" / "runs").runs, api.deployment, shelf())


def page() -> str:
    """The whole page: `measured.md` with its tables filled in."""
    told = first()
    parts = [section(f"`tiny`, {h.name}", h, told.floors) for h in told.halves]
    for other in present()[1:]:
        dealt = across("tiny", other)
        parts.append(section(f"`{other}`, from `tiny` alone", dealt, floors(campaign(other))))
    listed = "\n".join(f"- `{n}`: {CAMPAIGNS[n][1]}" for n in present())
    version = campaign("tiny")[0].run.said.version
    return TEXT.read_text(encoding="utf-8").format(
        campaigns=listed, tables="\n\n".join(parts), regret=regret(), version=version
    )


def across(fitted: str, told: str) -> Half:
    """What the runs of one campaign say of those of another."""
    mine, others = campaign(fitted), campaign(told)
    return half("across", [*mine, *others], set(range(len(mine))))


def section(title: str, dealt: Half, floor: Mapping[Key, float]) -> str:
    rows = [cells(x) for x in lines(dealt, floor) if x.key in SHOWN]
    return f"### {title}\n\n{table(HEADS, rows, 1)}"


def cells(x: Line) -> tuple[str, ...]:
    errors = (percent(x.told.ape_p50), percent(x.told.ape_p90), percent(x.told.bias, signed=True))
    nulls = (NONE if e is None else percent(e.ape_p50) for e in (x.before, x.between))
    floor = NONE if x.floor is None else percent(x.floor)
    return " ".join(x.key), f"{x.told.n}", *errors, percent(x.coverage, 0), *nulls, floor


def regret() -> str:
    """What choosing the limits of a step by prediction loses against the best that was measured."""
    names = [n for n in present() if n != "wide"]
    if len(names) < 2:
        return "One configuration only: nothing to choose."
    told = _told(names)
    rows = [(" ".join(key), *_regret(told, names, key)) for key in METRICS]
    return table(("objective", "loads", "median regret", "worst", "best chosen", "random"), rows, 1)


def _told(names: Sequence[str]) -> dict[tuple[str, str, Key], tuple[float, float]]:
    """(campaign, load, key) → measured and predicted, by what half of the first campaign says."""
    held = [p for name in names for p in campaign(name)]
    owner = [name for name in names for _ in campaign(name)]
    own = first().halves[0].learned.rows.points
    fitted = {i for i, p in enumerate(held) if owner[i] == "tiny"
              and p.run.name in {q.run.name for q in own}}  # fmt: skip
    dealt = half("choices", held, fitted)
    left = [name for i, name in enumerate(owner) if i not in fitted]
    return {
        (left[at], dealt.rows.points[at].run.name, key): (float(np.exp(m)), float(np.exp(t)))
        for key, at, m, t in zip(
            dealt.rows.key, dealt.rows.point, dealt.rows.measured, dealt.told.predicted, strict=True
        )
    }  # fmt: skip


def _regret(
    told: Mapping[tuple[str, str, Key], tuple[float, float]], names: Sequence[str], key: Key
) -> tuple[str, ...]:
    lost, blind, right = [], [], 0
    for load in sorted({load for _, load, k in told if k == key}):
        options = [told[n, load, key] for n in names if (n, load, key) in told]
        if len(options) < 2:
            continue
        best = min(m for m, _ in options)
        chosen = min(options, key=lambda both: both[1])[0]
        lost.append(chosen / best - 1)
        blind.append(float(np.mean([m for m, _ in options])) / best - 1)
        right += chosen == best
    return (
        f"{len(lost)}", percent(float(np.median(lost))), percent(max(lost)),
        f"{right} of {len(lost)}", percent(float(np.median(blind))),
    )  # fmt: skip


if __name__ == "__main__":
    main()
