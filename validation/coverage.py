"""Do 80 % intervals hold 80 %?  Trials on machines whose constants are known, written to docs.

    python validation/coverage.py            # rewrite docs/coverage.md from validation/coverage.csv
    python validation/coverage.py 0 8        # first run the draws 0 to 7: some minutes each

Every draw makes rows (`maquette.validate.trial`), holds out whole batch sizes, models and machines,
fits to the rest and counts which of the rows held out lie inside their interval.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from maquette.report.markdown import table
from maquette.validate.goals import COVERAGE
from maquette.validate.shelf import shelf
from maquette.validate.trial import Inside, World, run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage.md"
TEXT = Path(__file__).with_name("coverage.md")
ROWS = Path(__file__).with_name("coverage.csv")
HEADS = ("draw", "way", "lane", "quantity", "rows", "inside", "half_width", "error")


def main() -> None:
    """Run the draws asked for, then write the page."""
    if len(sys.argv) > 1:
        first, end = map(int, sys.argv[1:3])
        for seed in range(first, end):
            record(seed, run(World(), shelf(), seed))
            print(f"draw {seed} done")
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def record(seed: int, found: Iterable[Inside]) -> None:
    """Put what a draw said in the place of what it said before."""
    kept = [row for row in _rows() if row["draw"] != str(seed)] if ROWS.exists() else []
    with ROWS.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, HEADS)
        writer.writeheader()
        writer.writerows(kept)
        for one in found:
            width, error = np.median(one.width) / 2, np.median(np.abs(one.gap))
            counts = (len(one.inside), int(one.inside.sum()))
            cells = (seed, *one[:3], *counts, f"{width:.4f}", f"{error:.4f}")
            writer.writerow(dict(zip(HEADS, cells, strict=True)))


def _rows() -> list[dict[str, str]]:
    with ROWS.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def page() -> str:
    """`coverage.md` with its table filled in."""
    rows = _rows()
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault((row["way"], row["lane"], row["quantity"]), []).append(row)
    draws = len({row["draw"] for row in rows})
    lines = [_line(*key, own) for key, own in groups.items()]
    judged = sum(line[-1] == "yes" for line in lines)
    heads = ("held out", "lane", "quantity", "n", "inside 80 %", "between draws", "half-width",
             "median error", "75-90 %")  # fmt: skip
    return TEXT.read_text(encoding="utf-8").format(
        draws=draws,
        table=table(heads, lines, 3),
        judged=f"{judged} of {len(lines)}",
    )


def _line(way: str, lane: str, quantity: str, own: list[dict[str, str]]) -> tuple[str, ...]:
    n = np.array([int(r["rows"]) for r in own])
    inside = np.array([int(r["inside"]) for r in own])
    share, each = inside.sum() / n.sum(), inside / n
    width, error = (float(np.median([float(r[k]) for r in own])) for k in ("half_width", "error"))
    good = COVERAGE[0] <= share <= COVERAGE[1]
    return (
        way, lane, quantity, str(n.sum()), f"{share:.0%}",
        f"{each.min():.0%} to {each.max():.0%}", f"{width:.1%}", f"{error:.1%}",
        "yes" if good else "no",
    )  # fmt: skip


if __name__ == "__main__":
    main()
