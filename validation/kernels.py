"""Single kernels beside what they are priced at: docs/kernels.md, or a table of your own rows.

    python validation/kernels.py                 # rewrite docs/kernels.md from published kernels
    python validation/kernels.py --rows DIR      # print the same of a folder of measured kernels

Published kernels are scored with the priors, and with fits that left a fifth of the shapes out at a
time.  Of your own rows those of the calibration split are fitted and the others scored.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from maquette.catalogue.calibrations import find
from maquette.price.calibration import Calibration
from maquette.validate.evidence import LIBRARY, Measured, measured
from maquette.validate.fit import Fitted, calibration, prior
from maquette.validate.kernel_scores import (
    KernelScore,
    calibrating,
    crossed,
    fitted,
    score,
    scoring,
)
from maquette.validate.rows import Reading, Table, read
from maquette.validate.score import Errors
from maquette.validate.shelf import Shelf, shelf

HERE = Path(__file__).with_name("published") / "kernels"
PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"
HEAD = "| kernels | n | median | p90 | bias | null: median | p90 |\n|---|---|---|---|---|---|---|"
TEXT = Path(__file__).with_name("kernels.md")
MANY = 9  # rows of a library on a machine from which on fits are left out and scored
LIBRARIES = {
    "": "NCCL", "deepgemm": "DeepGEMM", "vllm": "vLLM", "sglang": "SGLang", "fla": "FLA",
    "flashmla": "FlashMLA", "flashinfer": "FlashInfer", "flashqla": "FlashQLA",
    "tilelang": "TileLang", "deepep": "DeepEP", "uccl": "UCCL-EP", "aiter": "AITER",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", metavar="DIR")
    args = parser.parse_args()
    if args.rows:
        print("\n".join((HEAD, *own(read(args.rows), shelf()))))
    else:
        PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The page as it stands with today's surfaces."""
    known, reading = shelf(shipped=False), read(HERE)
    lines = [line for t in reading.tables for line in published(t, reading, known)]
    return TEXT.read_text(encoding="utf-8").format(
        published="\n".join((HEAD, *lines)),
        simulated="\n".join((HEAD, *simulated(known))),
        n=sum(int((t.flags == "").sum()) for t in reading.tables),
    )


def published(table: Table, reading: Reading, known: Shelf) -> Iterator[str]:
    """Lines of one published table: priors and, where rows are many, fits; machine by machine."""
    for machine in sorted(known.machines):
        every = [m for m in measured(reading, known, machine, least=0.0) if m.table is table]
        for engine in sorted({str(w) for m in every for w in m.table.words("engine")[m.rows]}):
            held = [m._replace(rows=m.rows & (m.table.words("engine") == engine)) for m in every]
            held = [m for m in held if m.rows.any()]
            found = score(held, centred(known, machine), machine, engine, everything)
            many = sum(int(m.rows.sum()) for m in held) >= MANY
            left = crossed(held, known, machine, engine) if many else []
            for said, scores in (("prior", found), ("left out", left)):
                for one in scores:
                    yield _line(f"{_named(one, table)}, {said}", one)


def simulated(known: Shelf) -> Iterator[str]:
    """Lines of the simulated machines: shapes, and a machine, that were not fitted."""
    import sys
    import tempfile

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from validate import test_hidden_world as world  # after the path to it

    with tempfile.TemporaryDirectory() as folder:
        _, kernels, seen, cals = world.fits(Path(folder), known)
    for name in world.GPUS:
        for one in score(kernels[name], cals[name], name, "", scoring):
            yield _line(f"{one.what}, {name}", one)
    for name in world.GPUS:
        donor = next(n for n in world.GPUS if n != name)
        moved = find(seen.machines[name], "", own=[cals[donor]], shipped=False)
        for one in score(kernels[name], moved, name, "", scoring):
            yield _line(f"{one.what}, {name} from {donor} alone", one)


def own(reading: Reading, known: Shelf) -> Iterator[str]:
    """Lines of a folder: rows of the calibration split fitted, the others scored.

    Kernels of libraries are fitted by machine, others by machine and engine.  Then each machine is
    scored with what the others say of it alone.
    """
    cals: dict[str, list[Calibration]] = {}
    for machine, engine in _stacks(reading, known):
        held = _held(reading, known, machine, engine)
        cal = replace(fitted(held, known, machine, calibrating), engine=engine)
        cals.setdefault(engine, []).append(cal)
        for one in score(_theirs(held, engine), cal, machine, engine, scoring):
            yield _line(f"{one.what}, {machine} {engine}".strip(), one)
    for machine, engine in _stacks(reading, known):
        others = [c for c in cals[engine] if c.machine != machine]
        moved = find(known.machines[machine], engine, own=others, shipped=False)
        if moved.basis == "transferred":
            held = _theirs(_held(reading, known, machine, engine), engine)
            for one in score(held, moved, machine, engine, everything):
                yield _line(f"{one.what}, {machine} {engine}".strip() + " from others", one)


def _stacks(reading: Reading, known: Shelf) -> list[tuple[str, str]]:
    """Machines with kernels, of libraries ("") and of each engine."""
    found = set()
    for machine in known.machines:
        for m in _held(reading, known, machine, ""):
            names = {known.engine_names(str(w)) or "" for w in m.table.words("engine")[m.rows]}
            found |= {(machine, "" if m.table.kind.name in LIBRARY else n) for n in names}
    return sorted(found)


def _held(reading: Reading, known: Shelf, machine: str, engine: str) -> list[Measured]:
    return list(measured(reading, known, machine, engine))


def _theirs(held: list[Measured], engine: str) -> list[Measured]:
    """Kernels of libraries where no engine is meant, else those of the engine."""
    return [m for m in held if not engine or m.table.kind.name not in LIBRARY]


def centred(known: Shelf, machine: str) -> Calibration:
    """The prior of a machine, its measured ceilings considered."""
    before = prior(known.machines[machine])
    return calibration(Fitted(before.mean, before.covariance, 0.25, 0), machine, "", "", "prior")


def everything(m: Measured) -> np.ndarray:
    return np.ones(len(m.table), dtype=bool)


def _named(one: KernelScore, table: Table) -> str:
    engine = one.engine
    if table.kind.name == "attention":
        engine = {"vllm": "FlashAttention-3", "vllm-0.6": "FlashAttention-2"}.get(engine, engine)
    return f"{one.what}, {LIBRARIES.get(engine, engine)}, {one.machine}"


def _line(label: str, one: KernelScore) -> str:
    cells = [f"{label}", str(one.errors.n), *_said(one.errors), *_said(one.null)[:2]]
    return "| " + " | ".join(cells) + " |"


def _said(held: Errors) -> list[str]:
    return [f"{held.ape_p50:.1%}", f"{held.ape_p90:.1%}", f"{held.bias:+.1%}"]


if __name__ == "__main__":
    main()
