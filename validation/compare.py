"""Print published figures beside what Maquette predicts.

    python validation/compare.py [FOLDER]

Figures the shipped calibrations were fitted to are marked; the others are validation.
"""

from __future__ import annotations

import sys
from pathlib import Path

from maquette.validate.compare import Line, compare
from maquette.validate.shelf import shelf

PUBLISHED = Path(__file__).with_name("published")
FITTED = ("static_decode.csv", "static_prefill.csv", "static_peers.csv")
UNITS = {"rate": ("tok/s/device", 1.0)}


def shown(line: Line) -> str:
    unit, factor = UNITS.get(line.quantity, ("ms", 1e3))
    published, predicted, low, high = (
        x * factor for x in (line.published, line.predicted, line.low, line.high)
    )
    mark = "fitted" if line.file in FITTED and line.basis == "published summary" else ""
    return (
        f"{line.machine:10} {line.engine:13} {line.model:13} {line.mesh:4} {line.quantity:5}"
        f"{published:10.4g}{predicted:10.4g}  [{low:.4g}, {high:.4g}] {unit:13}"
        f"{line.error:+8.1%}  {mark}"
    )


def main(folder: str | Path = PUBLISHED) -> None:
    lines, why = compare(folder, shelf())
    print(
        f"{'machine':10} {'engine':13} {'model':13} {'mesh':4} {'':5}"
        f"{'published':>10}{'predicted':>10}  [80 % interval]"
    )
    for file in dict.fromkeys(x.file for x in lines):
        print(f"\n{file}")
        for line in (x for x in lines if x.file == file):
            print(shown(line))
    for reason, rows in why.items():
        print(f"\nnot priced: {rows} rows, {reason}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
