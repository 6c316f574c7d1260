"""Fit the calibrations of machines that do not run kernel by kernel.

    python validation/fit_styles.py

Each machine is fitted from the prior of its style to the points of the catalogue marked ``fitted``
and, for SN40L, to decode steps that a published formula in `styles/` stands for.  The points are
few, vendors' claims among them, so most of each calibration stays prior; its notes say which
parameters.  What other machines of a style say comes by transfer (`transfer_from` in their files).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
from reconstruct import decode_rows

from maquette.catalogue.calibrations import FOLDER
from maquette.catalogue.write_calibrations import write
from maquette.price.calibration import NAMES, Calibration
from maquette.validate.fit import Observed, calibration, maximise, prior
from maquette.validate.points import Point, points, prepared, said

HERE = Path(__file__).with_name("styles")
DATE = "2026-11"
HEADING = """Calibrations of machines that do not run kernel by kernel.  Written by
validation/fit_styles.py from catalogue/points and validation/styles; do not edit."""
# As summaries of GPUs; of vendors' own figures more than twice that.
SCATTER = {"sn40l": 0.11, "cs-2": 0.11, "corsair": 0.25, "groq-lpu": 0.25}
SOURCES = {
    "sn40l": "published summaries: decode steps of a formula fitted to LLM-Inference-Bench, and "
    "five of its rows, all on 8 sockets behind a cloud endpoint",
    "cs-2": "one published decode rate: WaferLLM's Llama-3-8B (arXiv 2502.04563)",
    "corsair": "two claims of the vendor, which nobody else has measured",
    "groq-lpu": "one published decode rate of a 70B model, chips as the vendor counts them",
}
FIXED = 0.02  # a stated mean error of a row; points state none


def reconstructed() -> list[Point]:
    """What the published decode formula says, as points."""
    return [
        Point(
            system=f"{row['hardware']}x{row['tp']}", model=row["model"], precision="bf16",
            tp=int(row["tp"]), pp=1, regions=0, overrides=(), batch=1,
            input_tokens=int(row["input_tokens"]), output_tokens=int(row["output_tokens"]),
            quantity="tokens_per_s_user", value=1 / float(row["tpot_s"]), use="fitted",
            band=float(row["sigma"]), evidence=row["evidence"], source=row["source"],
        )
        for row in decode_rows(HERE)
    ]  # fmt: skip


def observed(point: Point, sigma: float) -> Observed:
    """A point as a row of a fit: a time, so that what is slower is larger."""
    steps = prepared(point)
    if steps.why[0]:
        raise SystemExit(f"{point.system} {point.model}: {steps.why[0]}")
    rate = point.quantity != "ttft_s"

    def predict(cal: Calibration) -> np.ndarray:
        value = said(point, steps, cal)
        return np.array([1 / value if rate else value])

    measured = 1 / point.value if rate else point.value
    return Observed(np.array([measured]), predict, np.array([sigma]), point.quantity, point.model)


def fit(name: str, rows: list[tuple[Point, float]]) -> Calibration:
    """The calibration of one machine."""
    machine = rows[0][0].where.machine
    before = prior(machine)
    held = maximise([observed(p, sigma) for p, sigma in rows], before)
    share = np.sqrt(np.diag(held.covariance)) / before.sd
    weak = ", ".join(n for n, s in zip(NAMES, share, strict=True) if s > 0.8)
    found = calibration(held, name, "vendor", "", SOURCES[name], "published summary")
    notes = (
        "residual is set to what such models miss by, not found from these rows",
        f"mostly prior: {weak}",
    )
    return replace(
        found,
        rows=len(rows),
        date=DATE,
        residual=SCATTER[name],
        spreads={},
        offsets={},
        notes=notes,
    )


def main() -> None:
    rows: dict[str, list[tuple[Point, float]]] = defaultdict(list)
    for point in reconstructed():
        rows[point.where.machine.name].append((point, point.band))
    for point in points():
        if point.use == "fitted":
            rows[point.where.machine.name].append((point, point.band / 2))
    found = [fit(name, own) for name, own in sorted(rows.items())]
    write(found, FOLDER / "styles.toml", HEADING)
    for cal in found:
        values = ", ".join(f"{k} {v:.3g}" for k, v in cal.values.items())
        print(f"{cal.machine}: {cal.rows} rows; {values}")


if __name__ == "__main__":
    main()
