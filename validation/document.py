"""Write docs/validation.md: published figures beside predictions, as they are now.

python validation/document.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import held_out
import leave_out
import numpy as np

from maquette.report.markdown import table
from maquette.validate import capacity
from maquette.validate.cases import resolve
from maquette.validate.compare import Line, compare
from maquette.validate.lanes import LANES
from maquette.validate.points import points, predicted
from maquette.validate.rows import read
from maquette.validate.score import NOISE_FLOORS
from maquette.validate.shelf import shelf

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "validation.md"
TEXT = Path(__file__).with_name("document.md")
QUANTITIES = {
    "tokens_per_s_user": "tokens/s for one user",
    "output_tokens_per_s": "output tokens/s",
    "ttft_s": "TTFT of the batch, s",
}


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")


def page() -> str:
    """The whole page: `document.md` with its tables filled in."""
    lines, _ = compare(ROOT / "validation" / "published", shelf())
    kept = held_out.kept()
    by_file: dict[str, list[Line]] = {}
    for line in lines:
        by_file.setdefault(line.file, []).append(line)
    return TEXT.read_text(encoding="utf-8").format(
        limit=held_out.LIMIT,
        priced=priced(),
        held_out=held_out.pooled(kept),
        static_machines=held_out.by_machine(kept, "model", "static", "e2e"),
        closed_machines=held_out.by_machine(kept, "model", "closed", "tpot"),
        regret=held_out.regret(kept),
        offline=offline(by_file["mlperf_inference.csv"]),
        fitted=summaries(by_file),
        styles=styles(),
        capacities=capacities(),
        left_out=leave_out.errors(leave_out.kept()),
        each_left_out=leave_out.each(leave_out.kept()),
        bands=leave_out.bands(),
        floors=floors(),
    )


def priced() -> str:
    """How many published runs can be priced, and why others cannot."""
    known, rows = shelf(), []
    for lane in LANES:
        why: Counter[str] = Counter()
        total = 0
        for one in read(held_out.ROWS).of(lane):
            cases = resolve(one, known)
            total += len(one)
            why.update("flagged" if w.startswith("flagged") else "other" for w in cases.why if w)
        able = total - sum(why.values())
        rows.append((lane, f"{total:,}", f"{able:,}", f"{why['flagged']}", f"{why['other']}"))
    return table(("lane", "rows", "can be priced", "flagged", "not resolved"), rows, 1)


def offline(lines: Sequence[Line]) -> str:
    rows = [
        (
            line.machine, line.engine, line.model, f"{line.published:,.0f}",
            f"{line.predicted:,.0f}", f"{line.low:,.0f} to {line.high:,.0f}",
            f"{line.error:+.0%}", f"{line.ideal / line.published - 1:+.0%}",
        )
        for line in lines
    ]  # fmt: skip
    error = np.median([abs(line.error) for line in lines])
    null = np.median([abs(line.ideal / line.published - 1) for line in lines])
    inside = sum(line.low <= line.published <= line.high for line in lines)
    heads = ("machine", "engine", "model", "published", "predicted", "80 % interval", "error",
             "roofline")  # fmt: skip
    return (
        table(heads, rows, 3) + f"\n\nMedian error {error:.0%}, of the roofline {null:.0%}; "
        f"{inside} of {len(lines)} figures lie inside the interval."
    )


def summaries(by_file: dict[str, list[Line]]) -> str:
    rows = []
    for file, lines in by_file.items():
        if file == "mlperf_inference.csv":
            continue
        error = np.abs([line.error for line in lines])
        null = np.abs([line.ideal / line.published - 1 for line in lines])
        rows.append(
            (f"`{file}`", str(len(lines)), f"{np.median(error):.1%}", f"{error.max():.0%}",
             f"{np.median(null):.0%}")
        )  # fmt: skip
    return table(("file", "figures", "median error", "largest", "roofline"), rows, 1)


def styles() -> str:
    """Published speeds of machines that do not run kernel by kernel."""
    rows = []
    for p in points():
        ours, band = predicted(p), "" if np.isnan(p.band) else f"± {p.band:.0%}"
        cut = f"tp{p.tp}" + (f" pp{p.pp}" if p.pp > 1 else "")
        rows.append(
            (p.system, f"{p.model}, {cut}, batch {p.batch}", f"{QUANTITIES[p.quantity]}; {p.use}",
             f"{p.value:,.4g}", f"{ours:,.4g}", f"{ours / p.value - 1:+.0%}", band)
        )  # fmt: skip
    heads = ("machine", "model", "figure", "published", "ours", "error", "band")
    return table(heads, rows, 3)


def capacities() -> str:
    """Tokens of KV cache that engines logged, beside those their rules leave."""
    shelves, rows, errors = shelf(), [], []
    for row in capacity.held(ROOT / "validation" / "published" / "kv_blocks.csv"):
        ours = capacity.predicted(row, shelves)
        if row.use == "scored":
            errors.append(abs(ours / row.kv_tokens - 1))
        where = f"[{row.engine} {row.version}]({row.source})"
        what = f"{row.model} {row.precision}, tp{row.tp} on {row.machine}"
        if row.total_gib:
            what += f" with {row.total_gib:g} GiB"
        rows.append((where, what, f"{row.kv_tokens:,}", f"{ours:,.0f}",
                     f"{ours / row.kv_tokens - 1:+.0%}", row.use))  # fmt: skip
    heads = ("engine", "deployment", "logged tokens", "ours", "error", "use")
    said = f"{len(errors)} rows scored: median error {np.median(errors):.0%}."
    return table(heads, rows, 2) + f"\n\n{said}"


def floors() -> str:
    rows = [
        (f"{lane} {quantity}", source, f"{floor:.1%}")
        for (lane, quantity), (floor, source) in NOISE_FLOORS.items()
    ]
    return table(("quantity", "source", "scatter"), rows, 2)


if __name__ == "__main__":
    main()
