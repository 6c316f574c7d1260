"""A plain table: one run per row, by the columns of docs/calibration.md."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import Any

from maquette.errors import Fault, nearest
from maquette.validate.files import content
from maquette.validate.runs.types import QUANTITIES, STATISTICS, Key, Load, Run, Said, Spread

SAID = {f.name: str(f.type) for f in fields(Said)}
LOAD = ("requests", "input_tokens", "output_tokens", "input_sd", "output_sd")
MEASURED = re.compile(rf"(ttft|tpot|itl|e2e)(?:_({'|'.join(STATISTICS)}))?_(ms|s)")
UNITS = {"ms": 1e-3, "s": 1.0}


def read(path: Path, name: str, faults: list[Fault]) -> Iterator[Run]:
    """The runs of a table; faults by column and row."""
    try:
        headings, rows = content(path)
    except (OSError, EOFError, ValueError, csv.Error) as error:
        faults.append(Fault(name, f"cannot be read: {error}"))
        return
    before = len(faults)
    faults += _columns(headings, name)
    if len(faults) > before:
        return
    if not rows:
        faults.append(Fault(name, "has no rows", "one run per row"))
    for i, row in enumerate(rows, 1):
        cells = {h: str(c).strip() for h, c in zip(headings, row, strict=True)}
        run = _run({h: c for h, c in cells.items() if c}, f"{name} row {i}", faults)
        if run is not None:
            yield run


def _columns(headings: list[str], name: str) -> Iterator[Fault]:
    known = [*SAID, *LOAD, "run", "output_tokens_per_s"]
    shown = [*known, *(f"{q}_ms" for q in QUANTITIES[:4])]
    for heading in headings:
        if heading not in known and not MEASURED.fullmatch(heading):
            where, expected = f"{name}: {heading}", "those of docs/calibration.md"
            yield Fault(where, "is not a column", expected, nearest(heading, shown))
    for needed in ("requests", "input_tokens", "output_tokens"):
        if needed not in headings:
            yield Fault(f"{name}: {needed}", "is missing", "a column")
    if not {"rate", "concurrency"} & {*headings}:
        yield Fault(f"{name}: rate or concurrency", "is missing", "a column")
    if not any(MEASURED.fullmatch(h) or h == "output_tokens_per_s" for h in headings):
        expected = "a column such as ttft_mean_ms, tpot_mean_ms or e2e_p50_s"
        yield Fault(name, "measures nothing", expected)


def _run(cells: Mapping[str, str], name: str, faults: list[Fault]) -> Run | None:
    before = len(faults)
    numbers: dict[str, float] = {}
    measured: dict[Key, float] = {}
    said: dict[str, Any] = {}
    for heading, text in cells.items():
        if heading == "run":
            continue
        if heading in SAID and heading not in ("rate", "concurrency"):
            said[heading] = _cell(text, SAID[heading], f"{name}: {heading}", faults)
            continue
        zero = heading.endswith("_sd")
        value = _number(text, f"{name}: {heading}", faults, zero)
        if value is None:
            continue
        if found := MEASURED.fullmatch(heading):
            measured[found[1], found[2] or "mean"] = value * UNITS[found[3]]
        elif heading == "output_tokens_per_s":
            measured[heading, "mean"] = value
        else:
            numbers[heading] = value
    for needed in ("requests", "input_tokens", "output_tokens"):
        if needed not in cells:
            faults.append(Fault(f"{name}: {needed}", "is empty", "a number above 0"))
    if ("rate" in cells) == ("concurrency" in cells):
        what = "are both given" if "rate" in cells else "are both empty"
        faults.append(Fault(f"{name}: rate and concurrency", what, "one of them"))
    if not measured and len(faults) == before:
        faults.append(Fault(name, "measures nothing"))
    if len(faults) > before:
        return None
    inputs, outputs = (
        Spread(numbers[f"{n}_tokens"], numbers.get(f"{n}_sd")) for n in ("input", "output")
    )
    clients = numbers.get("concurrency")
    load = Load(
        int(numbers["requests"]), inputs, outputs, numbers.get("rate"),
        int(clients) if clients else None,
    )  # fmt: skip
    return Run(cells.get("run", name), "table", load, measured, Said(**said))


def _number(text: str, where: str, faults: list[Fault], zero: bool = False) -> float | None:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or value < 0 or (value == 0 and not zero):
        expected = "a number of 0 or more" if zero else "a number above 0"
        faults.append(Fault(where, f"{text!r} is out of range", expected))
        return None
    return value


def _cell(text: str, kind: str, where: str, faults: list[Fault]) -> Any:
    """A cell as the type of a field of `Said`."""
    if kind.startswith("int"):
        value = _number(text, where, faults, zero=True)
        return None if value is None else int(value)
    if kind.startswith("float"):
        return _number(text, where, faults, zero=True)
    if kind.startswith("bool"):
        if text.lower() not in ("true", "false"):
            faults.append(Fault(where, f"is {text!r}", "true or false"))
        return text.lower() == "true"
    known = re.findall(r'"(\w+)"', kind)
    if known and text not in known:
        faults.append(Fault(where, f"is {text!r}", " or ".join(known)))
    return text
